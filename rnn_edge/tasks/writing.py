"""What tasks have in common that write a text: its ids, teacher forcing, and how right it is."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import Batch
from rnn_edge.contract import TextDecoder
from rnn_edge.errors import DataError
from rnn_edge.extras import import_extra
from rnn_edge.models.writing import Writer
from rnn_edge.runtime.decoders import TextAnswer, decode
from rnn_edge.tasks.task import Interface, Option, Report, State, Task, TaskData
from rnn_edge.tasks.text_scores import text_scores
from rnn_edge.vocabulary import PADDING_ID, Vocabulary

END = "<end>"
# What is reported beside the model's own way of writing.
BEAM = 4
MEANINGS = {
    "written": "places in the decoder's vocabulary; its end ends a text",
    "log_probabilities": "of each character after those before it, 0 behind the end",
}
WRITING_OPTIONS = (
    Option("beam", 1, "Texts that the model keeps in view while it writes.", minimum=1),
    Option("max_length", 200, "Longest text, to read or to write, that is taken.", minimum=1),
)


class WritingTask(Task):
    """Abstract: the module is a Writer whose ``taught`` takes a batch's inputs and targets.

    Its forward() gives what was written first. ``options`` include WRITING_OPTIONS.
    """

    metric = "loss"

    @abstractmethod
    def true_texts(self, data: TaskData) -> tuple[list[str], list[str]]:
        """The texts of the training and of the test part."""

    def baselines(self, data: TaskData) -> Mapping[str, list[str]]:
        """What else might be answered to the test part, by name."""
        return {}

    def forward(
        self, module: nn.Module, batch: Batch, state: State | None
    ) -> tuple[Any, State | None]:
        """Logits of the right characters, each after the right ones before it."""
        return cast(Any, module).taught(*batch.inputs, batch.targets), None

    def loss(self, output: Any, batch: Batch) -> Tensor:
        return F.cross_entropy(
            output.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING_ID
        )

    def measure(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        valid = batch.targets != PADDING_ID
        return {"accuracy": (output.argmax(dim=2) == batch.targets)[valid].float().mean()}

    def report(self, module: nn.Module, data: TaskData) -> Report:
        known, true = self.true_texts(data)
        frequent, _ = Counter(known).most_common(1)[0]
        answers = {
            "model": self.written(module, data)[0],
            f"model, beam {BEAM}": self._searched(module, data),
            **self.baselines(data),
            f"always {frequent}": [frequent] * len(true),
        }
        return Report({name: scores(true, texts) for name, texts in answers.items()})

    def written(self, module: nn.Module, data: TaskData) -> tuple[list[str], list[Tensor]]:
        """What the module writes for every row of the test part, and its last output."""
        texts: list[str] = []
        others: list[Tensor] = []
        for batch in data.test.batches(self.evaluation_batch_size):
            with torch.inference_mode():
                ids, *_, last = module.eval()(*batch.inputs)
            for row in ids:
                answer = decode(data.interface.decoder, row.numpy(), "written")
                texts.append(cast(TextAnswer, answer).text)
            others.extend(last)
        return texts, others

    def _searched(self, module: nn.Module, data: TaskData) -> list[str]:
        """What the module writes with a beam of BEAM, whatever its own is."""
        writer = cast(Writer, module)
        own, writer.beam = writer.beam, BEAM
        try:
            return self.written(module, data)[0]
        finally:
            writer.beam = own


def text_decoder(vocabulary: Vocabulary) -> TextDecoder:
    """The decoder of texts whose characters are those of ``vocabulary``."""
    return TextDecoder((*vocabulary.entries, END), end=len(vocabulary))


def target_ids(text: str, vocabulary: Vocabulary) -> Tensor:
    """``text`` as a ``text_decoder`` reads it, the end included: int64[characters + 1]."""
    return torch.cat([torch.from_numpy(vocabulary.encode(text)), torch.tensor([len(vocabulary)])])


def text_of(ids: Tensor, interface: Interface) -> str:
    """The text whose ``target_ids`` these are."""
    entries = cast(TextDecoder, interface.decoder).vocabulary
    return "".join(entries[place] for place in ids.tolist()[:-1])


def check_length(size: int, longest: int, where: str) -> None:
    """Raise DataError for a text of ``size`` characters, more than ``longest``."""
    if size > longest:
        raise DataError(
            f"texts of {where} must have {longest} characters or fewer, got {size}. "
            "Split it, or raise --max-length."
        )


def scores(true: Sequence[str], written: Sequence[str]) -> dict[str, float]:
    """Texts wholly right, edits a character, and BLEU over characters and chrF, 0 to 100."""
    bleu = import_extra("sacrebleu.metrics")
    return {
        **text_scores(true, written),
        "BLEU": bleu.BLEU(tokenize="char").corpus_score(written, [true]).score,
        "chrF": bleu.CHRF().corpus_score(written, [true]).score,
    }
