B
predictionJ·1ì=tê¿