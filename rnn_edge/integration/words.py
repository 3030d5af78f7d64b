"""What a person reads and writes around a generated step: characters, names, choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_edge.bundle import Bundle
from rnn_edge.contract import (
    CharacterFrontEnd,
    CtcDecoder,
    LabelDecoder,
    NextCharacterDecoder,
    ValueDecoder,
)
from rnn_edge.graphs.generation.choice import MODULUS, MULTIPLIER
from rnn_edge.integration.native import c_string
from rnn_edge.integration.program import TEMPLATES
from rnn_edge.rendering import render_folder

HEADER, SOURCE = "words.h", "words.c"


@dataclass(frozen=True)
class Words:
    """``characters`` are (code point, id), sorted; ``names`` stand for the logits of the first
    output, in order; ``use`` says what they are for: labels, characters, sounds, columns."""

    characters: tuple[tuple[int, int], ...] = ()
    unknown: int = 0
    names: tuple[str, ...] = ()
    use: str = ""
    never: tuple[int, ...] = ()
    blank: int = 0

    @classmethod
    def of(cls, bundle: Bundle) -> Words:
        """Those of a bundle; none where its contract tells of nothing around the graph."""
        front_end, decoder = bundle.contract.front_end, bundle.contract.decoder
        read: dict[str, Any] = {}
        if isinstance(front_end, CharacterFrontEnd):
            read["characters"] = tuple(sorted_characters(front_end.vocabulary))
            read["unknown"] = front_end.unknown
        match decoder:
            case LabelDecoder():
                return cls(**read, names=tuple(decoder.labels), use="labels")
            case ValueDecoder():
                return cls(**read, names=tuple(decoder.columns), use="columns")
            case CtcDecoder():
                return cls(names=tuple(decoder.labels), use="sounds", blank=decoder.blank)
            case NextCharacterDecoder() if isinstance(front_end, CharacterFrontEnd):
                names = tuple(front_end.vocabulary)
                return cls(**read, names=names, use="characters", never=tuple(decoder.never))
        return cls(**read)

    def __bool__(self) -> bool:
        return bool(self.characters or self.names)

    def render(self, values: Mapping[str, Any]) -> dict[str, str]:
        """The files in C by name; ``values`` are those of the step's own templates."""
        return render_folder(TEMPLATES / "words", {**values, **self.values()}) if self else {}

    def values(self) -> dict[str, Any]:
        """What templates of any language may use."""
        return {
            "characters": self.characters,
            "unknown": self.unknown,
            "names": self.names,
            "use": self.use,
            "never": self.never,
            "blank": self.blank,
            "modulus": MODULUS,
            "multiplier": MULTIPLIER,
            "c_string": c_string,
            "has_words": bool(self),
        }


def sorted_characters(vocabulary: Sequence[str]) -> list[tuple[int, int]]:
    """(code point, id), sorted; entries that are no single character stand in no text."""
    return sorted((ord(entry), id) for id, entry in enumerate(vocabulary) if len(entry) == 1)
