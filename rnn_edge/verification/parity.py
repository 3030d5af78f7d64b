"""A graph against the eager module, at sizes it was not traced at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnn_edge.contract import AxisLimits, GraphContract, TensorSpec
from rnn_edge.errors import InputError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.verification.cases import Answer, Case
from rnn_edge.verification.crashes import refuse_crashes
from rnn_edge.verification.golden import run_at
from rnn_edge.verification.oracle import Oracle
from rnn_edge.verification.report import OutputParity, ParityReport
from rnn_edge.verification.sampling import Arrays, sample_inputs
from rnn_edge.verification.shapes import BATCH_AXIS, sizes_to_try
from rnn_edge.verification.tolerance import FLOOR, Deviation, compare, tolerance_for

_SEED = 20
# A refused input may be the fault of its values, not of its sizes: other values are tried.
# Packing with enforce_sorted=True takes falling lengths alone.
_ATTEMPTS: tuple[dict[str, bool], ...] = (
    {},
    {"sort_lengths": True},
    {"small_integers": True},
    {"sort_lengths": True, "small_integers": True},
)


class MismatchError(VerificationError):
    """A graph left the module at ``case``, in the output called ``output``."""

    def __init__(self, message: str, case: Case, output: str, place: str = "") -> None:
        super().__init__(message, place or output)
        self.case = case
        self.output = output


@dataclass(frozen=True)
class Parity:
    """The report, the cases that were compared, and the axis sizes that the module takes."""

    report: ParityReport
    cases: list[Case]
    limits: Mapping[str, AxisLimits]


def check_parity(
    session: Session,
    oracle: Oracle,
    examples: Arrays,
    traced: Mapping[str, int],
) -> Parity:
    """Compare ``session`` with ``oracle`` at sizes other than ``traced``.

    ``examples`` are inputs that forward() takes. Sizes that the module itself refuses become
    limits; where it answers, the graph must. Raises MismatchError at the first answer that is off,
    VerificationError when the module takes none of the inputs.
    """
    sampler = _Sampler(session.contract, oracle, examples)
    sizes_tried = sizes_to_try(traced)
    cases = [case for sizes in sizes_tried if (case := sampler.try_case(sizes)) is not None]
    if not cases:
        raise VerificationError(
            "forward() must take inputs of other sizes than the example's, it refused all: "
            f"{sampler.refusal}. Give an example that holds typical values, or fix the axis."
        )
    limits = {
        axis: _find_limits(sampler, axis, {sizes[axis] for sizes in sizes_tried}, cases)
        for axis in traced
    }
    refuse_crashes(session, cases)
    worst: dict[str, OutputParity] = {}
    noise: dict[str, float] = {}
    for case in cases:
        for parity in compare_case(session, case):
            noise[parity.name] = max(parity.noise, noise.get(parity.name, 0.0))
            best = worst.get(parity.name)
            if best is None or _ratio(parity) > _ratio(best):
                worst[parity.name] = parity
    # Golden data of any case is held against this noise: it must be that of the worst one.
    worst = {
        name: replace(parity, noise=noise[name], tolerance=_tolerance(session, name, noise[name]))
        for name, parity in worst.items()
    }
    report = ParityReport(oracle.kind, tuple(c.sizes for c in cases), tuple(worst.values()))
    return Parity(report, cases, limits)


def compare_case(session: Session, case: Case) -> Iterable[OutputParity]:
    """Run one case; yields the parity of each output. Raises MismatchError where one is off."""
    specs = session.contract.outputs
    try:
        found = run_at(session, case.inputs)
    except InputError as error:
        raise MismatchError(
            f"the graph must run at {_text(case.sizes)} as the module does, "
            f"got a refusal{_name_node(str(error))}",
            case,
            specs[0].name,
            _node_in(str(error)),
        ) from None
    declared = {node.name: node.shape for node in session.native.get_outputs()}
    for spec, array, answer in zip(specs, found, case.answers, strict=True):
        _check_declared(spec.name, declared[spec.name], answer.own, case)
        deviation = compare(array, answer.own, answer.truth, answer.sensitivity)
        if not deviation.allowed:
            raise _mismatch(spec, case, array, answer, deviation)
        yield OutputParity(
            spec.name, deviation.error, deviation.noise, deviation.tolerance, case.sizes
        )


_REFUSING_NODE = re.compile(r"running (\w+) node\. Name:'([^']*)'")


def _name_node(refusal: str) -> str:
    found = _REFUSING_NODE.search(refusal)
    return f" by its {found[1]} {found[2]!r}" if found else ""


def _node_in(refusal: str) -> str:
    found = _REFUSING_NODE.search(refusal)
    return found[2] if found else ""


def cases_without_padding(
    contract: GraphContract, oracle: Oracle, examples: Arrays, cases: Sequence[Case]
) -> list[Case]:
    """The same sizes with lengths that are full; ``cases`` themselves where none has lengths."""
    if not any(spec.lengths_of for spec in contract.inputs):
        return list(cases)
    sampler = _Sampler(contract, oracle, examples)
    drawn = (sampler.try_case(case.sizes, full_lengths=True) for case in cases)
    return [case for case in drawn if case is not None]


class _Sampler:
    """Draws inputs until the module takes them."""

    def __init__(self, contract: GraphContract, oracle: Oracle, examples: Arrays) -> None:
        self._contract = contract
        self._oracle = oracle
        self._examples = examples
        self.refusal = ""

    def try_case(self, sizes: Mapping[str, int], full_lengths: bool = False) -> Case | None:
        """A case at ``sizes``; None when the module refuses every input of these sizes."""
        random = np.random.default_rng([_SEED, *sizes.values()])
        for how in _ATTEMPTS:
            inputs = sample_inputs(
                self._contract, self._examples, sizes, random, full_lengths=full_lengths, **how
            )
            try:
                return Case(sizes, inputs, self._oracle.answer(inputs))
            except Exception as error:  # noqa: BLE001 (forward() is the user's: it may raise anything)
                self.refusal = f"{type(error).__name__}: {error}"
        return None


def _find_limits(sampler: _Sampler, axis: str, sizes: set[int], cases: list[Case]) -> AxisLimits:
    """The smallest and largest size of ``axis``, found by asking the eager module.

    A size may have been refused for that of another axis: it is asked for once more beside sizes
    that are taken, and a case that comes of it is added to ``cases``. So are the smallest size,
    where it is not 1, and one beyond twice of it.
    """
    base = cases[0].sizes

    def takes(size: int) -> bool:
        return sampler.try_case({**base, axis: size}) is not None

    for size in sorted(sizes - {case.sizes[axis] for case in cases}):
        case = sampler.try_case({**base, axis: size})
        if case is not None:
            cases.append(case)
    taken = {case.sizes[axis] for case in cases}
    below = [size for size in sizes - taken if size < min(taken)]
    above = [size for size in sizes - taken if size > max(taken)]
    minimum = _bisect(max(below), min(taken), takes) if below else 1
    for size in (minimum, 2 * minimum + 1) if below else ():
        case = sampler.try_case({**base, axis: size})
        if case is not None:
            cases.append(case)
    return AxisLimits(
        minimum=minimum,
        maximum=_bisect(min(above), max(taken), takes) if above else None,
    )


def _bisect(refused: int, taken: int, takes: Callable[[int], bool]) -> int:
    """The size nearest to ``refused`` that is taken, between it and ``taken``."""
    while abs(taken - refused) > 1:
        middle = (taken + refused) // 2
        if takes(middle):
            taken = middle
        else:
            refused = middle
    return taken


def _check_declared(name: str, dims: Sequence[int | str], own: np.ndarray, case: Case) -> None:
    """Hold the shape that the file declares for an output against what the module gives."""
    declared = [case.sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in dims]
    shape = own.shape
    wrong = len(declared) != len(shape) or any(
        isinstance(dim, int) and dim != size for dim, size in zip(declared, shape, strict=True)
    )
    if wrong:
        raise VerificationError(
            f"shape of {name!r} must be {list(shape)} at {_text(case.sizes)}, the graph declares "
            f"{list(dims)}. Take sizes from tensors there, name the axis in squeeze(), or declare "
            "the axis None.",
            name,
        )


def _mismatch(
    spec: TensorSpec, case: Case, found: np.ndarray, answer: Answer, deviation: Deviation
) -> MismatchError:
    if found.shape != answer.own.shape:
        what = f"have shape {list(answer.own.shape)}, got {list(found.shape)}"
    elif answer.own.dtype.kind != "f":
        what = f"equal torch's, {deviation.error:.0f} of {found.size} elements differ"
    else:
        what = (
            f"be within {deviation.tolerance:.2g} of float64 torch, error is {deviation.error:.2g} "
            f"(torch's own {deviation.noise:.2g})"
        )
    return MismatchError(
        f"output {spec.name!r} must {what} at {_text(case.sizes)}", case, spec.name
    )


def _tolerance(session: Session, name: str, noise: float) -> float:
    dtype = session.contract.output(name).dtype
    return tolerance_for(noise, dtype) if dtype in FLOOR else 0.0


def _ratio(parity: OutputParity) -> float:
    return parity.error / parity.tolerance if parity.tolerance else 0.0


def _text(sizes: Mapping[str, int]) -> str:
    order = sorted(sizes, key=lambda axis: axis != BATCH_AXIS)
    return ", ".join(f"{axis} {sizes[axis]}" for axis in order) or "the example's sizes"
