"""Write tunes of a style, to be heard as MIDI or WAV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.abc_notation import Tune, longest_tune, write_tune
from rnn_edge.batching import Batch, SequencePairSplit
from rnn_edge.contract import NextCharacterDecoder
from rnn_edge.drawing import draw_piano_rolls
from rnn_edge.errors import DataError
from rnn_edge.models.language_model import NextCharacterModel
from rnn_edge.tasks.characters import character_options
from rnn_edge.tasks.listed_files import content_of
from rnn_edge.tasks.next_character import (
    NextCharacterTask,
    frequency_entropy,
    per_character,
    sample,
    vocabulary_of,
)
from rnn_edge.tasks.task import (
    Interface,
    ModelOptions,
    Option,
    Report,
    State,
    Table,
    TaskData,
    TrainingOptions,
)
from rnn_edge.tasks.tune_files import read_abc, read_midi
from rnn_edge.text_file import decode_text
from rnn_edge.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
TUNES = Path(__file__).parent / "data" / "tunes.abc"
MIDI_ENDINGS, ABC_ENDINGS = (".mid", ".midi"), (".abc",)
MOST_CHARACTERS = 4000  # of one tune
SAMPLE_LENGTH = 1000
DRAWN_STYLES = 4


class TuneSplit(SequencePairSplit):
    """Tunes as rows of ids, each with the next character at every step; ``styles`` names theirs.

    Of a share of ``excerpts`` of them, a training pass takes some bars alone, other ones each
    time: what stands before the bars is then learned from many of them.
    """

    def __init__(
        self, tunes: Sequence[tuple[str, str]], vocabulary: Vocabulary, excerpts: float = 0
    ) -> None:
        self.rows = [torch.from_numpy(vocabulary.encode(text)) for _, text in tunes]
        super().__init__(
            [row[:-1] for row in self.rows], [row[1:] for row in self.rows], PADDING_ID
        )
        self.styles = [style for style, _ in tunes]
        self.excerpts = excerpts
        self._heads = [text.rstrip().rfind("\n") + 1 for _, text in tunes]
        self._bar = vocabulary.encode("|")[0]

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        if generator is None or not self.excerpts:
            yield from super().batches(batch_size, generator)
            return
        rows = [
            self._excerpt(row, head, generator)
            for row, head in zip(self.rows, self._heads, strict=True)
        ]
        split = SequencePairSplit([row[:-1] for row in rows], [row[1:] for row in rows], PADDING_ID)
        yield from split.batches(batch_size, generator)

    def _excerpt(self, row: Tensor, head: int, generator: torch.Generator) -> Tensor:
        bars = (row[head:] == self._bar).nonzero().flatten() + head + 1  # where each one ends
        if float(torch.rand((), generator=generator)) >= self.excerpts:
            return row
        starts = [head, *bars.tolist()[:-1]]
        first = int(torch.randint(len(starts), (), generator=generator))
        last = int(torch.randint(first, len(starts), (), generator=generator))
        end = len(row) if last == len(starts) - 1 else int(bars[last])
        return torch.cat([row[:head], row[starts[first] : end]])


class Music(NextCharacterTask):
    model = ModelOptions(cell="lstm", hidden_size=128, dropout=0.4)
    training = TrainingOptions(epochs=150, batch_size=4, lr=5e-3, schedule="one-cycle")
    options = (
        Option(
            "excerpts",
            0.8,
            "Share of tunes of which a training pass takes some bars alone.",
            minimum=0,
            below=1,
        ),
        *character_options(embedding_size=32, token_dropout=0.05),
    )
    embedded = ("tunes",)
    data_help = "a folder of ABC and MIDI files, or one such file"
    metric = "loss"
    evaluation_batch_size = 16

    def load(self, data: str | None, seed: int) -> TaskData:
        embedded = data is None or data in self.embedded
        source = self.embedded[0] if data is None else data
        tunes = _read(TUNES) if embedded else _read_all(Path(source))
        rows = [(tune.style, text_of(tune)) for tune in tunes]
        parts = _split(rows, np.random.default_rng(seed), source)
        vocabulary = Vocabulary.build(text for _, text in parts[0])
        train, validation, test = (
            TuneSplit(part, vocabulary, share)
            for part, share in zip(parts, (self.own["excerpts"], 0, 0), strict=True)
        )
        styles = tuple(sorted(set(train.styles)))
        unknown = sum(int((row == UNKNOWN_ID).sum()) for row in test.target_sequences)
        description = (
            f"{source}: {len(rows)} tunes, {len(vocabulary)} different characters; "
            f"{len(train)} to train, {len(validation)} to validate, {len(test)} to test "
            f"({unknown} characters unseen in training); styles: {', '.join(styles)}"
        )
        decoder = NextCharacterDecoder(never=(PADDING_ID, UNKNOWN_ID), styles=styles)
        interface = Interface(vocabulary.front_end(), decoder)
        return TaskData(train, validation, test, interface, description)

    def forward(self, module: nn.Module, batch: Batch, state: State | None) -> tuple[Any, None]:
        tokens = batch.inputs[0]
        logits, *_ = module(tokens, *cast(NextCharacterModel, module).initial_state(len(tokens)))
        return logits, None

    def loss(self, output: Any, batch: Batch) -> Tensor:
        return F.cross_entropy(
            output.flatten(0, 1), batch.targets.flatten(), ignore_index=PADDING_ID
        )

    def report(self, module: nn.Module, data: TaskData) -> Report:
        train, test = cast(TuneSplit, data.train), cast(TuneSplit, data.test)
        size = len(vocabulary_of(data.interface))
        pairs = pair_costs(train, size)
        costs = self._costs(module, test)
        frequencies = frequency_entropy(
            torch.cat(train.target_sequences), torch.cat(test.target_sequences), size
        )
        paired = [
            pairs[row, following]
            for row, following in zip(test.sequences, test.target_sequences, strict=True)
        ]
        table: list[tuple[str | int | float, ...]] = []
        for style in sorted(set(test.styles)):
            chosen = [place for place, name in enumerate(test.styles) if name == style]
            means = [
                float(torch.cat([each[place] for place in chosen]).mean())
                for each in (costs, paired)
            ]
            table.append((style, len(chosen), *(round(mean, 3) for mean in means)))
        styles = cast(NextCharacterDecoder, data.interface.decoder).styles
        return Report(
            scores={
                "model": per_character(float(torch.cat(costs).mean())),
                "character pairs": per_character(float(torch.cat(paired).mean())),
                "character frequencies": per_character(frequencies),
            },
            tables=(
                Table(
                    "nats per character of test tunes, by style",
                    ("style", "tunes", "model", "character pairs"),
                    tuple(table),
                ),
            ),
            text=written(module, data.interface, styles[0]),
        )

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        """Tunes that the module wrote, one a style, as piano rolls."""
        rolls: dict[str, Tune] = {}
        styles = cast(NextCharacterDecoder, data.interface.decoder).styles
        for seed, style in enumerate(styles[:DRAWN_STYLES]):
            tune, _ = longest_tune(written(module, data.interface, style, seed))
            if tune is not None:
                rolls[style] = tune
        if rolls:
            draw_piano_rolls(folder / "tunes.png", rolls)

    def _costs(self, module: nn.Module, split: TuneSplit) -> list[Tensor]:
        """Nats of every character, a row for each tune."""
        found = []
        for logits, batch in self.predictions(module, split):
            nats = F.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")
            lengths = batch.inputs[1].tolist()
            found += [row[:length] for row, length in zip(nats, lengths, strict=True)]
        return found


def text_of(tune: Tune) -> str:
    """What a model reads of a tune: a line's end, its lines, an empty one."""
    return f"\n{write_tune(tune)}\n"


def written(module: nn.Module, interface: Interface, style: str, seed: int = 0) -> str:
    """A tune of ``style`` that ``module`` writes."""
    generator = torch.Generator().manual_seed(seed)
    prompt = f"\nR:{style}\n"
    text = sample(
        cast(NextCharacterModel, module), vocabulary_of(interface), prompt, SAMPLE_LENGTH, generator
    )
    return (prompt + text).strip("\n").partition("\n\n")[0]


def pair_costs(train: TuneSplit, size: int) -> Tensor:
    """float64[before, character]: nats of a character behind another, by counts of ``train``.

    Counts of pairs are smoothed by the frequencies, which are worth one more character each.
    """
    counts = torch.zeros(size, size, dtype=torch.float64)
    for row, following in zip(train.sequences, train.target_sequences, strict=True):
        counts.index_put_((row, following), torch.ones(len(row), dtype=torch.float64), True)
    frequencies = counts.sum(dim=0) + 1
    frequencies[PADDING_ID] = 0  # stands in no text
    frequencies /= frequencies.sum()
    return -((counts + frequencies) / (counts.sum(dim=1, keepdim=True) + 1)).log()


def _split(
    rows: Sequence[tuple[str, str]], chance: np.random.Generator, source: str
) -> list[list[tuple[str, str]]]:
    """Tunes to train, to validate and to test: of every style alike, where it has enough.

    The same tune never stands in two. Raises DataError where nothing would be left to train.
    """
    distinct = sorted({text: style for style, text in rows}.items())
    by_style: Mapping[str, list[tuple[str, str]]] = {
        name: [(style, text) for text, style in distinct if style == name]
        for name in {style for _, style in distinct}
    }
    train: list[tuple[str, str]] = []
    test: list[tuple[str, str]] = []
    for name in sorted(by_style):
        tunes = [by_style[name][place] for place in chance.permutation(len(by_style[name]))]
        held = max(1, round(TEST_SHARE * len(tunes))) if len(tunes) > 1 else 0
        test, train = [*test, *tunes[:held]], [*train, *tunes[held:]]
    if not test or len(train) < 2:
        raise DataError(
            f"{source} must hold 3 different tunes or more, two of one style, "
            f"got {len(distinct)}. Add tunes."
        )
    order = chance.permutation(len(train))
    validated = max(1, round(VALIDATION_SHARE * len(train)))
    parts = (order[validated:], order[:validated])
    return [*([train[place] for place in part] for part in parts), test]


def _read_all(path: Path) -> list[Tune]:
    if not path.exists():
        raise DataError(
            f"{path} must be a folder of ABC and MIDI files, it is not there. Correct the path."
        )
    known = ABC_ENDINGS + MIDI_ENDINGS
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in files if file.suffix.lower() in known and file.is_file()]
    if not files:
        raise DataError(
            f"{path} must hold files whose names end in {', '.join(known)}, it holds none. "
            "Give another folder."
        )
    return [tune for file in files for tune in _read(file)]


def _read(path: Path) -> list[Tune]:
    """The tunes of a file; those that name no style have their folder's name."""
    style = path.absolute().parent.name.lower()
    content = content_of(path)
    if path.suffix.lower() in MIDI_ENDINGS:
        tunes = [read_midi(content, str(path), style)]
    else:
        tunes = read_abc(decode_text(content, str(path)), str(path), style)
    for tune in tunes:
        length = len(text_of(tune))
        if length > MOST_CHARACTERS:
            raise DataError(
                f"tunes of {path} must have {MOST_CHARACTERS} characters or fewer, {tune.title!r} "
                f"has {length}. Cut it."
            )
    return tunes
