B
predictionJO0t=Ò]>