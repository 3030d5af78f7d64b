"""Recurrent stacks in every standard form, with float64 torch, row by row, as their oracle."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.cli.main import program

INPUT_SIZE, HIDDEN_SIZE = 4, 5
CELLS = {
    "rnn-tanh": (nn.RNN, {"nonlinearity": "tanh"}),
    "rnn-relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
}


class Stack(nn.Module):
    """A recurrent stack in one of the forms of the grid; returns all that it computes."""

    def __init__(self, core: nn.RNNBase, packed: bool) -> None:
        super().__init__()
        self.core = core
        self.packed = packed

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        h_0: Tensor | None = None,
        c_0: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        state = h_0 if c_0 is None else (h_0, c_0)
        if not self.packed:
            y, final = self.core(x, state)
        else:
            batch_first = self.core.batch_first
            packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
            y, final = self.core(packed, state)
            y, _ = pad_packed_sequence(y, batch_first, total_length=x.shape[int(batch_first)])
        return (y, *final) if isinstance(final, tuple) else (y, final)


def make_stack(
    cell: str, layers: int, bidirectional: bool, form: str, dropout: float, bias: bool = True
) -> Stack:
    torch.manual_seed(layers + 10 * bidirectional)
    kind, options = CELLS[cell]
    core = kind(
        INPUT_SIZE, HIDDEN_SIZE, layers, bias=bias, batch_first=form != "lengths",
        dropout=dropout if layers > 1 else 0.0, bidirectional=bidirectional, **options,
    )  # fmt: skip
    return Stack(core, packed=form != "no-lengths")


def make_inputs(
    stack: Stack, batch: int, sequence: int, with_state: bool, seed: int
) -> dict[str, Tensor]:
    """Named arguments of forward(), lengths unsorted with 1 and the full length among them."""
    generator = torch.Generator().manual_seed(seed)
    core = stack.core
    shape = (batch, sequence) if core.batch_first else (sequence, batch)
    inputs = {"x": torch.randn(*shape, INPUT_SIZE, generator=generator)}
    if stack.packed:
        lengths = torch.randint(1, sequence + 1, (batch,), generator=generator)
        lengths[0] = 1
        lengths[-1] = sequence
        inputs["lengths"] = lengths
    if with_state:
        rows = core.num_layers * (2 if core.bidirectional else 1)
        for name in ("h_0", "c_0")[: 2 if isinstance(core, nn.LSTM) else 1]:
            inputs[name] = torch.randn(rows, batch, HIDDEN_SIZE, generator=generator)
    return inputs


def export_stack(stack: Stack, with_state: bool, folder: Path) -> rnn_edge.Bundle:
    inputs = make_inputs(stack, 3, 6, with_state, seed=0)
    time_axes = ("batch", "sequence") if stack.core.batch_first else ("sequence", "batch")
    axes = {
        "x": (*time_axes, None),
        "lengths": ("batch",),
        "h_0": (None, "batch", None),
        "c_0": (None, "batch", None),
    }
    names = ["y", "h_n", "c_n"] if isinstance(stack.core, nn.LSTM) else ["y", "h_n"]
    return rnn_edge.export(
        stack, (), folder, kwargs=inputs,
        axes={name: axes[name] for name in inputs}, output_names=names,
    )  # fmt: skip


def export_stack_by_command(stack: Stack, with_state: bool, folder: Path) -> rnn_edge.Bundle:
    """The same through `rnn-edge export`: a file that makes the stack, another with its weights."""
    core = stack.core
    made = (
        f"{type(core).__name__}({core.input_size}, {core.hidden_size}, {core.num_layers}, "
        f"bias={core.bias}, batch_first={core.batch_first}, dropout={core.dropout}, "
        f"bidirectional={core.bidirectional}"
        + (f", nonlinearity={core.nonlinearity!r}" if type(core) is nn.RNN else "")
        + ")"
    )
    folder.mkdir(parents=True)
    source, weights = folder / "source.py", folder / "weights.pt"
    source.write_text(
        "from torch import nn\nfrom recurrent_stacks import Stack\n\n"
        f"def make():\n    return Stack(nn.{made}, packed={stack.packed})\n"
    )
    torch.save(stack.state_dict(), weights)
    steps = "batch,sequence" if core.batch_first else "sequence,batch"
    rows = core.num_layers * (2 if core.bidirectional else 1)
    state = f"float32[{rows},batch,{core.hidden_size}]"
    declared = {
        "x": f"float32[{steps},{core.input_size}]", "lengths": "int64[batch]",
        "h_0": state, "c_0": state,
    }  # fmt: skip
    inputs = [f"--input={n}:{declared[n]}" for n in make_inputs(stack, 2, 3, with_state, 0)]
    names = ["y", "h_n", "c_n"] if isinstance(core, nn.LSTM) else ["y", "h_n"]
    result = CliRunner().invoke(
        program,
        ["export", f"{source}:make", "--weights", str(weights), *inputs,
         *(f"--output-name={name}" for name in names), "-o", str(folder / "bundle")],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return rnn_edge.Bundle.load(folder / "bundle")


def run_row_by_row(stack: Stack, inputs: dict[str, Tensor]) -> list[np.ndarray]:
    """The answer in float64, each row alone and cut to its length; padding is zero."""
    core = stack.core
    exact = type(core)(
        core.input_size, core.hidden_size, core.num_layers, bias=core.bias, batch_first=True,
        bidirectional=core.bidirectional,
        **({"nonlinearity": core.nonlinearity} if type(core) is nn.RNN else {}),
    ).double()  # fmt: skip
    exact.load_state_dict(core.state_dict())
    x = inputs["x"] if core.batch_first else inputs["x"].transpose(0, 1)
    batch, sequence, _ = x.shape
    lengths = inputs.get("lengths", torch.full((batch,), sequence)).tolist()
    rows, finals = [], []
    for row, length in enumerate(lengths):
        states = [
            inputs[name][:, row : row + 1].double() for name in ("h_0", "c_0") if name in inputs
        ]
        state = tuple(states) if len(states) == 2 else (states[0] if states else None)
        y, final = exact(x[row : row + 1, :length].double(), state)
        rows.append(nn.functional.pad(y, (0, 0, 0, sequence - length)))
        finals.append(final if isinstance(final, tuple) else (final,))
    y = torch.cat(rows)
    y = y if core.batch_first else y.transpose(0, 1)
    states = [torch.cat(parts, dim=1) for parts in zip(*finals, strict=True)]
    return [output.detach().numpy() for output in (y, *states)]


def assert_right(
    bundle: rnn_edge.Bundle,
    stack: Stack,
    with_state: bool,
    sizes: Iterable[tuple[int, int]] = ((4, 9), (1, 1), (2, 23)),
) -> None:
    """Run the bundle at ``sizes`` (batch, sequence) against float64 torch."""
    session = rnn_edge.Session(bundle)
    for batch, sequence in sizes:
        inputs = make_inputs(stack, batch, sequence, with_state, seed=batch)
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        expected = run_row_by_row(stack, inputs)
        for name, one, other in zip(("y", "h_n", "c_n"), found, expected, strict=False):
            np.testing.assert_allclose(one, other, rtol=5e-6, atol=1e-6, err_msg=name)
        assert len(found) == len(expected)
