"""A bundle becomes a small program in the language of an app."""

from rnn_edge.integration.integration import HOSTS, Integration, integrate

__all__ = ["HOSTS", "Integration", "integrate"]
