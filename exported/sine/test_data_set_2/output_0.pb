B
predictionJ&g¿ô·¿QÁã?ú›¾U>G¿