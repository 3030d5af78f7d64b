"""The tutorial's recipe for images as sequences of rows, in plain PyTorch, to compare with ours.

RNN (tanh) of 64 units, last state, Adam 1e-3, batches of 8, 10 epochs, pixels scaled to 0 .. 1.

    python tools/bench/tutorial_images.py DIR    # DIR holds IDX files; the last 1,500 are held out
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.idx_file import read_image_folder

HELD_OUT = 1500
EPOCHS = 10


class Classifier(nn.Module):
    def __init__(self, columns: int, classes: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(columns, 64, batch_first=True)
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rnn(images)[0][:, -1])
        return logits


def train(images: Tensor, labels: Tensor, classes: int) -> Iterator[Classifier]:
    """The model after each epoch, without an end; images are float32, 0 to 1."""
    model = Classifier(images.shape[2], classes)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    while True:
        for batch in torch.randperm(len(images)).split(8):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        yield model


@torch.no_grad()
def accuracy(model: Classifier, images: Tensor, labels: Tensor) -> float:
    return float((model(images).argmax(1) == labels).float().mean())


def main() -> None:
    torch.manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    torch.set_num_threads(1)
    both = read_image_folder(sys.argv[1])["train"]
    images = torch.from_numpy(both.images.copy()).float() / 255
    labels = torch.from_numpy(both.labels.copy()).long()
    start = time.perf_counter()
    trained = train(images[:-HELD_OUT], labels[:-HELD_OUT], int(labels.max()) + 1)
    model = next(islice(trained, EPOCHS - 1, None))
    seconds = time.perf_counter() - start
    right = accuracy(model, images[-HELD_OUT:], labels[-HELD_OUT:])
    print(json.dumps({"accuracy": right, "training_seconds": seconds}))


if __name__ == "__main__":
    main()
