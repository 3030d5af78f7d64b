B
predictionJ&g¿ô·¿QÁã?ù›¾U>G¿