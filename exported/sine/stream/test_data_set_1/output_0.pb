B
predictionJû?o?@¿