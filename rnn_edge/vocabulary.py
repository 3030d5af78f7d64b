"""Characters and their ids: built from the training text, kept with the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnn_edge.contract import CharacterFrontEnd

PADDING_ID = 0
UNKNOWN_ID = 1
# Longer than one character, so that no character of a text can be taken for them.
SPECIAL_ENTRIES = ("<pad>", "<unk>")


@dataclass(frozen=True)
class Vocabulary:
    """One string per id: ``<pad>`` is 0, ``<unk>`` is 1, every other entry is one character.

    ``<pad>`` fills rows up and stands in no text; ``<unk>`` is every character not in ``entries``.
    """

    entries: tuple[str, ...]

    @classmethod
    def build(cls, texts: Iterable[str], minimum_count: int = 1) -> Vocabulary:
        """The characters that stand at least ``minimum_count`` times in ``texts``.

        The most frequent come first, equally frequent ones in code point order.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        known = [character for character, count in counts.items() if count >= minimum_count]
        known.sort(key=lambda character: (-counts[character], character))
        return cls((*SPECIAL_ENTRIES, *known))

    def __len__(self) -> int:
        return len(self.entries)

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """The ids of ``text``: int64[characters]."""
        ids = {entry: index for index, entry in enumerate(self.entries)}
        return np.array([ids.get(character, UNKNOWN_ID) for character in text], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``; padding gives nothing and unknown gives U+FFFD."""
        return "".join(self._text_of(int(index)) for index in ids)

    def front_end(self) -> CharacterFrontEnd:
        return CharacterFrontEnd(self.entries, unknown=UNKNOWN_ID, padding=PADDING_ID)

    def _text_of(self, index: int) -> str:
        if index == PADDING_ID:
            return ""
        return "\N{REPLACEMENT CHARACTER}" if index == UNKNOWN_ID else self.entries[index]
