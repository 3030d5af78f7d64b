B
predictionJÅ§ö?Mèš?