"""The names that `import rnn_edge` promises."""

import pytest

import rnn_edge

NAMES = [
    "Bundle",
    "RnnEdgeError",
    "Session",
    "StreamPool",
    "StreamSession",
    "__version__",
    "derive_stream",
    "export",
    "load_checkpoint",
    "profile",
    "quantize",
    "train",
    "tune",
    "verify",
]


def test_public_names_are_pinned() -> None:
    assert rnn_edge.__all__ == NAMES
    assert dir(rnn_edge) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_public_name_resolves(name: str) -> None:
    value = getattr(rnn_edge, name)
    assert isinstance(value, str) if name == "__version__" else value.__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = rnn_edge.Sesion
