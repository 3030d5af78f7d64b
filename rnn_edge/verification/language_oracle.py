"""What a language model in any form tells of the ids of one row, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract, TensorSpec
from rnn_edge.errors import ExportError
from rnn_edge.graphs.generation.form import BATCH, Form
from rnn_edge.verification.cases import Answer
from rnn_edge.verification.sampling import Arrays, sample_inputs

# Probabilities of one step add up to 1, to so much.
_CLOSE = 1e-3
_SOME = 5
_SEED = 31
_OTHER_ENDS = 6
# forward() that fills the first step of its answers itself tells of an id one step later.
_MOST_SHIFT = 1
# Relative to the largest logit: more than rounding.
_LATER = 1e-4


class Answering(Protocol):
    """Who knows the right answers: an Oracle, or what stands for one."""

    def answer(self, inputs: Arrays, exact: Arrays | None = None) -> list[Answer]:
        """The model's outputs for ``inputs``, in the order of its contract."""


@dataclass(frozen=True)
class Told:
    """Of one row: logits [steps, vocabulary] of the last steps, and the states after all."""

    logits: Answer
    states: Mapping[str, Answer]


class LanguageOracle:
    """Asks ``oracle``, a module of ``contract``, for what follows the ids of one row.

    What stays the same while it writes is drawn as ``examples`` are, by name, as far as there are
    such.
    """

    def __init__(
        self,
        oracle: Answering,
        contract: GraphContract,
        form: Form,
        examples: Mapping[str, np.ndarray],
    ) -> None:
        self._oracle, self._contract, self._form = oracle, contract, form
        self._examples = examples
        self._names = [spec.name for spec in contract.outputs]

    @property
    def others(self) -> tuple[TensorSpec, ...]:
        """What the module reads once for all steps."""
        return self._form.others

    def tell(self, ids: Sequence[int], given: Arrays, count: int) -> Told:
        """What comes after each of the last ``count`` of ``ids``; ``given`` holds states and what
        else the module reads, of one row."""
        form = self._form
        if form.single:
            calls = self._step_by_step(ids, given)[-count:]
        elif form.steps == "last":
            ends = range(len(ids) - count + 1, len(ids) + 1)
            calls = [self._call(ids[:end], given) for end in ends]
        else:
            later = [int(form.tokens.minimum or 0)] * form.shift
            calls = [self._call([*ids, *later], given)]
        place = self._names.index(form.logits.name)
        logits = _joined([call[place] for call in calls], self._logits, count)
        states = {p.output: calls[-1][self._names.index(p.output)] for p in self._contract.states}
        return Told(logits, states)

    def tells_probabilities(self) -> bool:
        """Whether what the model gives of some ids is at least 0 and adds up to 1 at each step."""
        ids = [place % (self._form.largest + 1) for place in range(_SOME)]
        logits = self.tell(ids, self._anything(), _SOME).logits.truth
        close = np.abs(logits.sum(axis=1) - 1) < _CLOSE
        return bool((logits >= 0).all() and close.all())

    def find_shift(self) -> int:
        """How many steps later than an id the module tells what comes after it.

        Raises ExportError where the last id makes no difference to what comes next, or a later one
        does.
        """
        plain = self._form.steps != "last" and not self._form.single
        for shift in range(_MOST_SHIFT + 1 if plain and not self._contract.states else 1):
            form = replace(self._form, shift=shift)
            asked = LanguageOracle(self._oracle, self._contract, form, self._examples)
            if asked.hears_last():
                asked.require_order()
                return shift
        raise ExportError(
            "what a model that generates tells at a step must follow from the id of that step, "
            f"{self._form.logits.name!r} follows from earlier ones alone. Let forward() read each "
            "id at its own step, without a shift of more than one, and without choosing ids itself."
        )

    def hears_last(self) -> bool:
        """Whether the last id makes a difference to what comes next."""
        count = min(self._form.largest + 1, _OTHER_ENDS)
        begin, given = [0] * _SOME, self._anything()
        ends = [self.tell([*begin, end], given, 1).logits.truth for end in range(count)]
        return count <= 1 or not all(np.array_equal(end, ends[0]) for end in ends)

    def require_order(self) -> None:
        """Raise ExportError where a later id makes a difference to what comes next."""
        count = min(self._form.largest + 1, _OTHER_ENDS)
        begin, given = [0] * _SOME, self._anything()
        name = f"{self._form.logits.name!r}"
        if self._form.single or self._form.steps == "last":
            return
        longer = self.tell([*begin, count - 1], given, 2).logits.truth[0]
        shorter = self.tell(begin, given, 1).logits.truth[0]
        if not np.allclose(longer, shorter, atol=_LATER * float(np.abs(shorter).max())):
            raise ExportError(
                f"what a model that generates tells at a step must follow from ids so far, {name} "
                "follows from later ones too. Take what looks ahead (bidirectional layers, norms "
                "over time, attention without a mask) out of forward()."
            )

    def draw_others(self, rows: int, random: np.random.Generator) -> Arrays:
        """What the module reads once for all steps, by its names."""
        others = self._form.others
        sizes = {BATCH: rows}
        for spec in others:
            for dim in spec.dims:
                if isinstance(dim, str) and dim not in sizes:
                    limits = self._contract.axes.get(dim, AxisLimits())
                    least, most = max(1, limits.minimum), limits.maximum or math.inf
                    # Where many steps make a frame, several frames.
                    more = random.integers(8) * max(1, least // 2)
                    sizes[dim] = int(min(least + more, most))
        given = {
            spec.name: self._examples.get(spec.name, np.zeros([1] * len(spec.dims), spec.dtype))
            for spec in others
        }
        return sample_inputs(replace(self._contract, inputs=others), given, sizes, random)

    def _anything(self) -> Arrays:
        """What a row starts from, and what else the module reads."""
        start = {
            pair.input: np.full(_one_row(spec), pair.initial, spec.dtype)
            for pair in self._contract.states
            for spec in [self._contract.input(pair.input)]
        }
        return start | self.draw_others(1, np.random.default_rng(_SEED))

    def _step_by_step(self, ids: Sequence[int], given: Arrays) -> list[list[Answer]]:
        calls = []
        own, exact = dict(given), dict[str, np.ndarray]()
        for place in ids:
            calls.append(self._call([place], own, exact))
            for pair in self._contract.states:
                answer = calls[-1][self._names.index(pair.output)]
                own[pair.input], exact[pair.input] = answer.own, answer.truth
        return calls

    def _call(self, ids: Sequence[int], given: Arrays, exact: Arrays | None = None) -> list[Answer]:
        own = {self._form.tokens.name: self._tokens(np.array(ids)), **given}
        for spec in self._contract.inputs:
            if spec.lengths_of == self._form.axis:
                own[spec.name] = np.full(_one_row(spec), len(ids), spec.dtype)
        inputs = {spec.name: own[spec.name] for spec in self._contract.inputs}
        return self._oracle.answer(inputs, exact) if exact else self._oracle.answer(inputs)

    def _tokens(self, ids: np.ndarray) -> np.ndarray:
        """``ids`` of one row as the module takes them."""
        spec = self._form.tokens
        shape = [len(ids) if dim == self._form.axis else 1 for dim in self._form.places]
        if self._form.depth is None:
            return ids.reshape(shape).astype(spec.dtype)
        return np.eye(self._form.depth, dtype=spec.dtype)[ids].reshape(*shape, -1)

    def _logits(self, array: np.ndarray) -> np.ndarray:
        """[steps, vocabulary] of one row."""
        size = self._form.vocabulary
        axis = next(n for n, dim in enumerate(self._form.logits.dims) if dim == size)
        rows = np.moveaxis(array, axis, -1).reshape(-1, size)
        if not self._form.probabilities:
            return rows
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray = np.log(rows)
        return logarithms


def _joined(
    answers: Sequence[Answer], shape: Callable[[np.ndarray], np.ndarray], count: int
) -> Answer:
    own = np.concatenate([shape(each.own) for each in answers])[-count:]
    truth = np.concatenate([shape(each.truth) for each in answers])[-count:]
    return Answer(own, truth, lambda: max(each.sensitivity() for each in answers))


def _one_row(spec: TensorSpec) -> list[int]:
    return [1 if isinstance(dim, str) else dim for dim in spec.dims]
