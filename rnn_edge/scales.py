"""Columns of numbers with the mean and the deviation that a graph knows them by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rnn_edge.contract import SeriesFrontEnd, ValueDecoder
from rnn_edge.errors import InputError


@dataclass(frozen=True)
class Scales:
    """``columns`` of numbers as an app has them; a graph reads or gives (number - mean) / std.

    As a front end of a file, numbers are scaled before it; as a decoder, scaled back behind it.
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.columns), len(self.mean), len(self.std)}
        if len(sizes) > 1 or not all(map(math.isfinite, self.mean)) or not _positive(self.std):
            raise InputError(
                f"scales must have a mean and a std above 0 for each of {len(self.columns)} "
                f"columns, got {list(self.mean)} and {list(self.std)}. Correct them."
            )

    @property
    def plain(self) -> bool:
        """Whether they change nothing."""
        return not any(self.mean) and all(std == 1 for std in self.std)

    @property
    def front_end(self) -> SeriesFrontEnd:
        return SeriesFrontEnd(self.columns, self.mean, self.std)

    @property
    def decoder(self) -> ValueDecoder:
        return ValueDecoder(self.columns)


def _positive(numbers: tuple[float, ...]) -> bool:
    return all(math.isfinite(number) and number > 0 for number in numbers)


def read_scales(text: str, source: str) -> Scales:
    """One column a line: its name, or ``name,mean,std``. Raises InputError naming the line."""
    names, means, deviations = [], [], []
    for place, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        name, *numbers = [part.strip() for part in line.rsplit(",", 2)]
        if len(numbers) != 2:
            name, numbers = line.strip(), ["0", "1"]
        try:
            mean, std = map(float, numbers)
        except ValueError:
            mean = std = math.nan
        if not name or name in names or not math.isfinite(mean) or not _positive((std,)):
            raise InputError(
                f"line {place} of {source} must be the name of a column, no other's, or "
                f"name,mean,std with a std above 0, got {line!r}. Correct it."
            )
        names.append(name)
        means.append(mean)
        deviations.append(std)
    return Scales(tuple(names), tuple(means), tuple(deviations))
