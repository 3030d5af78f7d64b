"""Write a text as another text: a date in words as a date in numbers, say."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import Batch, SequencePairSplit
from rnn_edge.contract import CharacterFrontEnd, TextDecoder
from rnn_edge.drawing import draw_attention
from rnn_edge.errors import DataError
from rnn_edge.extras import import_extra
from rnn_edge.models.translator import Translator
from rnn_edge.runtime.decoders import TextAnswer, decode
from rnn_edge.tasks.characters import (
    character_arguments,
    character_deployment,
    character_options,
    split_rows,
)
from rnn_edge.tasks.task import (
    Deployment,
    Interface,
    ModelOptions,
    Option,
    Report,
    State,
    Task,
    TaskData,
    TrainingOptions,
)
from rnn_edge.tasks.text_scores import text_scores
from rnn_edge.text_file import read_text
from rnn_edge.vocabulary import PADDING_ID, Vocabulary

END = "<end>"
# What is reported beside the model's own way of writing.
BEAM = 4
DATES, FIRST_DAY, DAYS = 5000, datetime.date(1900, 1, 1), 200 * 365
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DIGITS = "零一二三四五六七八九"
# {d} day, {dd} with a leading zero, {th} ordinal, {m}, {mm}, {month}, {mon}, {y}, {weekday};
# {cy}, {cm}, {cd}: year, month and day in Chinese, {cw} the day of the week.
FORMS = (
    *("{month} {d}, {y}", "{mon} {d} {y}", "{d} {month} {y}", "{d}-{mon}-{y}", "{dd} {mon}. {y}"),
    *("{month} {th}, {y}", "the {th} of {month}, {y}", "{th} {month} {y}", "{y}/{m}/{d}"),
    *("{weekday}, {d} {month} {y}", "{weekday} {month} {th} {y}", "{y}.{mm}.{dd}"),
    *("{y} {mon} {dd}", "{y}年{m}月{d}日", "{y}年{mm}月{dd}日", "{y}年{m}月{d}号"),
    *("{cy}年{cm}月{cd}日", "{cy}年{cm}月{cd}号", "{y}年{m}月{d}日星期{cw}"),
    *("{cy}年{cm}月{cd}日，星期{cw}", "公元{y}年{m}月{d}日"),
)


class Translation(Task):
    model = ModelOptions(cell="gru", hidden_size=96, bidirectional=True)
    training = TrainingOptions(epochs=12, batch_size=64, lr=6e-3, schedule="one-cycle")
    options = (
        *character_options(embedding_size=32, token_dropout=0.0),
        Option("beam", 1, "Texts that the model keeps in view while it writes.", minimum=1),
        Option("max_length", 200, "Longest text, to read or to write, that is taken.", minimum=1),
    )
    embedded = ("dates",)
    data_help = "a TSV file: a text, a tab and its translation in every line"
    metric = "loss"

    def load(self, data: str | None, seed: int) -> TaskData:
        source = data or self.embedded[0]
        chance = np.random.default_rng(seed)
        if source == "dates":
            rows = [written_date(chance) for _ in range(DATES)]
        else:
            rows = pairs(read_text(source), source, self.own["max_length"])
        parts = split_rows(rows, chance, source)
        vocabulary = Vocabulary.build(text for text, _ in parts[0])
        target = Vocabulary.build(text for _, text in parts[0])
        decoder = TextDecoder((*target.entries, END), end=len(target))
        train, validation, test = (_split(part, vocabulary, target) for part in parts)
        steps = max(len(row) for row in train.target_sequences)
        facts = {"longest": int(train.lengths.max()), "steps": steps}
        description = (
            f"{source}: {len(rows)} pairs, of up to {facts['longest']} characters and up to "
            f"{steps - 1}; {len(train)} to train, {len(validation)} to validate, {len(test)} to "
            "test"
        )
        interface = Interface(vocabulary.front_end(), decoder, facts)
        return TaskData(train, validation, test, interface, description)

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        return Translator(
            target_size=len(_decoder(interface).vocabulary),
            steps=interface.facts["steps"],
            beam=self.own["beam"],
            **character_arguments(self.own, options, interface),
        )

    def forward(
        self, module: nn.Module, batch: Batch, state: State | None
    ) -> tuple[Any, State | None]:
        """Logits of the right characters, each after the right ones before it."""
        return cast(Translator, module).teach(batch.inputs[0], batch.inputs[1], batch.targets), None

    def loss(self, output: Any, batch: Batch) -> Tensor:
        return F.cross_entropy(
            output.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING_ID
        )

    def measure(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        valid = batch.targets != PADDING_ID
        return {"accuracy": (output.argmax(dim=2) == batch.targets)[valid].float().mean()}

    def report(self, module: nn.Module, data: TaskData) -> Report:
        written, _ = self._written(module, data)
        true = _targets(data.test, data.interface)
        frequent, _ = Counter(_targets(data.train, data.interface)).most_common(1)[0]
        return Report(
            {
                "model": scores(true, written),
                f"model, beam {BEAM}": scores(true, self._searched(module, data)),
                "the text as it is": scores(true, _sources(data)),
                f"always {frequent}": scores(true, [frequent] * len(true)),
            }
        )

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        written, maps = self._written(module, data)
        panels = [
            (source, text, weights[: len(text), : len(source)])
            for source, text, weights in zip(_sources(data), written, maps, strict=True)
        ]
        draw_attention(folder / "attention.png", panels)

    def _searched(self, module: nn.Module, data: TaskData) -> list[str]:
        """What the module writes with a beam of BEAM, whatever its own is."""
        translator = cast(Translator, module)
        own, translator.beam = translator.beam, BEAM
        try:
            return self._written(module, data)[0]
        finally:
            translator.beam = own

    def _written(self, module: nn.Module, data: TaskData) -> tuple[list[str], list[np.ndarray]]:
        """What the module writes for every test text, and float32[steps, sequence] from what."""
        texts, maps = [], []
        for batch in data.test.batches(self.evaluation_batch_size):
            with torch.inference_mode():
                written, _, attention = module.eval()(*batch.inputs)
            for row, weights in zip(written, attention, strict=True):
                answer = decode(data.interface.decoder, row.numpy(), "written")
                texts.append(cast(TextAnswer, answer).text)
                maps.append(weights.numpy())
        return texts, maps

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        end = _decoder(interface).end
        outputs = {
            "written": f"places in the decoder's vocabulary; {end} ends a text",
            "log_probabilities": "of each character after those before it, 0 behind the end",
            "attention": "how much each character that was written owes to each that was read",
        }
        return character_deployment(interface, outputs)


# --- Data -------------------------------------------------------------------------------------


def written_date(chance: np.random.Generator) -> tuple[str, str]:
    """A random day, written in one of FORMS, and in ISO form."""
    day = FIRST_DAY + datetime.timedelta(days=int(chance.integers(DAYS)))
    text = form_date(day, FORMS[chance.integers(len(FORMS))])
    if text.isascii():
        text = (str, str.lower, str.upper)[chance.integers(3)](text)
    return text, day.isoformat()


def form_date(day: datetime.date, form: str) -> str:
    """``day`` as ``form``, one of FORMS, has it."""
    ending = "th" if 11 <= day.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    month = MONTHS[day.month - 1]
    return form.format(
        d=day.day,
        dd=f"{day.day:02}",
        th=f"{day.day}{ending}",
        m=day.month,
        mm=f"{day.month:02}",
        month=month,
        mon=month[:3],
        y=day.year,
        weekday=WEEKDAYS[day.weekday()],
        cy="".join(DIGITS[int(digit)] for digit in str(day.year)),
        cm=chinese(day.month),
        cd=chinese(day.day),
        cw=(*DIGITS[1:7], "日")[day.weekday()],
    )


def chinese(number: int) -> str:
    """1 to 99 in Chinese."""
    tens, ones = divmod(number, 10)
    begin = ("" if tens == 1 else DIGITS[tens]) + "十" if tens else ""
    return begin + (DIGITS[ones] if ones else "")


def pairs(text: str, source: str, longest: int) -> list[tuple[str, str]]:
    """The texts and translations of a TSV file. Raises DataError naming the line."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        first, _, second = (part.strip() for part in line.partition("\t"))
        if not first or not second or "\t" in second:
            raise DataError(
                f"{source} must hold a text, a tab and its translation in every line, got "
                f"{line!r} in line {number}. Correct it."
            )
        if max(len(first), len(second)) > longest:
            raise DataError(
                f"texts of {source} must have {longest} characters or fewer, got "
                f"{max(len(first), len(second))} in line {number}. Split it, or raise --max-length."
            )
        found.append((first, second))
    return found


def _split(
    rows: Sequence[tuple[str, str]], vocabulary: Vocabulary, target: Vocabulary
) -> SequencePairSplit:
    end = torch.tensor([len(target)])
    return SequencePairSplit(
        [torch.from_numpy(vocabulary.encode(text)) for text, _ in rows],
        [torch.cat([torch.from_numpy(target.encode(text)), end]) for _, text in rows],
        PADDING_ID,
    )


# --- Texts ------------------------------------------------------------------------------------


def scores(true: Sequence[str], written: Sequence[str]) -> dict[str, float]:
    """Texts wholly right, edits a character, and BLEU over characters and chrF, 0 to 100."""
    bleu = import_extra("sacrebleu.metrics")
    return {
        **text_scores(true, written),
        "BLEU": bleu.BLEU(tokenize="char").corpus_score(written, [true]).score,
        "chrF": bleu.CHRF().corpus_score(written, [true]).score,
    }


def _decoder(interface: Interface) -> TextDecoder:
    return cast(TextDecoder, interface.decoder)


def _targets(split: Any, interface: Interface) -> list[str]:
    entries = _decoder(interface).vocabulary
    rows = cast(SequencePairSplit, split).target_sequences
    return ["".join(entries[place] for place in row.tolist()[:-1]) for row in rows]


def _sources(data: TaskData) -> list[str]:
    entries = cast(CharacterFrontEnd, data.interface.front_end).vocabulary
    rows = cast(SequencePairSplit, data.test).sequences
    return ["".join(entries[place] for place in row.tolist()) for row in rows]
