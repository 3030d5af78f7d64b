"""How a trace divides into plain steps and the copies of loop bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnn_edge.capture.rolling.runs import Run
from rnn_edge.capture.rolling.trace import Step, Trace

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Spot:
    """Where a step stands: a plain position, or step and iteration of a loop."""

    plain: int = -1
    loop: int = -1
    step: int = -1
    iteration: int = -1


class Layout:
    """One trace, divided into plain steps and the copies of loop bodies."""

    def __init__(self, trace: Trace, sizes: Sizes, runs: Sequence[Run]) -> None:
        self.trace = trace
        self.sizes = sizes
        self.runs = runs
        self.spots: list[Spot] = []
        self.order: list[int] = []  # plain positions as >= 0, loops as -1 - loop
        self.plain: list[Step] = []
        place, starts = 0, {run.start: number for number, run in enumerate(runs)}
        while place < len(trace.steps):
            if place in starts:
                number = starts[place]
                run = runs[number]
                for offset in range(run.period * run.count):
                    iteration, step = divmod(offset, run.period)
                    self.spots.append(Spot(loop=number, step=step, iteration=iteration))
                self.order.append(-1 - number)
                place = run.end
            else:
                self.spots.append(Spot(plain=len(self.plain)))
                self.order.append(len(self.plain))
                self.plain.append(trace.steps[place])
                place += 1

    def body_step(self, loop: int, step: int, iteration: int) -> Step:
        run = self.runs[loop]
        return self.trace.steps[run.start + iteration * run.period + step]
