B
predictionJğAË¾