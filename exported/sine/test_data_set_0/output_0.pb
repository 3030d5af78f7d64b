B
predictionJN0t=Ñ]>