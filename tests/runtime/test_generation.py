import itertools

import numpy as np
import pytest
import tiny_bundles

from rnn_edge.bundle import Bundle
from rnn_edge.contract import (
    CharacterFrontEnd,
    GraphContract,
    NextCharacterDecoder,
    StatePair,
    TensorSpec,
)
from rnn_edge.errors import ContractError, InputError
from rnn_edge.runtime import Pipeline, Sampling
from rnn_edge.runtime.generation import choose, generate

NEVER = [0, 1]


@pytest.fixture(scope="module")
def model(language_bundle: Bundle) -> Pipeline:
    return Pipeline(language_bundle)


def greedy(ids: list[int], length: int) -> str:
    """The likeliest continuation, everything read again in numpy for every character."""
    ids = list(ids)
    for _ in range(length):
        logits = tiny_bundles.language_logits(ids)[-1]
        logits[NEVER] = -np.inf
        ids.append(int(logits.argmax()))
    return "".join(tiny_bundles.VOCABULARY[place] for place in ids[-length:])


@pytest.mark.parametrize(("prompt", "ids"), [("ab", [2, 3]), ("好 b", [4, 5, 3]), ("z", [1])])
def test_temperature_0_takes_the_likeliest_characters_with_the_state_carried(model, prompt, ids):
    text = "".join(model.generate(prompt, Sampling(12, temperature=0)))
    assert text == greedy(ids, 12)


def test_a_prompt_longer_than_one_run_is_read_in_pieces_without_a_warning(model, recwarn):
    # Trained to 30 characters: 70 are three runs.
    text = "".join(model.generate("ab" * 35, Sampling(5, temperature=0)))
    assert text == greedy([2, 3] * 35, 5)
    assert [str(warning.message) for warning in recwarn] == []


def test_without_a_prompt_it_starts_after_a_line_break_or_the_first_character(model):
    # This vocabulary has no line break: "a" is the first that may be sampled.
    assert "".join(model.generate(None, Sampling(6, temperature=0))) == greedy([2], 6)


def test_the_same_seed_gives_the_same_text_and_another_one_another(model):
    def text(seed: int) -> str:
        return "".join(model.generate("a", Sampling(60, seed=seed)))

    assert text(3) == text(3)
    assert text(3) != text(4)


def test_characters_that_must_never_come_never_come(model):
    text = "".join(model.generate("a", Sampling(300, temperature=50.0, seed=1)))
    assert set(text) == {"a", "b", "好", " "}


def test_characters_come_one_by_one(model):
    first = list(itertools.islice(model.generate("a", Sampling(10**9, seed=1)), 3))
    assert [len(character) for character in first] == [1, 1, 1]


def test_an_empty_prompt_starts_a_line(model):
    assert "".join(model.generate("", Sampling(6, temperature=0))) == greedy([2], 6)


class Told:
    """A session whose graph tells logits, as ``form`` has them, beside features as wide."""

    def __init__(self, form: str, names: tuple[str, str] = ("features", "logits")) -> None:
        outputs = tuple(
            TensorSpec(name, "float32", ("batch", "sequence", 4)) for name in (*names, "hidden")
        )
        ids = TensorSpec("tokens", "int64", ("batch", "sequence"), maximum=3)
        state = TensorSpec("h", "float32", ("batch", "sequence", 4))
        pair = StatePair("h", "hidden", 0)
        self.contract = GraphContract("model.onnx", (ids, state), outputs, (pair,))
        self.form, self.names = form, names

    def run_named(self, feed):
        told = np.cos(np.arange(4) * (feed["tokens"][0, -1] + 1))[None, None]
        if self.form == "probabilities":
            told = np.exp(told) / np.exp(told).sum()
        return {self.names[0]: -told, self.names[1]: told, "hidden": told}


def text_by(session: Told) -> str:
    front_end, decoder = CharacterFrontEnd(("a", "b", "c", "d"), 0, 0), NextCharacterDecoder(())
    return "".join(generate(session, front_end, decoder, "a", Sampling(60, seed=3)))


def test_probabilities_are_read_as_such():
    text = text_by(Told("logits"))
    assert text_by(Told("probabilities")) == text
    assert len(set(text)) > 2


def test_which_output_is_meant_must_be_known():
    with pytest.raises(ContractError, match="Name one of them 'logits'"):
        text_by(Told("logits", ("one", "other")))


def test_a_bundle_that_is_no_language_model_generates_nothing(text_bundle):
    with pytest.raises(InputError, match="must be a language model of characters"):
        Pipeline(text_bundle).generate("a", Sampling())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"temperature": -0.1}, "temperature must be 0 or more, .* got -0.1"),
        ({"temperature": float("nan")}, "temperature must be 0 or more, .* got nan"),
        ({"top_k": -1}, r"top_k must be 0 or more, below 2\*\*63, got -1"),
        ({"top_p": 1.1}, "top_p must be from 0 to 1, got 1.1"),
        ({"seed": -1}, r"seed must be 0 or more, below 2\*\*63, got -1"),
        ({"seed": 2**63}, "seed must be 0 or more, .* got 9223372036854775808"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Sampling(**wrong)


LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05]))


def shares(sampling: Sampling, draws: int = 20_000) -> np.ndarray:
    random = np.random.default_rng(0)
    chosen = [choose(LOGITS, sampling, random) for _ in range(draws)]
    return np.bincount(chosen, minlength=4) / draws


def test_temperature_1_draws_with_the_model_s_probabilities():
    np.testing.assert_allclose(shares(Sampling()), [0.5, 0.3, 0.15, 0.05], atol=0.012)


def test_temperature_sharpens_as_a_power_of_the_probabilities():
    powers = np.array([0.5, 0.3, 0.15, 0.05]) ** 2
    expected = powers / powers.sum()
    np.testing.assert_allclose(shares(Sampling(temperature=0.5)), expected, atol=0.012)


def test_top_k_leaves_only_the_likeliest():
    np.testing.assert_allclose(shares(Sampling(top_k=2)), [0.625, 0.375, 0.0, 0.0], atol=0.012)
    assert shares(Sampling(top_k=1), 100)[0] == 1
    np.testing.assert_array_equal(shares(Sampling(top_k=0), 100), shares(Sampling(), 100))


def test_a_share_of_nothing_leaves_the_likeliest():
    assert shares(Sampling(top_p=0.0), 100)[0] == 1


def test_a_tiny_temperature_does_not_overflow():
    assert choose(LOGITS, Sampling(temperature=1e-300), np.random.default_rng(0)) == 0


def test_minus_infinity_is_never_drawn_even_with_top_k():
    logits = np.array([-np.inf, 0.0, -np.inf])
    random = np.random.default_rng(0)
    assert {choose(logits, Sampling(top_k=3), random) for _ in range(200)} == {1}
