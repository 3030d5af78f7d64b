"""The lines of docs/pipelines.md as they stand, and programs of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from toolchain import HOSTS, call

from rnn_edge.bundle import Bundle
from rnn_edge.runtime.pipeline import Pipeline, Sample

ROOT = Path(__file__).parents[2]
# What the documentation calls the bundle of each task.
NAMES = {
    "reviews": "sentiment", "names": "tagging", "dates": "translation", "keypad": "speech",
    "shapes": "captioning", "book": "language-model", "tunes": "music",
}  # fmt: skip
# What stands before and behind the lines of C.
BEFORE = """
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
static const OrtApi *api;
static void must(OrtStatus *status) {
    if (!status) return;
    fputs(api->GetErrorMessage(status), stderr);
    exit(1);
}
int main(int argument_count, char **arguments) {
    OrtEnv *environment;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtAllocator *allocator;
    OrtMemoryInfo *memory;
    static float samples[4000];
    int64_t count = 4000, one = 1;
    for (int step = 0; step < 4000; step++) samples[step] = (float)(step % 50) / 50;
    api = OrtGetApiBase()->GetApi(17);
    must(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "docs", &environment));
    must(api->CreateSessionOptions(&options));
    must(api->CreateSession(environment, arguments[argument_count - 1], options, &session));
    must(api->GetAllocatorWithDefaultOptions(&allocator));
    must(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    (void)memory, (void)count, (void)one, (void)samples;
"""
BEHIND = """
    size_t bytes;
    must(api->GetStringTensorElementLength(found, 0, &bytes));
    char *text = calloc(bytes + 1, 1);
    must(api->GetStringTensorElement(found, bytes, 0, text));
    puts(text);
    return 0;
}
"""
SAMPLES = ((np.arange(4000) % 50) / np.float32(50)).astype(np.float32)


def blocks(language: str) -> list[str]:
    return re.findall(
        rf"```{language}\n(.*?)```", (ROOT / "docs" / "pipelines.md").read_text("utf-8"), re.DOTALL
    )


def python_answers(bundle: Bundle, *sequences: Any) -> list[Any]:
    """What `rnn-edge run` says of texts, or of arrays."""
    pipeline = Pipeline(bundle)
    samples = [
        pipeline.read_line(each, "text") if isinstance(each, str) else Sample("", "", each)
        for each in sequences
    ]
    return pipeline.answer(samples)


def link_bundles(place: Path, bundles: Mapping[str, Bundle]) -> None:
    """exported/NAME in ``place`` for each of the documentation's names."""
    (place / "exported").mkdir()
    for name, bundle in bundles.items():
        (place / "exported" / name).symlink_to(bundle.path)


def run_in_node(place: Path, name: str, lines: str, *, opens: bool) -> list[str]:
    folder = place / name
    folder.mkdir()
    shutil.copyfile(place / "exported" / name / "pipeline.onnx", folder / "pipeline.onnx")
    (folder / "node_modules").symlink_to(HOSTS / "node_modules")
    session = 'const session = await ort.InferenceSession.create("pipeline.onnx");\n'
    start = 'import ort from "onnxruntime-node";\n' + (session if opens else "")
    (folder / "main.mjs").write_text(start + lines)
    return call("node", "main.mjs", cwd=folder).stdout.split("\n")


def run_in_c(place: Path, name: str, lines: str, runtime: Path) -> str:
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{runtime}/include"]
    libraries = [f"-L{runtime}/lib", f"-Wl,-rpath,{runtime}/lib", "-lonnxruntime"]
    (place / f"{name}.c").write_text(BEFORE + lines + BEHIND)
    call("gcc", *flags, f"{name}.c", "-o", name, *libraries, cwd=place)
    model = place / "exported" / name / "pipeline.onnx"
    return call(place / name, model, cwd=place).stdout.removesuffix("\n")
