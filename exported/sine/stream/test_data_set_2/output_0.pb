B
predictionJ;5?$½·>