"""Every error that rnn-edge raises on purpose.

A message is one line: what must be, what was found, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping


class RnnEdgeError(Exception):
    """Base of all errors of this package; the command line prints it and exits with 1."""


class ContractError(RnnEdgeError):
    """A contract or a bundle.json is malformed, or a graph and its contract disagree."""


class BundleError(RnnEdgeError):
    """An exported folder cannot be read, written, or does not match its checksums."""


class InputError(RnnEdgeError):
    """An array or a file that a person gave does not fit what the graph takes."""


class ProviderError(RnnEdgeError):
    """The asked execution provider is not available; there is no silent fall-back."""


class SourceError(RnnEdgeError):
    """A Python file does not give the module that it should."""


class ExportError(RnnEdgeError):
    """A module cannot be expressed as an ONNX graph with the axes asked for."""


class VerificationError(RnnEdgeError):
    """A graph does not give the module's answers.

    ``place`` is the name of the output or the node of the graph where that shows, ``sizes`` those
    of the axes, if known.
    """

    def __init__(
        self, message: str, place: str = "", sizes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message)
        self.place = place
        self.sizes = dict(sizes or {})


class DataError(RnnEdgeError):
    """Training data cannot be used."""


class CheckpointError(RnnEdgeError):
    """A checkpoint or a file of weights is incomplete, or does not fit its model."""


class MissingExtraError(RnnEdgeError):
    """An optional dependency is not installed."""


class TrainingError(RnnEdgeError):
    """Training cannot start as asked, or does not converge."""


class IntegrationError(RnnEdgeError):
    """A program for a host cannot be written: its place, or an operator of the graph."""


class StreamError(RnnEdgeError):
    """A graph cannot be run chunk by chunk with the answers of the whole sequence."""


class QuantizationError(RnnEdgeError):
    """A bundle cannot be quantised, or loses more than it may."""
