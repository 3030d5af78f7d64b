"""Write a text as another one: a date in words as digits."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from rnn_edge.batching import SequencePairSplit
from rnn_edge.contract import CharacterFrontEnd, TextDecoder
from rnn_edge.drawing import draw_attention
from rnn_edge.errors import DataError
from rnn_edge.models.translator import Translator
from rnn_edge.tasks.characters import (
    character_arguments,
    character_deployment,
    character_options,
    split_rows,
)
from rnn_edge.tasks.task import Deployment, Interface, ModelOptions, TaskData, TrainingOptions
from rnn_edge.tasks.writing import (
    MEANINGS,
    WRITING_OPTIONS,
    WritingTask,
    check_length,
    target_ids,
    text_decoder,
    text_of,
)
from rnn_edge.text_file import read_text
from rnn_edge.vocabulary import PADDING_ID, Vocabulary

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


class Translation(WritingTask):
    model = ModelOptions(cell="gru", hidden_size=96, bidirectional=True)
    training = TrainingOptions(epochs=12, batch_size=64, lr=6e-3, schedule="one-cycle")
    options = (
        *character_options(embedding_size=32, token_dropout=0.0),
        *WRITING_OPTIONS,
    )
    embedded = ("dates",)
    data_help = "a TSV file: a text, a tab and its translation in every line"

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
        decoder = text_decoder(target)
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
            target_size=len(cast(TextDecoder, interface.decoder).vocabulary),
            steps=interface.facts["steps"],
            beam=self.own["beam"],
            **character_arguments(self.own, options, interface),
        )

    def true_texts(self, data: TaskData) -> tuple[list[str], list[str]]:
        parts = (cast(SequencePairSplit, part) for part in (data.train, data.test))
        known, true = (
            [text_of(row, data.interface) for row in part.target_sequences] for part in parts
        )
        return known, true

    def baselines(self, data: TaskData) -> Mapping[str, list[str]]:
        return {"the text as it is": _sources(data)}

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        written, maps = self.written(module, data)
        panels = [
            (source, text, weights[: len(text), : len(source)].numpy())
            for source, text, weights in zip(_sources(data), written, maps, strict=True)
        ]
        draw_attention(folder / "attention.png", panels)

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        outputs = {
            **MEANINGS,
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
        check_length(max(len(first), len(second)), longest, f"{source}, line {number},")
        found.append((first, second))
    return found


def _split(
    rows: Sequence[tuple[str, str]], vocabulary: Vocabulary, target: Vocabulary
) -> SequencePairSplit:
    return SequencePairSplit(
        [torch.from_numpy(vocabulary.encode(text)) for text, _ in rows],
        [target_ids(text, target) for _, text in rows],
        PADDING_ID,
    )


def _sources(data: TaskData) -> list[str]:
    entries = cast(CharacterFrontEnd, data.interface.front_end).vocabulary
    rows = cast(SequencePairSplit, data.test).sequences
    return ["".join(entries[place] for place in row.tolist()) for row in rows]
