"""Characters, names and choices in C around a generated step: under sanitizers, as in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_c99 import SANITIZED, STRICT
from toolchain import call, need

from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate
from rnn_edge.integration.words import Words
from rnn_edge.runtime.ctc import greedy
from rnn_edge.runtime.front_ends import characters
from rnn_edge.runtime.generation import Sampling
from rnn_edge.runtime.pipeline import Pipeline

BundleOf = Callable[[str], Bundle]

WRITER = r"""
#include "model.h"
#include "words.h"
#include <stdio.h>
#include <stdlib.h>

static language_model_state state;
static float logits[LANGUAGE_MODEL_LOGITS_SIZE];

int main(int count, char **given)
{
    const char *text = given[1];
    int64_t random = atoll(given[6]);
    language_model_init(&state);
    for (int64_t id; (id = language_model_read(&text)) >= 0;) {
        if (count == 2) printf("%lld ", (long long)id);
        else if (language_model_step(&state, &id, logits)) return 1;
    }
    for (int left = count == 2 ? 0 : atoi(given[2]); left > 0; left--) {
        const float temperature = strtof(given[3], NULL), top_p = strtof(given[5], NULL);
        const int64_t top_k = atoll(given[4]);
        const int64_t id = language_model_choose(logits, temperature, top_k, top_p, &random);
        fputs(language_model_names[id], stdout);
        if (language_model_step(&state, &id, logits)) return 1;
    }
    return 0;
}
""".replace("atoll(given[6])", "count > 6 ? atoll(given[6]) : 0")

LABELLER = r"""
#include "words.h"
#include <stdio.h>

int main(void)
{
    float logits[SMALL_NAMES], probabilities[SMALL_NAMES];
    for (int i = 0; i < SMALL_NAMES; i++) if (scanf("%f", &logits[i]) != 1) return 1;
    const size_t best = small_label(logits, probabilities);
    if (best != small_label(logits, NULL)) return 1;
    fputs(small_names[best], stdout);
    for (int i = 0; i < SMALL_NAMES; i++) printf("\t%.9g", (double)probabilities[i]);
    return 0;
}
"""

LISTENER = r"""
#include "words.h"
#include <stdio.h>

int main(void)
{
    float logits[SMALL_NAMES];
    int64_t before = -1;
    for (int i = 0; scanf("%f", &logits[i]) == 1; i = (i + 1) % SMALL_NAMES) {
        const char *name = i == SMALL_NAMES - 1 ? small_hear(logits, &before) : NULL;
        if (name != NULL) fputs(name, stdout);
    }
    return 0;
}
"""


def build(bundle: Bundle, folder: Path, source: str, *objects: str) -> Path:
    need("gcc")
    integrate(bundle, "c99", folder)
    assert len((folder / "README.md").read_text().splitlines()) < 40
    (folder / "main.c").write_text(source)
    flags = (*STRICT, *SANITIZED)
    call("gcc", *flags, "main.c", "words.c", *objects, "-lm", "-o", "main", cwd=folder)
    return folder / "main"


@pytest.fixture(scope="module")
def writer(bundle_of: BundleOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "program"
    return build(bundle_of("language-model"), folder, WRITER, "model.c")


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(60, temperature=0.0, seed=1),
        Sampling(60, temperature=0.8, seed=0),
        Sampling(60, temperature=1.0, seed=2**31 - 3),
        Sampling(60, temperature=1.0, seed=2**31 + 8),
        Sampling(60, temperature=1.0, seed=2**63 - 1),
        Sampling(60, temperature=1.5, top_k=5, seed=3),
        Sampling(60, temperature=1.0, top_p=0.6, seed=4),
        Sampling(60, temperature=2.0, top_k=9, top_p=0.8, seed=5),
    ],
)
def test_a_seed_writes_what_generate_onnx_writes(
    bundle_of: BundleOf, writer: Path, sampling: Sampling
) -> None:
    how = (
        sampling.length,
        sampling.temperature,
        sampling.top_k or 0,
        sampling.top_p,
        sampling.seed,
    )
    text = call(writer, "The ", *map(str, how), cwd=writer.parent).stdout
    assert text == "".join(Pipeline(bundle_of("language-model")).generate("The ", sampling))


@pytest.mark.parametrize(
    "text", ["a", "Ünï é 好吃 👍🏽\r\n\t~", "e\u0301", "\x7f\x01", "x" * 10_000]
)
def test_text_is_read_as_python_reads_it(bundle_of: BundleOf, writer: Path, text: str) -> None:
    found = call(writer, text, cwd=writer.parent).stdout.split()
    front_end = bundle_of("language-model").contract.front_end
    assert list(map(int, found)) == characters(front_end, text, "text").tolist()  # type: ignore[arg-type]


def test_text_that_is_cut_or_empty_ends(writer: Path) -> None:
    """The last character has lost its bytes; sanitizers see a read beyond the end."""
    cut = b"ab\xe5\xa5".decode("utf-8", "surrogateescape")
    assert len(call(writer, cut, cwd=writer.parent).stdout.split()) == 3
    assert call(writer, "", cwd=writer.parent).stdout == ""


def compile_alone(words: Words, folder: Path, source: str) -> Path:
    """``source`` with the words of a model that is called small."""
    need("gcc")
    (folder / "main.c").write_text(source)
    for name, text in words.render({"name": "small", "p": "small", "P": "SMALL"}).items():
        (folder / name).write_text(text)
    call("gcc", *STRICT, *SANITIZED, "main.c", "words.c", "-lm", "-o", "main", cwd=folder)
    return folder / "main"


def test_labels_have_the_probabilities_of_softmax(tmp_path: Path) -> None:
    labels = ("no", 'so "so"', "好", "\\n1")
    program = compile_alone(Words(names=labels, use="labels"), tmp_path, LABELLER)
    logits = np.random.default_rng(0).normal(0, 30, len(labels)).astype(np.float32)
    label, *told = call(program, cwd=tmp_path, text=" ".join(map(str, logits))).stdout.split("\t")
    powers = np.exp(logits.astype(np.float64) - logits.max())
    assert label == labels[int(logits.argmax())]
    np.testing.assert_allclose(list(map(float, told)), powers / powers.sum(), rtol=1e-6, atol=1e-30)


def test_frames_say_what_greedy_decoding_hears(tmp_path: Path) -> None:
    names = ("one ", "two ", "", "three ")
    program = compile_alone(Words(names=names, use="sounds", blank=2), tmp_path, LISTENER)
    logits = np.random.default_rng(1).normal(0, 1, (200, len(names))).astype(np.float32)
    logits[::3, 2] += 2
    logits[1::3] = logits[::3][: len(logits[1::3])]
    heard = call(program, cwd=tmp_path, text=" ".join(map(str, logits.reshape(-1)))).stdout
    assert heard == "".join(names[label] for label in greedy(logits, 2).labels)
