"""The bundles that host programs are written from: the four tasks, and one that looks ahead."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.contract import (
    ByteFrontEnd,
    CharacterFrontEnd,
    LabelDecoder,
    NextCharacterDecoder,
    TextDecoder,
)
from rnn_edge.tasks import task_class
from rnn_edge.tasks.task import Deployment

CELLS = {"forecast": "lstm", "images": "rnn-tanh", "sentiment": "gru", "language-model": "lstm"}
NAMES = (*CELLS, "tagger")


class Tagger(nn.Module):
    """Bidirectional, with lengths: whole sequences only, and no front end."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.core = nn.GRU(size, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.core(packed)[0], batch_first=True)
        logits: Tensor = self.head(y)
        return logits


def randomized(module: nn.Module) -> nn.Module:
    """Weights that make every part count: some are zero when training begins."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    return module.eval()


@functools.cache
def task_module(name: str) -> tuple[nn.Module, Deployment]:
    """A small network of a task as it is exported, always the same: pictures are of 16 by 16.

    It is one and the same module in every call: copy what is to be changed.
    """
    task = task_class(name)(**({"size": 16} if name == "captioning" else {}))
    interface = task.load(None, 0).interface
    if "steps" in interface.facts:
        # As long as the longest text of its data: a writer of random weights writes it full.
        interface = dataclasses.replace(interface, facts={**interface.facts, "steps": 6})
    cell = CELLS.get(name, task.model.cell)
    options = dataclasses.replace(task.model, cell=cell, hidden_size=8, num_layers=1)
    torch.manual_seed(0)
    module = randomized(task.build(options, interface))
    return module, task.deployment(module, interface)


def export_task(name: str, folder: Path) -> Bundle:
    """Of NAME-portable, the pipeline takes code points."""
    portable = name.endswith("-portable")
    name = name.removesuffix("-portable")
    module, deployment = task_module(name)
    fields = {f.name: getattr(deployment, f.name) for f in dataclasses.fields(deployment)}
    if name not in CELLS and not deployment.states:
        # Those that look ahead do not stream: that is not found out here once more.
        fields["stream"] = False
    args = fields.pop("args")
    return rnn_edge.export(module, args, folder, task=name, portable=portable, **fields)


class ByteClassifier(nn.Module):
    """A label of a text, by the bytes of its UTF-8."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(257, 6)
        self.rest = Tagger(6)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        logits = self.rest(self.table(tokens), lengths)
        inside = torch.arange(logits.shape[1]) < lengths.unsqueeze(1)
        found: Tensor = logits.masked_fill(~inside.unsqueeze(2), 0.0).sum(1)
        return found


def export_bytes(folder: Path) -> Bundle:
    torch.manual_seed(0)
    args = (torch.randint(0, 257, (2, 20)), torch.tensor([20, 7]))
    axes = [("batch", "sequence"), ("batch",)]
    around = {"front_end": ByteFrontEnd(offset=1), "decoder": LabelDecoder(("a", "b", "c"))}
    module = randomized(ByteClassifier())
    return rnn_edge.export(module, args, folder, axes=axes, bounds={"tokens": (0, 256)}, **around)


class ByteWriter(nn.Module):
    """Bytes that follow bytes, most of them parts of characters of several."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(259, 6)
        self.core = nn.GRU(6, 8, batch_first=True)
        self.head = nn.Linear(8, 259)
        self.likely: Tensor
        likely = torch.zeros(259)
        likely[[*range(0x81, 0xC1), *range(0xC3, 0xF6), *range(0x62, 0x70)]] = 3.0
        self.register_buffer("likely", likely)

    def forward(self, tokens: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = self.core(self.table(tokens), h_0)
        return self.head(y) + self.likely, h_n


def export_byte_writer(folder: Path) -> Bundle:
    torch.manual_seed(1)
    return rnn_edge.export(
        randomized(ByteWriter()),
        (torch.randint(0, 259, (2, 9)), torch.zeros(1, 2, 8)),
        folder,
        axes=[("batch", "sequence"), (None, "batch", None)],
        output_names=["logits", "h_n"],
        states={"h_0": "h_n"},
        bounds={"tokens": (0, 258)},
        front_end=ByteFrontEnd(offset=1),
        decoder=NextCharacterDecoder(),
    )


class Answering(nn.Module):
    """Logits of the next character of an answer: attention over a text that is read both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.source_table = nn.Embedding(12, 6)
        self.encoder = nn.GRU(6, 4, batch_first=True, bidirectional=True)
        self.table = nn.Embedding(15, 6)
        self.decoder = nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(16, 15)

    def forward(self, source: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.source_table(source), lengths, batch_first=True, enforce_sorted=False
        )
        found, last = self.encoder(packed)
        memory, _ = pad_packed_sequence(found, batch_first=True, total_length=source.size(1))
        h = torch.cat([last[0], last[1]], dim=1).unsqueeze(0)
        y, _ = self.decoder(self.table(tokens), (h, torch.zeros_like(h)))
        outside = torch.arange(source.size(1)) >= lengths.unsqueeze(1)
        scores = (y @ memory.transpose(1, 2)).masked_fill(outside.unsqueeze(1), -1e9)
        logits: Tensor = self.head(torch.cat([y, scores.softmax(dim=2) @ memory], dim=2))
        return logits


def export_answering(folder: Path) -> Bundle:
    """A text in, the likeliest that two beams find out."""
    torch.manual_seed(2)
    module = randomized(Answering())
    with torch.no_grad():
        module.head.weight *= 4
    names = ("<start>", "<end>", "<pad>", *"QRSTUVWXYZ", "\N{SNOWMAN}", "\U0001f600")
    return rnn_edge.export(
        module,
        (torch.randint(12, (2, 9)), torch.tensor([9, 4]), torch.randint(15, (2, 5))),
        folder,
        axes=[("batch", "source"), ("batch",), ("batch", "sequence")],
        bounds={"source": (0, 11), "tokens": (0, 14)},
        front_end=CharacterFrontEnd(("\0", "?", *"Quick andf"), 1, 0),
        decoder=TextDecoder(names, end=1, start=0, never=(0, 2), steps=20, beams=2),
    )


def export_tagger(folder: Path) -> Bundle:
    args = (torch.randn(2, 20, 4), torch.tensor([20, 7]))
    axes = [("batch", "sequence", None), ("batch",)]
    module = randomized(Tagger())
    return rnn_edge.export(module, args, folder, axes=axes, output_names=["logits"])
