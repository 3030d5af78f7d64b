"""What an app has, for the pipeline of each task, and what eager torch makes of it in Python."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from host_bundles import task_module

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.contract import GraphContract, NextCharacterDecoder
from rnn_edge.runtime.decoders import LabelAnswer, TagAnswer, TextAnswer
from rnn_edge.runtime.front_ends import characters
from rnn_edge.runtime.generation import Sampling, generate, prompt_feed
from rnn_edge.runtime.pipeline import Sample, run_and_decode

TASKS = (
    "sentiment", "language-model", "tagging", "translation", "speech", "music", "captioning",
)  # fmt: skip
# The form of text that is code points: a row alone, and with a state.
PORTABLE = ("sentiment-portable", "language-model-portable")
TEXTS = ["Quick and friendly", "", "e\u0301 \U0001f600\r\n", "\u4f60\u597d", "It was. " * 1250]
GREEDY = {"max_new": 40, "temperature": 0.0}
DRAWN = {"max_new": 40, "temperature": 0.9, "top_k": 9, "end": ord("e")}
Feed = dict[str, Any]


def feeds_of(name: str, session: rnn_edge.Session) -> list[Feed]:
    """Every input of the graph for each call: greedy and drawn where the graph writes on."""
    if session.contract.states:
        seeds = np.arange(len(TEXTS)) + 7
        prompts = prompt_feed(session, TEXTS) | {"seed": seeds}
        return [session.fill(prompts | options) for options in (GREEDY, DRAWN)]
    if name == "speech":
        steps = np.arange(60 * 8000)
        minute = (np.sin(0.2 * steps) * steps / len(steps)).astype(np.float32)
        return [
            {"samples": np.concatenate(parts), "lengths": np.array([*map(len, parts)])}
            for parts in (sounds(), [minute])
        ]
    if name == "captioning":
        return [{session.contract.inputs[0].name: pictures()}]
    return [session.fill(prompt_feed(session, TEXTS))]


def sounds() -> list[np.ndarray]:
    """A tone, silence, clipped noise, half a frame, nothing, a voice beside zero, a tenth of
    a second; of 8000 samples a second."""
    random = np.random.default_rng(0)
    steps = np.arange(4000, dtype=np.float32)
    noise = np.clip(random.normal(0, 2, 1234), -1, 1)
    sound = [0.5 * np.sin(0.5 * steps), np.zeros(900), noise, np.ones(80), [], 0.3 + 0.1 * noise]
    sound += [0.2 * np.sin(0.3 * steps[:800])]
    return [np.asarray(part, np.float32) for part in sound]


def pictures() -> np.ndarray:
    """Noise, a black one, a white one."""
    noise = np.random.default_rng(1).uniform(0, 255, (3, 16, 16))
    parts = [noise, np.zeros_like(noise), np.full_like(noise, 255)]
    return np.stack(parts).astype(np.float32)


class EagerSession:
    """The module itself, in float64, where a Session would run its graph."""

    def __init__(self, bundle: Bundle) -> None:
        self.module = copy.deepcopy(task_module(str(bundle.contract.task))[0]).double()
        self.contract: GraphContract = bundle.graph()
        self.path = bundle.path

    def run(self, feed: Feed) -> list[np.ndarray]:
        given = dict(feed)
        for pair in self.contract.states:
            spec = self.contract.input(pair.input)
            zeros = np.zeros([1 if isinstance(dim, str) else dim for dim in spec.dims], np.float32)
            given.setdefault(spec.name, zeros)
        arguments = [torch.from_numpy(given[spec.name]) for spec in self.contract.inputs]
        arguments = [each.double() if each.is_floating_point() else each for each in arguments]
        with torch.inference_mode():
            found = self.module(*arguments)
        outputs = found if isinstance(found, tuple) else (found,)
        return [output.numpy() for output in outputs]

    def run_named(self, feed: Feed) -> Feed:
        names = [spec.name for spec in self.contract.outputs]
        return dict(zip(names, self.run(feed), strict=True))


def check_against_eager(bundle: Bundle, feed: Feed, found: Feed) -> None:
    """``found``, what pipeline.onnx says of ``feed``, is what Python and eager torch say."""
    contract, eager = bundle.contract, EagerSession(bundle)
    front_end: Any = contract.front_end
    if isinstance(contract.decoder, NextCharacterDecoder):
        check_written(contract, eager, found)
        return
    samples = samples_of(bundle, feed)
    kept = [row for row, sample in enumerate(samples) if answered(bundle, sample)]
    answers: Any = run_and_decode(
        eager,  # type: ignore[arg-type]
        contract.decoder,
        [samples[row] for row in kept],
        getattr(front_end, "padding", 0),
    )
    for row, answer in zip(kept, answers, strict=True):
        if isinstance(answer, LabelAnswer):
            ((label, _),) = answer.rows()
            assert found["label"][row] == label
            assert found["probability"][row] == found["probabilities"][row].max()
            np.testing.assert_allclose(found["probabilities"][row], answer.probabilities, atol=2e-5)
        elif isinstance(answer, TagAnswer):
            assert tuple(found["tags"][row][: found["lengths"][row]]) == answer.labels
        else:
            assert isinstance(answer, TextAnswer)
            assert found["text" if "text" in found else "written"][row] == answer.text
            chance = answer.log_probabilities[0]
            np.testing.assert_allclose(found["log_probability"][row], chance, rtol=2e-5, atol=2e-4)
    for row in set(range(len(samples))) - set(kept):
        for output in found.values():
            cell = output[row]
            empty = cell == "" if output.dtype == object else np.isnan(cell) | (cell == 0)
            assert np.all(empty), (row, cell)


def samples_of(bundle: Bundle, feed: Feed) -> list[Sample]:
    if bundle.contract.task == "speech":
        parts = np.split(feed["samples"], np.cumsum(feed["lengths"])[:-1])
        return [Sample("", "", sound) for sound in parts]
    if bundle.contract.task == "captioning":
        return [Sample("", "", picture) for picture in pictures()]
    front_end: Any = bundle.contract.front_end
    empty = np.array([], np.int64)
    return [
        Sample("", text, characters(front_end, text, "text") if text else empty) for text in TEXTS
    ]


def answered(bundle: Bundle, sample: Sample) -> bool:
    """Whether the model takes a sequence as short as this."""
    axes = bundle.graph().axes
    return len(sample.sequence) >= (axes["sequence"].minimum if "sequence" in axes else 1)


def check_written(contract: Any, eager: Any, found: Feed) -> None:
    """The greedy texts, each prompt alone; an empty prompt stands at the start of a line."""
    greedy = Sampling(length=GREEDY["max_new"], temperature=0)  # type: ignore[arg-type]
    for row, text in enumerate(TEXTS):
        written = generate(eager, contract.front_end, contract.decoder, text or None, greedy)
        assert found["text"][row] == "".join(written)


def write_feed(path: Path, feed: Feed) -> None:
    """A tensor's name, dtype, rank and dims in a line, then a value a line, texts as hex digits."""
    lines = []
    for name, array in feed.items():
        kind = "string" if array.dtype.kind in "OU" else str(array.dtype)
        lines.append(" ".join(map(str, (name, kind, array.ndim, *array.shape))))
        for value in array.ravel().tolist():
            lines.append(f"x{value.encode().hex()}" if kind == "string" else f"{value!r}")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_answers(text: str) -> Feed:
    """What ``write_feed`` writes, as arrays."""
    found: Feed = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, kind, rank, *dims = line.split()
        shape = [int(dim) for dim in dims[: int(rank)]]
        values = [next(lines) for _ in range(int(np.prod(shape)))]
        if kind == "string":
            array = np.array([bytes.fromhex(v[1:]).decode() for v in values], object)
        else:
            array = np.array([float(v) for v in values]).astype(kind)
        found[name] = array.reshape(shape)
    return found


def as_json(feed: Feed) -> Any:
    """For JavaScript: {name: {type, dims, data}}."""
    return {
        name: {
            "type": "string" if array.dtype.kind in "OU" else str(array.dtype),
            "dims": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in feed.items()
    }


def from_json(told: Any) -> Feed:
    """What JavaScript gives; NaN has come as null."""
    return {
        name: np.array(each["data"], object if each["type"] == "string" else float)
        .astype(object if each["type"] == "string" else each["type"])
        .reshape(each["dims"])
        for name, each in told.items()
    }
