B
predictionJM0t=—­)>