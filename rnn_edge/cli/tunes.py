"""Tunes that a bundle writes: its style, where the tune ends, and the files it is heard from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnn_edge.cli.output import say
from rnn_edge.cli.suggestions import suggest
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra

# A tune ends by itself, at an empty line; this is where it is given up.
MOST_CHARACTERS = 2000


@dataclass(frozen=True)
class TuneFiles:
    """What a person asks of a tune: its style, and files to write."""

    style: str | None
    midi: Path | None
    wav: Path | None

    def flags(self) -> dict[str, object]:
        return {"--style": self.style is not None, "--midi": self.midi, "--wav": self.wav}

    def require(self, styles: Sequence[str], prompt: str | None) -> None:
        """Raise InputError or MissingExtraError now, rather than after the work."""
        if self.style is not None and self.style not in styles:
            hint = suggest(self.style, styles) or " Choose one."
            raise InputError(
                f"--style must be one of {', '.join(styles)}, got {self.style!r}.{hint}"
            )
        if self.style is not None and prompt is not None:
            raise InputError("--style must be left out with a prompt, which says it. Leave it out.")
        for flag, path, endings, module in (
            ("--midi", self.midi, (".mid", ".midi"), "mido"),
            ("--wav", self.wav, (".wav",), "soundfile"),
        ):
            if path is None:
                continue
            if path.suffix.lower() not in endings:
                raise InputError(f"{flag} must name a {endings[0]} file, got {path}. Change it.")
            import_extra(module)

    def prompt(self) -> str:
        """What the tune begins with: its style, or the question for one."""
        return "\nR:" if self.style is None else f"\nR:{self.style}\n"

    def write(self, text: str) -> None:
        """Write the files of the tune ``text``, as far as it is ABC notation."""
        from rnn_edge.abc_notation import longest_tune
        from rnn_edge.runtime.tunes import write_midi, write_wav

        tune, fault = longest_tune(text)
        if tune is None:
            raise InputError(
                f"text that was written must hold notes of a tune, it has {fault or 'none'}. "
                "Give another --seed or a lower --temperature."
            )
        if fault:
            say(f"Note: the tune ends early, where the text has {fault}.")
        if self.midi is not None:
            write_midi(tune, self.midi)
        if self.wav is not None:
            write_wav(tune, self.wav)


def one_tune(prompt: str, characters: Iterator[str]) -> Iterator[str]:
    """``characters`` up to an empty line, the tune's end."""
    before = prompt[-1:]
    for character in characters:
        if character == "\n" and before == "\n":
            return
        yield character
        before = character
