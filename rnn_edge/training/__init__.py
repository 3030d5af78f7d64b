"""Training on Lightning: a task by its name in, a checkpoint folder out."""

from rnn_edge.training.trainer import train

__all__ = ["train"]
