B
predictionJñAË¾