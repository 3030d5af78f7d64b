"""The tutorial's recipe for images as sequences of rows, in plain PyTorch, to compare with ours.

RNN (tanh) of 64 units, last state, Adam 1e-3, batches of 8, 10 epochs, pixels scaled to 0 .. 1.

    python tools/bench/tutorial_images.py DIR    # DIR holds IDX files; the last 1,500 are held out
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.idx_file import read_image_folder

HELD_OUT = 1500


class Classifier(nn.Module):
    def __init__(self, columns: int, classes: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(columns, 64, batch_first=True)
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rnn(images)[0][:, -1])
        return logits


def train(images: Tensor, labels: Tensor, classes: int) -> Classifier:
    model = Classifier(images.shape[2], classes)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(10):
        for batch in torch.randperm(len(images)).split(8):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model


def main() -> None:
    torch.manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    torch.set_num_threads(1)
    both = read_image_folder(sys.argv[1])["train"]
    images = torch.from_numpy(both.images.copy()).float() / 255
    labels = torch.from_numpy(both.labels.copy()).long()
    start = time.perf_counter()
    model = train(images[:-HELD_OUT], labels[:-HELD_OUT], int(labels.max()) + 1)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        right = (model(images[-HELD_OUT:]).argmax(1) == labels[-HELD_OUT:]).float().mean()
    print(json.dumps({"accuracy": float(right), "training_seconds": seconds}))


if __name__ == "__main__":
    main()
