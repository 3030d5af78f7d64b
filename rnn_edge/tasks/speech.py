"""Write down what is said in a sound: words, digits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import Batch, SequencePairSplit
from rnn_edge.contract import AudioFrontEnd, AxisLimits, CtcDecoder
from rnn_edge.drawing import draw_spectrograms
from rnn_edge.errors import DataError
from rnn_edge.models.speech_recognizer import LogMel, SpeechRecognizer, frame_length
from rnn_edge.runtime.decoders import TextAnswer, decode
from rnn_edge.runtime.front_ends import audio
from rnn_edge.tasks.listed_files import content_of, listed_files
from rnn_edge.tasks.task import (
    Deployment,
    Interface,
    ModelOptions,
    Option,
    Report,
    Task,
    TaskData,
    TrainingOptions,
)
from rnn_edge.tasks.text_scores import edits, text_scores

BLANK = ""
TEST_SHARE, VALIDATION_SHARE = 0.1, 0.05
BEAM = 8
TRANSCRIPTS = "transcripts.tsv"
# Each key is a low tone with a high one, in Hertz (ITU-T Q.23).
KEYPAD = ("123A", "456B", "789C", "*0#D")
LOW, HIGH = (697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0, 1633.0)
KEYPAD_STRINGS, FEWEST_KEYS, MOST_KEYS = 1500, 3, 8
# Seconds of a tone and of the gap behind it; each string has a pace of its own.
TONES, GAPS, PACES = (0.05, 0.12), (0.03, 0.10), (0.7, 1.4)
LOUDNESS, NOISE = (-34.0, -3.0), (3.0, 30.0)  # decibels: of a string, and above its noise
# Of training sounds from files: how much faster or slower, louder or softer, noise beside.
SPEED, GAIN, HISS = 0.15, 8.0, 3e-3


@dataclass(frozen=True)
class Utterance:
    """float32[samples], what is said, and where it is from."""

    samples: Tensor
    text: str
    name: str


class Speech(Task):
    model = ModelOptions(cell="gru", hidden_size=64, bidirectional=True, dropout=0.2)
    training = TrainingOptions(
        epochs=20, batch_size=16, lr=5e-3, weight_decay=1e-2, schedule="one-cycle", keep="last"
    )
    recipes: ClassVar = {"keypad": {"epochs": 8, "augment": False, "dropout": 0.0}}
    options = (
        Option("rate", 8000, "Samples a second that the model hears.", minimum=2000),
        Option("bands", 40, "Bands of frequencies that it tells apart.", minimum=4),
        Option(
            "label_pattern",
            r"([^_.]+)",
            "Regular expression for the beginning of a file's name; its group is what is said.",
        ),
        Option(
            "transcripts",
            None,
            f"TSV file: a WAV file and what it says in each line.  [default: {TRANSCRIPTS} of the "
            "folder, if there]",
            kind=str,
        ),
        Option(
            "held_out",
            None,
            "Regular expression in the names of the files to test on; default: a random tenth.",
            kind=str,
        ),
        Option("augment", True, "Change speed, loudness and noise of training sounds a little."),
    )
    embedded = ("keypad",)
    data_help = "a folder of WAV files"
    metric = "error_rate"

    def load(self, data: str | None, seed: int) -> TaskData:
        source = data or self.embedded[0]
        rate, chance = self.own["rate"], np.random.default_rng(seed)
        notes: list[str] = []
        if source == "keypad":
            strings = (keypad(rate, chance) for _ in range(KEYPAD_STRINGS))
            said = [Utterance(torch.from_numpy(sound), text, text) for sound, text in strings]
        else:
            said = self._read(Path(source), notes)
        labels = (BLANK, *sorted({character for each in said for character in each.text}))
        parts = self._split(said, chance, source)
        change = augmented if self.own["augment"] else None
        train, validation, test = (
            _pairs(part, labels, change if place == 0 else None) for place, part in enumerate(parts)
        )
        mean, std = self._normalisation(parts[0])
        facts = {"mean": mean, "std": std, "longest": int(train.lengths.max())}
        seconds = sum(len(each.samples) for each in said) / rate
        description = (
            f"{source}: {len(said)} sounds, {seconds:.0f} s, {len(labels) - 1} characters; "
            f"{len(train)} to train, {len(validation)} to validate, {len(test)} to test"
        )
        interface = Interface(
            AudioFrontEnd(rate), CtcDecoder(labels, stride=frame_length(rate)), facts
        )
        return TaskData(train, validation, test, interface, "; ".join([description, *notes]))

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        facts = interface.facts
        return SpeechRecognizer(
            cast(AudioFrontEnd, interface.front_end).rate,
            facts["mean"],
            facts["std"],
            len(cast(CtcDecoder, interface.decoder).labels),
            **asdict(options),
        )

    def loss(self, output: Any, batch: Batch) -> Tensor:
        # Behind its end a row says blank for certain: its frames need not be counted.
        frames = torch.full((len(output),), output.shape[1])
        loss = F.ctc_loss(
            output.transpose(0, 1),
            batch.targets,
            frames,
            (batch.targets != 0).sum(dim=1),
            reduction="sum",
            zero_infinity=True,
        )
        return loss / batch.count

    def measure(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Edits a character, of the likeliest paths."""
        best = output.argmax(dim=2)
        wrong = 0
        for path, targets in zip(best, batch.targets, strict=True):
            said = path.unique_consecutive()
            wrong += edits(said[said != 0].tolist(), targets[targets != 0].tolist())
        return {self.metric: torch.tensor(wrong / batch.count)}

    def report(self, module: nn.Module, data: TaskData) -> Report:
        true = _texts(data.test, data.interface)
        frequent, _ = Counter(_texts(data.train, data.interface)).most_common(1)[0]
        outputs = self._heard(module, data)
        return Report(
            {
                "model": text_scores(true, _decoded(outputs, data.interface)),
                f"model, beam {BEAM}": text_scores(true, _decoded(outputs, data.interface, BEAM)),
                f"always {frequent}": text_scores(true, [frequent] * len(true)),
            }
        )

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        sounds = cast(SequencePairSplit, data.test).sequences
        true = _texts(data.test, data.interface)
        written = _decoded(self._heard(module, data), data.interface)
        rate = cast(AudioFrontEnd, data.interface.front_end).rate
        titles = [f"{text}, heard as {found}" for text, found in zip(true, written, strict=True)]
        draw_spectrograms(
            folder / "spectrograms.png", [sound.numpy() for sound in sounds], titles, rate
        )

    def _heard(self, module: nn.Module, data: TaskData) -> list[np.ndarray]:
        """float32[frames, labels] of every test sound, the blanks behind its end included."""
        outputs = (output for output, _ in self.predictions(module, data.test))
        return [row.numpy() for output in outputs for row in output]

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        model = cast(SpeechRecognizer, module)
        stride = model.stride
        samples = 0.1 * torch.randn(3, 9 * stride, generator=torch.Generator().manual_seed(0))
        lengths = torch.tensor([9 * stride, stride, 5 * stride + 7])
        # To hear forwards only needs no lengths: then the graph streams.
        whole = model.core.bidirectional
        return Deployment(
            args=(samples, lengths) if whole else (samples,),
            axes=[("batch", "sequence"), ("batch",)] if whole else [("batch", "sequence")],
            output_names=["log_probabilities"],
            front_end=interface.front_end,
            decoder=interface.decoder,
            limits={"sequence": AxisLimits(stride, trained_maximum=interface.facts["longest"])},
            meanings={
                "samples": "sound of one channel, -1 to 1, rows filled up with anything",
                **({"lengths": "samples of each row"} if whole else {}),
                "log_probabilities": "of each label at each frame, the blank first",
            },
            frame_rate=self.own["rate"],
        )

    def _read(self, folder: Path, notes: list[str]) -> list[Utterance]:
        """The WAV files of ``folder`` and what they say. Raises DataError or InputError."""
        if not folder.is_dir():
            raise DataError(
                f"{folder} must be a folder of WAV files, it is none. Correct the path."
            )
        listed = self.own["transcripts"] or folder / TRANSCRIPTS
        if self.own["transcripts"] or listed.is_file():
            pairs = listed_files(Path(listed), folder)
        else:
            pairs = named(folder, self.own["label_pattern"])
        front_end = AudioFrontEnd(self.own["rate"])
        said, mixed = [], 0
        for path, text in pairs:
            sound, channels = audio(front_end, content_of(path), str(path))
            mixed += channels > 1
            said.append(Utterance(torch.from_numpy(sound), text, path.name))
        if mixed:
            notes.append(f"{mixed} files of several channels mixed down to one")
        return said

    def _split(
        self, said: list[Utterance], chance: np.random.Generator, source: str
    ) -> list[list[Utterance]]:
        """For training, validation and test, by chance or by the names to be held out."""
        order = [said[place] for place in chance.permutation(len(said))]
        if self.own["held_out"] is None:
            held = max(1, round(TEST_SHARE * len(order)))
            test, rest = order[:held], order[held:]
        else:
            search = _expression(self.own["held_out"], "held_out").search
            test = [each for each in order if search(each.name)]
            rest = [each for each in order if not search(each.name)]
        validated = max(1, round(VALIDATION_SHARE * len(rest)))
        if not test or len(rest) <= validated:
            raise DataError(
                f"{source} must hold files to train on, to validate and to test, got {len(rest)} "
                f"and {len(test)} to test. Add files, or change --held-out."
            )
        return [rest[validated:], rest[:validated], test]

    def _normalisation(self, part: Sequence[Utterance]) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each band over the training sounds."""
        features = LogMel(self.own["rate"], self.own["bands"])
        shortest = frame_length(self.own["rate"])
        rows = [each.samples for each in part if len(each.samples) >= shortest]
        if not rows:
            raise DataError(
                f"sounds to train on must be of {shortest} samples or more at {self.own['rate']} "
                "Hz, none is. Give longer ones."
            )
        with torch.inference_mode():
            bands = torch.cat([features(row.unsqueeze(0))[0] for row in rows])
        return bands.mean(dim=0).tolist(), bands.std(dim=0, correction=0).clamp(min=1e-3).tolist()


# --- Data -------------------------------------------------------------------------------------


def keypad(rate: int, chance: np.random.Generator) -> tuple[np.ndarray, str]:
    """The tones of keys that are dialled, float32[samples], and the keys."""
    keys = chance.choice(list("".join(KEYPAD)), size=chance.integers(FEWEST_KEYS, MOST_KEYS + 1))
    pace = chance.uniform(*PACES)

    def silence() -> np.ndarray:
        return np.zeros(round(chance.uniform(*GAPS) * pace * rate))

    parts = [silence()]
    for key in keys:
        row = next(place for place, line in enumerate(KEYPAD) if key in line)
        steps = np.arange(round(chance.uniform(*TONES) * pace * rate)) / rate
        low, high = LOW[row], HIGH[KEYPAD[row].index(key)]
        phases = chance.uniform(0, 2 * np.pi, 2)
        tones = [
            np.sin(2 * np.pi * frequency * steps + phase)
            for frequency, phase in zip((low, high), phases, strict=True)
        ]
        parts += [0.5 * (tones[0] + tones[1]), silence()]
    sound = np.concatenate(parts)
    noise = chance.normal(size=len(sound)) * 0.5 * 10 ** (-chance.uniform(*NOISE) / 20)
    loud = 10 ** (chance.uniform(*LOUDNESS) / 20)
    return np.clip(loud * (sound + noise), -1, 1).astype(np.float32), "".join(keys)


def named(folder: Path, pattern: str) -> list[tuple[Path, str]]:
    """The WAV files of ``folder`` and what the beginnings of their names say."""
    expression = _expression(pattern, "label_pattern")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav")
    if not paths:
        raise DataError(f"{folder} must hold WAV files, it holds none. Give another folder.")
    found = []
    for path in paths:
        match = expression.match(path.name)
        if match is None or not (match.groups() and match.group(1)):
            raise DataError(
                f"{path} must have a name that {pattern!r} finds a label in, it has not. "
                f"Rename it, change --label-pattern, or write {TRANSCRIPTS}."
            )
        found.append((path, match.group(1)))
    return found


def augmented(samples: Tensor, generator: torch.Generator) -> Tensor:
    """float32[samples], played faster or slower, louder or softer, with some noise beside."""
    speed, gain, hiss = (2 * torch.rand(3, generator=generator) - 1).tolist()
    length = max(1, round(len(samples) * (1 + SPEED * speed)))
    changed = F.interpolate(samples.view(1, 1, -1), length, mode="linear").view(-1)
    noise = HISS * (hiss + 1) / 2 * torch.randn(length, generator=generator)
    return changed * 10 ** (GAIN * gain / 20) + noise


def _pairs(
    part: Sequence[Utterance],
    labels: tuple[str, ...],
    change: Callable[[Tensor, torch.Generator], Tensor] | None,
) -> SequencePairSplit:
    places = {label: place for place, label in enumerate(labels)}
    targets = [torch.tensor([places[character] for character in each.text]) for each in part]
    return SequencePairSplit([each.samples for each in part], targets, augment=change)


def _expression(pattern: str, option: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"{option} must be a regular expression, got {pattern!r}: {error}. Correct it."
        ) from None


# --- Texts ------------------------------------------------------------------------------------


def _texts(split: Any, interface: Interface) -> list[str]:
    labels = cast(CtcDecoder, interface.decoder).labels
    targets = cast(SequencePairSplit, split).target_sequences
    return ["".join(labels[place] for place in row.tolist()) for row in targets]


def _decoded(outputs: Sequence[np.ndarray], interface: Interface, beam: int = 1) -> list[str]:
    return [
        cast(TextAnswer, decode(interface.decoder, output, beam=beam)).text for output in outputs
    ]
