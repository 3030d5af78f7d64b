"""Two calls in a row: the module that keeps its state itself, the graph with the state carried."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from rnn_edge.capture.arguments import Arguments
from rnn_edge.capture.kept_state import KeptState
from rnn_edge.capture.preparation import copy_module
from rnn_edge.errors import ExportError
from rnn_edge.runtime import Session
from rnn_edge.verification.cases import Answer, Case
from rnn_edge.verification.oracle import Oracle
from rnn_edge.verification.parity import compare_case
from rnn_edge.verification.sampling import Arrays
from rnn_edge.verification.tolerance import compare


def check_consecutive(
    session: Session,
    module: nn.Module,
    arguments: Arguments,
    oracle: Oracle,
    cases: Sequence[Case],
) -> None:
    """Compare two calls in a row, from the start of a sequence and from the states of ``cases``.

    Raises MismatchError where the graph is off, ExportError where the module, left alone, does not
    do what it does when its state is given to it.
    """
    if not arguments.kept.attributes:
        return
    taken = False
    for first, second in _pairs(arguments, cases):
        begin = {slot.name: np.full_like(first.inputs[slot.name], slot.initial)
                 for slot in arguments.kept.slots}  # fmt: skip
        midway = {slot.name: first.inputs[slot.name] for slot in arguments.kept.slots}
        for states, given in ((begin, False), (midway, True)):
            calls = _answer_both(oracle, arguments, states, first, second)
            alone = _call_alone(module, arguments, calls, given)
            if alone is not None:
                taken = taken or not given
                _require_same(arguments, calls, alone)
            _carry(session, arguments, calls)
    if not taken:
        raise ExportError(
            f"forward() must take two calls in a row to be exported, with {_names(arguments)} left "
            "by the first it refuses the second. Correct forward(), or take the state as an "
            "argument."
        )


def _pairs(arguments: Arguments, cases: Sequence[Case]) -> Iterator[tuple[Case, Case]]:
    """Cases with states of one size; the example, which a buffer of fixed size fits, comes last."""
    states = arguments.tensors[len(arguments.given) :]
    axes = sorted({axis for state in states for axis in state.axes if axis is not None})
    groups: dict[tuple[int, ...], list[Case]] = {}
    for case in cases:
        groups.setdefault(tuple(case.sizes[axis] for axis in axes), []).append(case)
    for group in groups.values():
        yield group[0], group[-1]
    inputs = {argument.name: argument.example.numpy() for argument in arguments.tensors}
    sizes = {
        axis: argument.example.shape[dim]
        for argument in arguments.tensors
        for dim, axis in enumerate(argument.axes)
        if axis is not None
    }
    yield Case(sizes, inputs, []), Case(sizes, inputs, [])


def _answer_both(
    oracle: Oracle, arguments: Arguments, states: Arrays, first: Case, second: Case
) -> list[Case]:
    """Both calls with the state given; the second has what the first one left."""
    inputs = {**first.inputs, **states}
    answers = oracle.answer(inputs)
    left = dict(zip(states, _last(answers, len(states)), strict=True))
    then = {**second.inputs, **{name: answer.own for name, answer in left.items()}}
    exact = {name: answer.truth for name, answer in left.items()}
    return [
        Case(first.sizes, inputs, answers),
        Case(second.sizes, then, oracle.answer(then, exact)),
    ]


def _last(answers: Sequence[Answer], count: int) -> Sequence[Answer]:
    return answers[len(answers) - count :]


def _call_alone(
    module: nn.Module, arguments: Arguments, calls: Sequence[Case], given: bool
) -> list[list[np.ndarray]] | None:
    """What a copy gives that carries its state itself; None when it refuses these sizes.

    With ``given`` it gets the states of the first call; otherwise it is as it was exported.
    """
    alone = copy_module(module)
    bare = replace(arguments, tensors=arguments.given, kept=KeptState())
    tensors = [torch.from_numpy(array.copy()) for array in calls[0].inputs.values()]
    held = arguments.kept if given else KeptState()
    states = tensors[len(arguments.given) :] if given else []

    def call(case: Case) -> list[np.ndarray]:
        arrays = list(case.inputs.values())[: len(arguments.given)]
        outputs: dict[str, Tensor] = bare.call(alone, [torch.from_numpy(a.copy()) for a in arrays])
        return [output.numpy().copy() for output in outputs.values()]

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with held.held(alone, states, tensors[: len(arguments.given)]):
                return [call(case) for case in calls]
        except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
            return None


def _require_same(
    arguments: Arguments, calls: Sequence[Case], alone: Sequence[Sequence[np.ndarray]]
) -> None:
    for number, (case, found) in enumerate(zip(calls, alone, strict=True)):
        for answer, array in zip(case.answers, found, strict=False):
            if compare(array, answer.own, answer.truth).allowed:
                continue
            starts = ", ".join(f"{s.name} = {s.initial:g}" for s in arguments.kept.slots)
            what = (
                f"start a sequence from {starts or 'nothing'}"
                if number == 0
                else f"keep nothing between two calls but {_names(arguments)}"
            )
            raise ExportError(
                f"forward() must {what} to be exported, it gives other answers. "
                "Take the state as an argument and return the new one."
            )


def _names(arguments: Arguments) -> str:
    names = [f"self.{slot.name}" for slot in arguments.kept.slots]
    return ", ".join(names) or "what it was made with"


def _carry(session: Session, arguments: Arguments, calls: Sequence[Case]) -> None:
    """Hold the graph against both calls; the second gets the graph's own states."""
    first, second = calls
    list(compare_case(session, first))
    found = session.run(first.inputs)
    names = [slot.name for slot in arguments.kept.slots]
    states = dict(zip(names, found[len(found) - len(names) :], strict=True))
    list(compare_case(session, replace(second, inputs={**second.inputs, **states})))
