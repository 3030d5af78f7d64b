B
predictionJjû(?¸Æ4¼ºì?