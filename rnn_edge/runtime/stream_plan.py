"""Buffers of one chunk shape, bound once to a graph, so that a run allocates nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnn_edge.contract import TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.runtime.providers import bound_run, short_message
from rnn_edge.runtime.session import Session
from rnn_edge.runtime.stream_form import Shapes, StreamForm, settle, values_surely_fit
from rnn_edge.runtime.stream_quick import QuickPush


class Buffer:
    """An array on the host, and its memory as the runtime sees it.

    On the CPU they are one; elsewhere ``upload`` and ``read`` copy between the two.
    """

    __slots__ = ("array", "away", "value")

    def __init__(self, shape: Sequence[int], dtype: str, device: str) -> None:
        self.array = np.zeros(shape, dtype)
        self.away = device != "cpu"
        self.value = import_extra("onnxruntime").OrtValue.ortvalue_from_numpy(self.array, device, 0)

    def upload(self) -> None:
        """Let the device see what was written into ``array``."""
        if self.away:
            self.value.update_inplace(self.array)

    def read(self) -> np.ndarray:
        """What the runtime's memory holds now: ``array`` itself on the CPU."""
        if self.away:
            self.array[...] = self.value.numpy()
        return self.array


class Plan:
    """A graph with its inputs and outputs bound to buffers, for both ways round of the states.

    ``sets`` are the two sets of state buffers by input name: ``runs[0]`` reads the first and
    writes the second, ``runs[1]`` the other way. ``fixed`` are the other buffers that outlive a
    chunk.
    """

    def __init__(
        self,
        session: Session,
        form: StreamForm,
        sizes: Mapping[str, int],
        shapes: Shapes,
        sets: Sequence[Mapping[str, Buffer]],
        fixed: Mapping[str, Buffer],
        device: str,
    ) -> None:
        self.shapes, self.frames = shapes, form.frames(shapes)
        self._session = session
        self._chunk = [
            Buffer(shape, spec.dtype, device)
            for spec, shape in zip(form.chunk, shapes, strict=True)
        ]
        self.chunk = list(zip(form.chunk, self._chunk, strict=True))
        #: What pushes a chunk of this plan in one go; StreamBatch puts it here.
        self.quick: QuickPush = lambda chunk, copy: None
        #: Copies a chunk in; False where it must be looked at more closely, see _taker.
        self.take = taker_of_all([(spec, buffer.array) for spec, buffer in self.chunk])
        known = dict(sizes)
        for spec, shape in zip(form.chunk, shapes, strict=True):
            known |= {str(dim): size for dim, size in zip(spec.dims, shape, strict=True)}
        # An output whose size is not known before the run is None here: the runtime allocates it.
        self._answers = [
            _answer_buffer(session.contract.output(spec.name), known) for spec in form.outputs
        ]
        self._free = [
            spec.name
            for spec, buffer in zip(form.outputs, self._answers, strict=True)
            if buffer is None
        ]
        self.arrays = [buffer.array for buffer in self._answers if buffer is not None]
        self.copies = [array.copy for array in self.arrays]
        self._free_place = len(form.outputs) - len(self._free)
        inputs = {
            **{spec.name: buffer for spec, buffer in self.chunk},
            **fixed,
        }
        flags = [] if form.rule.reset is None else [fixed[form.rule.reset]]
        self._uploads = [buffer for buffer in (*self._chunk, *flags) if buffer.away]
        self._bindings = [
            self._bind(form, inputs, source, target)
            for source, target in ((sets[0], sets[1]), (sets[1], sets[0]))
        ]
        #: Run it, this way round or that; what it raises goes through ``refusal``.
        self.runs = [self._prepared_run(binding) for binding in self._bindings]

    @property
    def is_bound(self) -> bool:
        """Whether a run is one call: all outputs have their buffers, and none lies elsewhere."""
        return not self._free and not self._uploads

    def put(self, arrays: Sequence[np.ndarray]) -> None:
        """Copy a chunk in that has been checked."""
        for buffer, array in zip(self._chunk, arrays, strict=True):
            buffer.array[...] = array

    def put_rows(self, parts: Sequence[Sequence[np.ndarray]], axes: Sequence[int | None]) -> None:
        """Copy the chunks of single rows in, one after the other along each input's ``axes``."""
        for place, (buffer, axis) in enumerate(zip(self._chunk, axes, strict=True)):
            if axis is None:
                buffer.array[...] = parts[0][place]
            else:
                np.concatenate([part[place] for part in parts], axis, out=buffer.array)

    def refusal(self, error: BaseException) -> InputError:
        """What to raise for an error of a run; the states that it read are whole."""
        return InputError(
            f"{self._session.path.name} must run on this chunk, ONNX Runtime refused: "
            f"{short_message(error)}. Check it against `rnn-edge inspect`."
        )

    def answers(self, way: int, copy: bool = True) -> list[np.ndarray]:
        """What the last run gave; without ``copy``, the buffers that the next run writes into."""
        if not self._free:
            if not copy:
                return list(self.arrays)
            if len(self.copies) == 1:
                return [self.copies[0]()]
            return [copied() for copied in self.copies]
        values = iter(self._bindings[way].get_outputs()[self._free_place :])
        # What the runtime allocated is copied always: its memory goes with the binding.
        return [
            np.array(next(values).numpy())
            if buffer is None
            else (buffer.array.copy() if copy else buffer.array)
            for buffer in self._answers
        ]

    def _prepared_run(self, binding: Any) -> Callable[[], None]:
        run = bound_run(self._session.native, binding)
        uploads, free = self._uploads, self._free
        if not uploads and not free:
            return run

        def prepare_and_run() -> None:
            for buffer in uploads:
                buffer.upload()
            for name in free:
                # Bound anew, or the runtime would want the size of the run before.
                binding.bind_output(name)
            run()

        return prepare_and_run

    def _bind(
        self,
        form: StreamForm,
        inputs: Mapping[str, Buffer],
        source: Mapping[str, Buffer],
        target: Mapping[str, Buffer],
    ) -> Any:
        binding = self._session.native.io_binding()
        for name, buffer in {**inputs, **source}.items():
            binding.bind_ortvalue_input(name, buffer.value)
        for spec, answer in zip(form.outputs, self._answers, strict=True):
            if answer is not None:
                binding.bind_ortvalue_output(spec.name, answer.value)
        # After the others, so that their places among the outputs are known.
        for name in self._free:
            binding.bind_output(name)
        for pair in form.states:
            binding.bind_ortvalue_output(pair.output, target[pair.input].value)
        return binding


def _answer_buffer(spec: TensorSpec, sizes: Mapping[str, int]) -> Any:
    dims = settle(spec, sizes).dims
    if any(isinstance(dim, str) for dim in dims):
        return None
    return Buffer([int(dim) for dim in dims], spec.dtype, "cpu")


def _taker(spec: TensorSpec, target: np.ndarray) -> Callable[[Any], bool]:
    """A function that copies an array into ``target`` and says whether it is surely right.

    It is not sure when the array is not exactly of that shape and dtype, when a value is not finite
    (or too large for this quick sum), or is out of the contract's bounds.
    """
    shape, dtype = target.shape, target.dtype
    finite_is_enough = dtype.kind == "f" and spec.minimum is None and spec.maximum is None
    flat = target.reshape(-1)

    def take(array: Any) -> bool:
        if type(array) is not np.ndarray or array.shape != shape or array.dtype is not dtype:
            return False
        target[...] = array
        if finite_is_enough:
            return math.isfinite(np.vdot(flat, flat))
        return values_surely_fit(spec, target)

    return take


def taker_of_all(
    targets: Sequence[tuple[TensorSpec, np.ndarray]],
) -> Callable[[Sequence[Any]], bool]:
    """A function that copies a chunk's arrays into these and says whether it is surely right."""
    takers = [_taker(spec, target) for spec, target in targets]
    if len(takers) == 1:
        only = takers[0]
        return lambda arrays: len(arrays) == 1 and only(arrays[0])
    return lambda arrays: (
        len(arrays) == len(takers)
        and all(take(array) for take, array in zip(takers, arrays, strict=True))
    )
