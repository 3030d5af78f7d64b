"""One trace of a module by torch.export, at given sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.fx.traceback import preserve_node_meta

from rnn_edge.capture.arguments import Arguments, resize
from rnn_edge.capture.attributes import refuse_kept_state, watching_attributes
from rnn_edge.capture.builtin_calls import StandIns
from rnn_edge.capture.complex_parts import RealForward, can_be_real, refuse_complex_arguments
from rnn_edge.capture.decisions import AtOne, Decisions
from rnn_edge.capture.fixing import FixedAxesError, StopWhereFixed
from rnn_edge.capture.interception import Interception
from rnn_edge.capture.lines import WrittenLines
from rnn_edge.capture.refusal import explain_refusal
from rnn_edge.capture.regions import inline_regions
from rnn_edge.capture.rolling.keeping import Keeping
from rnn_edge.capture.silence import quiet_tracing
from rnn_edge.capture.stand_in_code import StandInsNeededError
from rnn_edge.capture.ways import Ways, join_ways
from rnn_edge.code_line import CodeLine
from rnn_edge.errors import ExportError


class FlatForward(nn.Module):
    """forward() over a flat list of tensors, run under Interception, returning a flat list.

    ``on_return`` is told the names of the returned tensors. While ``keeps`` is set, what forward()
    computes in vain stays in the graph. While ``stops`` is set, a call that turns the size of a
    named axis into a number raises FixedAxesError.
    """

    PREFIX = "module."

    def __init__(
        self,
        module: nn.Module,
        arguments: Arguments,
        on_return: Callable[[Iterable[str]], None],
        *,
        joins_at_one: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self._arguments = arguments
        self._on_return = on_return
        self.keeps = False
        self.stops = False
        self._numbers = {
            name: tensor.item() for name, tensor in _weights(module) if tensor.numel() == 1
        }
        # None: what tracing cannot know is not decided.
        self.decisions: Decisions | None = Decisions({})
        self.at_one = AtOne(joins_at_one)
        self.stand_ins = StandIns()

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        # While it is traced, others stand for the module's tensors.
        numbers = {id(tensor): self._numbers[name] for name, tensor in _weights(self.module)
                   if name in self._numbers}  # fmt: skip
        with (
            watching_attributes(self.module) as changed,
            WrittenLines(),
            self.decisions.made(_environment_of(tensors)) if self.decisions else nullcontext(),
            self.stand_ins.standing(),
            Keeping() as keeping,
            StopWhereFixed(_sizes_of(self._arguments, tensors)) if self.stops else nullcontext(),
            Interception(numbers),
        ):
            outputs = self._arguments.call(self.module, tensors)
        if self.keeps:
            keeping.keep()
        refuse_kept_state(changed)
        self._on_return(outputs)
        return list(outputs.values())


def _sizes_of(arguments: Arguments, tensors: Sequence[Tensor]) -> dict[str, int | torch.SymInt]:
    return {
        axis: size
        for argument, tensor in zip(arguments.tensors, tensors, strict=True)
        for axis, size in zip(argument.axes, tensor.shape, strict=True)
        if axis is not None
    }


def _environment_of(tensors: Sequence[Tensor]) -> ShapeEnv | None:
    mode = detect_fake_mode(tensors)
    return mode.shape_env if mode is not None else None


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def export_at(
    flat: nn.Module, arguments: Arguments, sizes: Mapping[str, int], dynamic: Collection[str]
) -> ExportedProgram:
    """``flat`` at ``sizes``: in real numbers, with both ways of each branch on a value."""
    exported = _export_ways(flat, arguments, sizes, dynamic)
    if not can_be_real(exported):
        return exported
    refuse_complex_arguments(arguments)
    return _export_once(RealForward(exported, flat), arguments, sizes, dynamic)


def _export_ways(
    flat: nn.Module, arguments: Arguments, sizes: Mapping[str, int], dynamic: Collection[str]
) -> ExportedProgram:
    if not isinstance(flat, FlatForward):
        return _export_once(flat, arguments, sizes, dynamic)
    refusing: dict[CodeLine, bool] = {}
    usual: dict[CodeLine, bool] = {}

    def trace_with(ways: Ways | None) -> tuple[ExportedProgram, list[CodeLine]]:
        while True:
            told = {**usual, **ways, **refusing} if ways is not None else None
            flat.decisions = Decisions(told, flat.at_one) if told is not None else None
            try:
                exported = _export_once(flat, arguments, sizes, dynamic)
            except StandInsNeededError as needed:
                if not flat.stand_ins.add(needed.functions):
                    raise explain_refusal(flat.module, needed) from needed
                continue
            except ExportError as error:
                line = flat.decisions.find_refusing(error) if flat.decisions else None
                skipped = flat.decisions.find_skipped() if flat.decisions else None
                if line is not None and line not in refusing:
                    # A graph raises no errors: the other way is the only one.
                    refusing[line] = False
                elif skipped is not None:
                    usual[skipped] = False
                else:
                    raise
                continue
            return exported, flat.decisions.taken if flat.decisions else []

    exported, taken = trace_with({})
    if not taken:
        return exported
    joined = join_ways(exported, taken, trace_with, flat)
    if joined is None:
        # Told nothing, it says where the branch stands.
        return trace_with(None)[0]
    return _export_once(joined, arguments, sizes, dynamic)


def _export_once(
    flat: nn.Module, arguments: Arguments, sizes: Mapping[str, int], dynamic: Collection[str]
) -> ExportedProgram:
    dynamic_shapes = tuple(
        {dim: Dim.AUTO for dim, axis in enumerate(argument.axes) if axis in dynamic}
        for argument in arguments.tensors
    )
    # Cloned, because one tensor given for two arguments would be traced as one input.
    examples = tuple(resize(argument, sizes).clone() for argument in arguments.tensors)
    with warnings.catch_warnings(), quiet_tracing(), preserve_node_meta():
        # torch.nn's recurrent modules cache their weights in a list, which torch.export notices.
        warnings.filterwarnings("ignore", message=".*were assigned during export.*")
        warnings.simplefilter("ignore", FutureWarning)
        try:
            exported = torch.export.export(
                flat, examples, dynamic_shapes=(dynamic_shapes,), strict=False
            )
            return inline_regions(exported)
        except (ExportError, FixedAxesError, StandInsNeededError):
            raise
        except Exception as error:
            raise explain_refusal(flat.get_submodule("module"), error) from error
