"""Declared inputs become arguments that forward() takes, nested as it takes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_edge.errors import InputError
from rnn_edge.source.declarations import (
    Constant,
    Declaration,
    Examples,
    make_examples,
    read_declaration,
)


class Call(nn.Module):
    """A module whose forward() is ``run``."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.forward = run


def examples_for(run: Any, *texts: str) -> Examples:
    return make_examples(Call(run), [read_declaration(text) for text in texts])


@pytest.mark.parametrize(
    ("text", "declaration"),
    [
        (
            "x:float32[batch,sequence,40]",
            Declaration(("x",), "float32", ("batch", "sequence", 40)),
        ),
        (
            "tokens:int64[batch, sequence]<5000",
            Declaration(("tokens",), "int64", ("batch", "sequence"), 5000),
        ),
        ("state.0:float16[2,batch,5]", Declaration(("state", "0"), "float16", (2, "batch", 5))),
        ("batch.tokens:int32[n]", Declaration(("batch", "tokens"), "int32", ("n",))),
        ("gain:float64[]", Declaration(("gain",), "float64", ())),
        ("reduce=mean", Constant(("reduce",), "mean")),
        ("scale = 2.0", Constant(("scale",), 2.0)),
        ("options.sizes=[1, None]", Constant(("options", "sizes"), [1, None])),
        ("hint='a:b[c]'", Constant(("hint",), "a:b[c]")),
    ],
)
def test_declarations_are_read(text: str, declaration: Declaration | Constant) -> None:
    assert read_declaration(text) == declaration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "must be declared as name:dtype"),
        ("x:float32[batch", "must be declared as name:dtype"),
        ("x.:float32[batch]", "must be declared as name:dtype"),
        ("x:float[batch]", "dtype must be one of float16, .* got 'float'"),
        ("x:float32[batch,0]", "a name such as batch or a number above 0"),
        ("x:float32[batch,,3]", "a name such as batch or a number above 0"),
        ("x:float32[2b]", "a name such as batch or a number above 0"),
        ("x:float32[batch]<3", "a bound must be above 0 and of an integer input"),
        ("x:int64[batch]<0", "a bound must be above 0 and of an integer input"),
    ],
)
def test_wrong_declarations_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_declaration(text)


def test_constants_stand_where_they_are_declared() -> None:
    def run(x: Tensor, options: dict[str, Any], *, scale: float) -> Tensor:
        return x * scale * options["gain"] * options["y"]

    found = examples_for(
        run, "x:float32[batch]", "options.gain=3", "options.y:float32[batch]", "scale=2.5"
    )
    assert found.kwargs["scale"] == 2.5
    assert found.kwargs["options"]["gain"] == 3
    assert found.axes["options"] == {"gain": None, "y": ("batch",)}


def test_values_have_the_declared_shape_dtype_and_bound() -> None:
    def run(x: Tensor, tokens: Tensor, flags: Tensor) -> Tensor:
        return x

    found = examples_for(
        run, "x:float64[batch,time,4]", "tokens:int32[batch,time]<3", "flags:bool[batch,time]"
    )
    x, tokens, flags = (found.kwargs[name] for name in ("x", "tokens", "flags"))
    assert (x.dtype, tuple(x.shape)) == (torch.float64, (2, 20, 4))
    assert (tokens.dtype, set(tokens.flatten().tolist())) == (torch.int32, {0, 1, 2})
    assert (flags.dtype, set(flags.flatten().tolist())) == (torch.bool, {False, True})
    assert found.axes["x"] == ("batch", "time", None)
    assert found.bounds == {"tokens": (0, 2)}


def test_arguments_are_nested_as_their_places_say() -> None:
    def run(batch: dict[str, Any], /, state: Any = None, *, scale: Any = 2.0) -> Tensor:
        h, (c, d) = state
        return batch["x"]["left"] + h + c + d

    places = ["state.1.1", "batch.x.left", "state.0", "state.1.0"]
    found = examples_for(run, *(f"{place}:float32[batch,3]" for place in places))
    assert list(found.args[0]["x"]) == ["left"]
    assert isinstance(found.kwargs["state"][1], tuple)
    assert found.axes["state"] == (("batch", None), (("batch", None), ("batch", None)))
    assert "scale" not in found.kwargs


def test_star_arguments_are_given_by_place_and_by_name() -> None:
    def run(first: Tensor, *rest: Tensor, **named: Tensor) -> Tensor:
        return first + rest[0] + rest[1] + named["last"]

    places = ["last", "rest.0", "rest.1", "first"]
    found = examples_for(run, *(f"{place}:float32[n]" for place in places))
    assert len(found.args) == 3
    assert list(found.kwargs) == ["last"]
    assert set(found.axes) == {"first", "rest_0", "rest_1", "last"}


@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_lengths_reach_the_longest_size_where_forward_needs_it(enforce_sorted: bool) -> None:
    def run(x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=enforce_sorted)
        return x + pad_packed_sequence(packed, batch_first=True)[0]

    found = examples_for(run, "x:float32[batch,time,4]", "lengths:int64[batch]")
    lengths = found.kwargs["lengths"].tolist()
    assert lengths[0] == 20 > lengths[1] > 1


def test_ids_without_a_bound_are_small() -> None:
    speakers = nn.Embedding(3, 2)

    def run(x: Tensor, speaker: Tensor) -> Tensor:
        return x + speakers(speaker)

    found = examples_for(run, "x:float32[batch,2]", "speaker:int64[batch]")
    assert sorted(found.kwargs["speaker"].tolist()) == [1, 2]


def one(x: Tensor) -> Tensor:
    return x[:, :, 3]


def pair(x: Any, y: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("run", "texts", "message"),
    [
        (one, ["x:float32[batch,time,2]"], r"must take the declared inputs \(x:float32\[batch,tim"),
        (
            one,
            ["x:float32[batch,time,2]"],
            r"IndexError: .* at test_declarations\.py:\d+\. Correct",
        ),
        (pair, ["x:float32[n]"], r"forward\(x, y\) of Call, got: missing .*'y'"),
        (pair, ["x:float32[n]", "y:float32[n]", "z:int64[n]"], "unexpected keyword argument 'z'"),
        (pair, ["x:float32[n]", "x:float32[n]"], "x must be declared once"),
        (pair, ["x:float32[n]", "x.0:float32[n]"], "x must be declared once"),
        (pair, ["x.0:float32[n]", "x.2:float32[n]"], "from 0 on without a gap, got 0, 2"),
        (lambda *xs: xs[0], ["xs:float32[n]"], "must be declared item by item, xs.0 and so on"),
    ],
)
def test_declarations_that_do_not_fit_are_refused(run: Any, texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        examples_for(run, *texts)
    assert "\n" not in str(caught.value)


def test_the_module_keeps_its_mode_and_its_state() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            y: Tensor = self.norm(x)
            return y

    module = Counter()
    make_examples(module, [read_declaration("x:float32[batch,3]")])
    assert module.training
    assert module.calls == 0
    assert module.norm.num_batches_tracked == 0
