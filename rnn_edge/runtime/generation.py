"""Continue a text with a language model, one character after the other."""

from __future__ import annotations

import codecs
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_edge.contract import (
    AxisLimits,
    ByteFrontEnd,
    CharacterFrontEnd,
    GraphContract,
    NextCharacterDecoder,
)
from rnn_edge.errors import ContractError, InputError
from rnn_edge.runtime.batches import Layout
from rnn_edge.runtime.decoders import softmax
from rnn_edge.runtime.front_ends import text_ids
from rnn_edge.runtime.session import Session

# Ctrl-C is heard between two runs: a long prompt is read in pieces of this many characters.
MOST_CHARACTERS_A_RUN = 256
# A reader sees the text grow; a run of the whole loop for each of so many costs nothing more.
CHARACTERS_A_PIECE = 16
_LOGITS = "logits"
# Probabilities add up to 1, to so much.
_CLOSE = 1e-3
_SEEDS = 2**31 - 2
# What the graphs take: int64.
_MOST = 2**63 - 1
_WHOLE = "0 or more, below 2**63"
_LARGEST = float(np.finfo(np.float32).max)
_DECIMAL = f"0 or more, below {_LARGEST:.2g}"
# As in the graphs: the likeliest is always left.
_LEAST_SHARE = 1e-9

TextFrontEnd = CharacterFrontEnd | ByteFrontEnd


@dataclass(frozen=True)
class Sampling:
    """How to choose characters: ``temperature`` 0 always takes the likeliest one.

    ``top_k`` leaves only that many of the likeliest (0 or none: all), ``top_p`` those of the
    likeliest that together have at least this probability; a ``seed`` gives the same text again.
    """

    length: int = 200
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        wrong = next(
            (
                f"{name} must be {must}, got {value}. Correct it."
                for name, value, must, right in (
                    ("length", self.length, "at least 1", self.length >= 1),
                    ("temperature", self.temperature, _DECIMAL, 0 <= self.temperature <= _LARGEST),
                    ("top_k", self.top_k, _WHOLE, 0 <= (self.top_k or 0) <= _MOST),
                    ("top_p", self.top_p, "from 0 to 1", 0 <= self.top_p <= 1),
                    ("seed", self.seed, _WHOLE, 0 <= (self.seed or 0) <= _MOST),
                )
                if not right
            ),
            None,
        )
        if wrong:
            raise InputError(wrong)


def generate(
    session: Session,
    front_end: TextFrontEnd,
    decoder: NextCharacterDecoder,
    prompt: str | None,
    sampling: Sampling,
) -> Iterator[str]:
    """Yield ``sampling.length`` characters that follow ``prompt`` (none: the start of a line).

    Characters that the model does not know are read as unknown. Raises ContractError for a graph
    that does not give one logit for each vocabulary entry.
    """
    ids = _prompt_ids(front_end, decoder, prompt)
    # A plain generator function would check only when the first character is asked for.
    return _continue(_Reader(session, _count(front_end)), ids, front_end, decoder, sampling)


def write(
    session: Session,
    front_end: TextFrontEnd,
    decoder: NextCharacterDecoder,
    prompt: str | None,
    sampling: Sampling,
) -> Iterator[str]:
    """As ``generate``, by a bundle's generating graph: the text that every app gets of a seed."""
    ids = _prompt_ids(front_end, decoder, prompt)
    return _pieces(session, ids, front_end, sampling)


def write_texts(
    session: Session,
    front_end: TextFrontEnd,
    decoder: NextCharacterDecoder,
    prompt: str | None,
    sampling: Sampling,
) -> Iterator[str]:
    """As ``write``, by the graph that takes prompts and gives texts itself."""
    ids = _prompt_ids(front_end, decoder, prompt)
    if isinstance(front_end, ByteFrontEnd):
        return _byte_pieces(session, front_end, ids, sampling)
    if not prompt:
        prompt = front_end.vocabulary[ids[0]]
    return _text_pieces(session, prompt, sampling)


def _text_pieces(session: Session, prompt: str, sampling: Sampling) -> Iterator[str]:
    carried, options = _start(sampling)
    left = sampling.length
    while left:
        count = min(left, CHARACTERS_A_PIECE)
        feed = options | carried | {"max_new": np.array(count)} | prompt_feed(session, [prompt])
        outputs = session.run_named(feed)
        carried = {pair.input: outputs[pair.output] for pair in session.contract.states}
        prompt = str(outputs["text"][0])
        left -= count
        yield from prompt
        prompt = prompt[-1:]


def _byte_pieces(
    session: Session, front_end: ByteFrontEnd, ids: list[int], sampling: Sampling
) -> Iterator[str]:
    carried, options = _start(sampling)
    left = sampling.length
    while left:
        count = min(left, CHARACTERS_A_PIECE)
        given = np.array(ids) - front_end.offset
        prompt = {"bytes": given.astype(np.uint8), "lengths": np.array([len(ids)])}
        outputs = session.run_named(options | carried | prompt | {"max_new": np.array(count)})
        carried = {pair.input: outputs[pair.output] for pair in session.contract.states}
        ids = outputs["generated"][0, -1:].tolist()
        left -= count
        yield from str(outputs["text"][0])


def prompt_feed(session: Session, prompts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts as strings, or as the code points or bytes that a graph takes."""
    spec = session.contract.inputs[0]
    if spec.dtype == "string":
        return {spec.name: np.array(prompts, object)}
    if spec.dtype == "uint8":
        parts = [prompt.encode() for prompt in prompts]
        sizes = np.array([len(part) for part in parts], np.int64)
        return {spec.name: np.frombuffer(b"".join(parts), np.uint8), "lengths": sizes}
    points = [ord(character) for prompt in prompts for character in prompt]
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)
    return {spec.name: np.array(points, np.int32), "lengths": lengths}


def _pieces(
    session: Session, ids: list[int], front_end: TextFrontEnd, sampling: Sampling
) -> Iterator[str]:
    carried, options = _start(sampling)
    spell = _speller(front_end)
    tokens = session.contract.inputs[0].name
    left = sampling.length
    while left:
        count = min(left, CHARACTERS_A_PIECE)
        prompt = {tokens: np.array([ids]), "lengths": np.array([len(ids)])}
        outputs = session.run_named(options | carried | prompt | {"max_new": np.array(count)})
        carried = {pair.input: outputs[pair.output] for pair in session.contract.states}
        ids = outputs["generated"][0, -1:].tolist()
        left -= count
        for place in outputs["generated"][0]:
            yield from spell(int(place))


def _start(sampling: Sampling) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is carried from run to run, and the options of all."""
    seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed
    options = {
        "temperature": np.array(sampling.temperature, np.float32),
        "top_k": np.array(sampling.top_k or 0),
        "top_p": np.array(sampling.top_p, np.float32),
    }
    return {"seed": np.array([seed], np.int64)}, options


def choose(logits: np.ndarray, sampling: Sampling, random: np.random.Generator) -> int:
    """One id for ``logits`` float[vocabulary], -inf for what must never come; ties: the first."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    scaled = (logits - logits.max()) / sampling.temperature
    order = np.argsort(-scaled, kind="stable")
    if sampling.top_k and sampling.top_k < len(scaled):
        scaled[order[sampling.top_k :]] = -np.inf
    if sampling.top_p < 1:
        likelihoods = softmax(scaled)[order]
        before = np.cumsum(likelihoods) - likelihoods
        scaled[order[before >= max(sampling.top_p, _LEAST_SHARE)]] = -np.inf
    sums = np.cumsum(softmax(scaled))
    place = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
    return min(place, len(sums) - 1)


def _continue(
    reader: _Reader,
    ids: list[int],
    front_end: TextFrontEnd,
    decoder: NextCharacterDecoder,
    sampling: Sampling,
) -> Iterator[str]:
    random, spell = np.random.default_rng(sampling.seed), _speller(front_end)
    never = list(decoder.never)
    for _ in range(sampling.length):
        logits = reader.read(ids)
        logits[never] = -np.inf
        ids = [choose(logits, sampling, random)]
        yield from spell(ids[0])


class _Reader:
    """Reads characters and tells what may come next; carries the states of the contract.

    A graph without states reads everything again for each character, as far back as it was
    trained to.
    """

    def __init__(self, session: Session, vocabulary_size: int | None) -> None:
        self._session = session
        self._size = vocabulary_size
        self._layout = Layout.of(session.contract)
        self._logits = _find_logits(session.contract, vocabulary_size)
        self._states: dict[str, np.ndarray] = {}
        self._past: list[int] = []
        limits = session.contract.axes.get(self._layout.sequence or "", AxisLimits())
        bounds = (limits.maximum, limits.trained_maximum, MOST_CHARACTERS_A_RUN)
        self._most = min(bound for bound in bounds if bound is not None)

    def read(self, ids: Sequence[int]) -> np.ndarray:
        """Logits float64[vocabulary] of the character after ``ids``, given all that was read."""
        if not self._session.contract.states:
            self._past = [*self._past, *ids][-self._most :]
            return self._run(self._past)
        for start in range(0, len(ids), self._most):
            logits = self._run(ids[start : start + self._most])
        return logits

    def _run(self, ids: Sequence[int]) -> np.ndarray:
        contract = self._session.contract
        data, lengths = self._layout.data, self._layout.lengths
        # With one row, [batch, sequence] and [sequence, batch] hold the same numbers in one order.
        shape = [len(ids) if dim == self._layout.sequence else 1 for dim in data.dims]
        inputs = {data.name: np.array(ids, data.dtype).reshape(shape)}
        if lengths is not None:
            inputs[lengths.name] = np.array([len(ids)], lengths.dtype)
        outputs = self._session.run_named(inputs | self._states)
        self._states = {pair.input: outputs[pair.output] for pair in contract.states}
        logits = outputs[self._logits]
        if self._size not in (None, logits.shape[-1]):
            raise ContractError(
                f"{self._logits} must hold {self._size} logits, one for each entry of "
                f"the vocabulary, got {logits.shape[-1]}. Export the model again."
            )
        last: np.ndarray = logits.reshape(-1, logits.shape[-1])[-1].astype(np.float64)
        if (last >= 0).all() and abs(last.sum() - 1) < _CLOSE:
            with np.errstate(divide="ignore"):
                return np.log(last)  # probabilities
        return last


def _find_logits(contract: GraphContract, size: int | None) -> str:
    """The output named so, or the one as wide as the vocabulary, or the first."""
    states = {pair.output for pair in contract.states}
    told = [spec for spec in contract.outputs if spec.name not in states and spec.dims]
    fitting = [spec.name for spec in told if size is not None and spec.dims[-1] == size]
    if _LOGITS in {spec.name for spec in told}:
        return _LOGITS
    if len(fitting) > 1:
        raise ContractError(
            f"one output of {contract.file} must be its logits, {', '.join(fitting)} may be. Name "
            f"one of them {_LOGITS!r} and export the model again."
        )
    return fitting[0] if fitting else contract.outputs[0].name


def _prompt_ids(
    front_end: TextFrontEnd, decoder: NextCharacterDecoder, prompt: str | None
) -> list[int]:
    """What the model reads of ``prompt``; an empty one, or None, is what stands before a line."""
    if prompt:
        return [int(place) for place in text_ids(front_end, prompt, "prompt")]
    if isinstance(front_end, ByteFrontEnd):
        return [front_end.offset + ord("\n")]
    if "\n" in front_end.vocabulary:
        return [front_end.vocabulary.index("\n")]
    entries = range(len(front_end.vocabulary))
    return [next(place for place in entries if place not in decoder.never)]


def _count(front_end: TextFrontEnd) -> int | None:
    """How many logits there must be; None where that is the model's own affair."""
    return None if isinstance(front_end, ByteFrontEnd) else len(front_end.vocabulary)


def _speller(front_end: TextFrontEnd) -> Callable[[int], Sequence[str]]:
    """From one id after the other to what it adds to the text.

    A byte may add nothing before its character is whole; what is no UTF-8 becomes U+FFFD.
    """
    if isinstance(front_end, CharacterFrontEnd):
        vocabulary = front_end.vocabulary
        return lambda place: (vocabulary[place],)
    decoder, offset = codecs.getincrementaldecoder("utf-8")("replace"), front_end.offset
    return lambda place: decoder.decode(bytes([place - offset]))
