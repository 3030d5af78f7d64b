"""Module in, one whole-sequence ONNX graph out."""

from __future__ import annotations

import gc
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from rnn_edge.capture.arguments import Arguments, read_arguments
from rnn_edge.capture.attributes import find_changed_buffers, refuse_kept_state
from rnn_edge.capture.chance import refuse_chance, tell_chance
from rnn_edge.capture.naming import name_everything, tell_owners
from rnn_edge.capture.program import Program, trace
from rnn_edge.capture.registry import to_onnx
from rnn_edge.capture.relations import refuse_relations
from rnn_edge.capture.roles import Role, find_roles
from rnn_edge.capture.silence import quiet_logger
from rnn_edge.capture.state_discovery import find_kept_state
from rnn_edge.capture.tracing import FlatForward
from rnn_edge.code_line import CodeLine, is_foreign, shorten
from rnn_edge.errors import ExportError
from rnn_edge.graphs.cleaning import clean

# Tracing changes torch for the whole process: calls of nn.Module, the metadata of new nodes.
_LOCK = threading.RLock()

_UNKNOWN_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_EXECUTING = re.compile(r"While executing .*?target=torch\.ops\.([\w.]+)\]")
_LINE = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True)
class Capture:
    """A graph whose inputs are ``arguments.tensors`` in order; ``roles`` by input name.

    ``write_out`` gives the same graph with loops of fixed length written out step by step, which
    follows a stream where those loops do not; None where there are no such loops.
    ``branches`` tells of every branch by a size, what to do where it is not right on all sides;
    ``at_one`` of those by whether a size is 1, which went the way of larger ones.
    """

    model: ir.Model
    arguments: Arguments
    roles: Mapping[str, Role]
    write_out: Callable[[], ir.Model] | None = None
    branches: tuple[str, ...] = ()
    at_one: tuple[str, ...] = ()


def capture(
    module: nn.Module,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    axes: Any,
    output_names: Sequence[str] | None = None,
    *,
    joins_at_one: bool = False,
    near: Mapping[str, int] | None = None,
) -> Capture:
    """Export ``module``, in eval mode, with the axes that ``axes`` names dynamic.

    With ``joins_at_one`` what it does where a size is 1 is in the graph as well. It is traced on
    the side of the sizes ``near``, where some are given.

    The module is left as it was. Raises ExportError when it cannot be expressed.
    """
    arguments = read_arguments(module, args, kwargs, axes)
    with evaluating(module), torch.no_grad():
        arguments = find_kept_state(module, arguments)
        refuse_chance(module, arguments)
        try:
            program = trace(module, arguments, joins_at_one=joins_at_one, near=near)
        except ExportError as error:
            chance = tell_chance(module, arguments)
            if chance is None:
                raise
            raise chance from error
        refuse_relations(program.exported, program.symbols)
        refuse_kept_state(
            name.removeprefix(FlatForward.PREFIX) for name in find_changed_buffers(program.exported)
        )
        roles = find_roles(program)
        model = _make_model(module, program, output_names)
    write_out = (
        partial(_make_model, module, program.written_out, output_names)
        if program.written_out
        else None
    )
    branches = [(f"every size of {choice.axis!r}", choice.line) for choice in program.choices]
    at_one = [("size 1 as at any other", line) for line in program.at_one]
    told = (
        tuple(_tell_branch(module, where, line) for where, line in lines)
        for lines in (branches, at_one)
    )
    return Capture(model, arguments, roles, write_out, *told)


def _tell_branch(module: nn.Module, where: str, line: CodeLine) -> str:
    return (
        f"{type(module).__name__}.forward must do the same at {where} to be exported, got a branch "
        f"by it in `{shorten(line.text, 80)}` at {line}. "
        "Write all sides as one: F.pad() by 0 adds nothing, by less it cuts."
    )


def _make_model(
    module: nn.Module, program: Program, output_names: Sequence[str] | None
) -> ir.Model:
    model = _translate(module, program)
    tell_owners(model, program.exported.graph_signature.inputs_to_parameters)
    clean(model)
    name_everything(
        model,
        [argument.name for argument in program.arguments.tensors],
        _choose_output_names(program, output_names),
        program.symbols,
        type(module).__name__,
    )
    return model


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch ``module`` to eval mode, and back to what each of its parts was.

    One thread at a time: what another one traces meanwhile would change this one's answers.
    """
    with _LOCK:
        modes = {part: part.training for part in module.modules()}
        module.eval()
        try:
            with _collecting_rarely():
                yield
        finally:
            for part, mode in modes.items():
                part.training = mode


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Look for unused objects less often: of the many that a trace makes nearly all are in use."""
    usual = gc.get_threshold()
    if usual[0]:
        gc.set_threshold(max(usual[0], _OBJECTS), *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


# So many new ones before Python looks among them, not its usual hundreds.
_OBJECTS = 50_000


def _translate(module: nn.Module, program: Program) -> ir.Model:
    with warnings.catch_warnings(), quiet_logger("torch.onnx"):
        warnings.simplefilter("ignore", FutureWarning)
        try:
            return to_onnx(program.exported).model
        except torch.onnx.OnnxExporterError as error:
            raise _untranslatable(module, error, program) from error


def _untranslatable(
    module: nn.Module, error: Exception, program: Program | None = None
) -> ExportError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = " ".join(str(cause).split())
    unknown = _UNKNOWN_OPERATOR.search(text)
    executing = _EXECUTING.search(text)
    known = executing[1] if executing else "one of them"
    reason = f"there is none for {unknown[1]}" if unknown else f"{known} has none for its sizes"
    lines = [CodeLine(path, int(number)) for path, number in _LINE.findall(text)]
    own = [line for line in lines if is_foreign(line.path)]
    place = f" at {own[-1]}" if own else ""
    if unknown and program is not None:
        place = _find_operator(module, program, unknown[1]) or place
    return ExportError(
        f"every operator of {type(module).__name__} must have an ONNX form, {reason}{place}. "
        "Replace that operator."
    )


def _find_operator(module: nn.Module, program: Program, name: str) -> str:
    """The part of ``module`` and the line that call the operator ``name``; empty: not found."""
    wanted = _plain_name(name)
    for node in program.exported.graph.nodes:
        if node.op != "call_function" or _plain_name(str(node.target)) != wanted:
            continue
        stack = list(node.meta.get("nn_module_stack", {}).values())
        path = stack[-1][0].removeprefix(FlatForward.PREFIX) if stack else ""
        part = path if path and path != FlatForward.PREFIX.rstrip(".") else "forward"
        lines = [CodeLine(file, int(n)) for file, n in _LINE.findall(node.stack_trace or "")]
        own = [line for line in lines if is_foreign(line.path)]
        return f" in {type(module).__name__}.{part}" + (f" at {own[-1]}" if own else "")
    return ""


def _plain_name(target: str) -> str:
    """``erfinv`` of aten.erfinv.default and of prims.erf_inv."""
    parts = target.split(".")
    return parts[min(1, len(parts) - 1)].replace("_", "")


def _choose_output_names(program: Program, output_names: Sequence[str] | None) -> list[str]:
    inputs = {argument.name for argument in program.arguments.tensors}
    states = [slot.output for slot in program.arguments.kept.slots]
    returned = program.output_names[: len(program.output_names) - len(states)]
    if output_names is None:
        return [*(f"{n}_out" if n in inputs else n for n in returned), *states]
    if len(output_names) != len(returned):
        raise ExportError(
            f"output_names must name {len(returned)} tensors "
            f"({', '.join(returned)}), got {len(output_names)}. Correct output_names."
        )
    taken = {*inputs, *states}
    clash = sorted(taken & set(output_names))
    if clash or len(set(output_names)) != len(output_names):
        raise ExportError(
            f"output_names must differ from each other, from the inputs and from states, got "
            f"{', '.join(output_names)}. Rename {', '.join(clash) or 'the repeated one'}."
        )
    return [*output_names, *states]
