"""The programs of `rnn-edge integrate`, built with a driver that times their steps."""
