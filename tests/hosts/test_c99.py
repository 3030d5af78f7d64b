"""Generated C99: compiled without a warning, run under sanitizers, compared with the golden data.

The golden data are eager torch's answers; foreign graphs are compared with ONNX Runtime.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from host_bundles import CELLS
from onnx import TensorProto, helper, numpy_helper
from toolchain import call, need
from torch import Tensor, nn

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.c99.generation import generate
from rnn_edge.errors import InputError, IntegrationError
from rnn_edge.integration import integrate
from rnn_edge.models.speech_recognizer import SpeechRecognizer

STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror"]
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


class ConvolutionAndGru(nn.Module):
    """Embedding, causal convolution, normalisation, two layers, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(300, 12)
        self.conv = nn.Conv1d(12, 10, 3, dilation=2)
        self.norm = nn.LayerNorm(10)
        self.core = nn.GRU(10, 70, 2, batch_first=True)
        self.head = nn.Linear(70, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = nn.functional.pad(self.table(tokens).transpose(1, 2), (4, 0))
        x = self.norm(torch.relu(self.conv(x)).transpose(1, 2))
        logits: Tensor = self.head(self.core(x)[0])
        return torch.softmax(logits, -1)


class Downsampled(nn.Module):
    """A frame for every 4; the first after 9."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(7, 8, 5, stride=2), nn.ReLU(), nn.Conv1d(8, 6, 3, 2))
        self.core = nn.LSTM(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]
        return y


class Layers(nn.Module):
    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(x)[0]
        return y


def export_layers(core: nn.Module, folder: Path) -> Bundle:
    torch.manual_seed(3)
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(Layers(core).eval(), (torch.randn(2, 5, 7),), folder, axes=axes)


def export_frames(module: nn.Module, example: Tensor, folder: Path) -> Bundle:
    axes = [("batch", "sequence", *[None] * (example.dim() - 2))]
    return rnn_edge.export(module.eval(), (example,), folder, axes=axes)


def export_speech(folder: Path) -> Bundle:
    """Log-mel features of samples, a strided convolution, a layer."""
    torch.manual_seed(5)
    module = SpeechRecognizer(
        1600, [0.1] * 6, [1.2] * 6, 5, cell="gru", hidden_size=8, bidirectional=False, num_layers=1
    )
    return export_frames(module, torch.randn(2, 640), folder)


def export_conv(folder: Path) -> Bundle:
    torch.manual_seed(4)
    args = (torch.randint(300, (2, 9)),)
    return rnn_edge.export(ConvolutionAndGru().eval(), args, folder, axes=[("batch", "sequence")])


@pytest.fixture(scope="session")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    root = tmp_path_factory.mktemp("stacks")
    cores = {
        "rnn": nn.RNN(7, 9, 2, nonlinearity="relu", batch_first=True),
        "lstm": nn.LSTM(7, 33, 2, batch_first=True),
        "lstm_projected": nn.LSTM(7, 8, proj_size=3, batch_first=True),
    }
    found = {name: export_layers(core, root / name) for name, core in cores.items()}
    return {
        **found,
        "conv": export_conv(root / "conv"),
        "down": export_frames(Downsampled(), torch.randn(2, 40, 7), root / "down"),
        "speech": export_speech(root / "speech"),
    }


def build(compiler: str, folder: Path, *flags: str, sources: tuple[str, ...] = ()) -> Path:
    need(compiler)
    program = folder / f"program-{compiler}"
    names = sources or ("selftest.c",)
    call(compiler, *STRICT, *flags, *names, "model.c", "-lm", "-o", program, cwd=folder)
    return program


def worst_error(text: str) -> float:
    match = re.search(r"worst error (\S+),", text)
    assert match is not None, text
    return float(match[1])


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("own_math", [0, 1])
@pytest.mark.parametrize("name", ["rnn", "lstm", "lstm_projected", "conv", "down", "speech"])
def test_stacks_equal_eager_torch(
    stacks: dict[str, Bundle], name: str, compiler: str, own_math: int, tmp_path: Path
) -> None:
    integrate(stacks[name], "c99", tmp_path)
    flag = f"-D{name.upper()}_OWN_MATH={own_math}"
    output = call(build(compiler, tmp_path, *SANITIZED, flag), cwd=tmp_path).stdout
    assert worst_error(output) < 4e-6


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("int8", [False, True])
def test_optimising_compilers_have_nothing_to_say(
    stacks: dict[str, Bundle], compiler: str, int8: bool, tmp_path: Path
) -> None:
    """Some warnings come only from what an optimiser has worked out."""
    need(compiler)
    for name in ("lstm", "conv"):
        integrate(stacks[name], "c99", tmp_path / name, int8=int8)
        for flags in (["-O2"], ["-O3", "-march=native"]):
            call(compiler, *STRICT, *flags, "-c", "model.c", cwd=tmp_path / name)


@pytest.mark.parametrize("name", CELLS)
def test_tasks_equal_eager_torch(
    bundle_of: Callable[[str], Bundle], name: str, tmp_path: Path
) -> None:
    bundle = bundle_of(name)
    if "stream" not in bundle.contract.graphs:
        with pytest.raises(InputError, match="stream"):
            integrate(bundle, "c99", tmp_path)
        return
    integrate(bundle, "c99", tmp_path)
    output = call(build("gcc", tmp_path, *SANITIZED), cwd=tmp_path).stdout
    assert worst_error(output) < 4e-6


STEPS = r"""
#include "model.h"
#include <stdio.h>

static {name}_state state;

int main(void)
{{
    {type} x[{size}];
    static float y[{answer}];
    {name}_init(&state);
    for (int step = 0; step < 40; step++) {{
        for (int i = 0; i < {size}; i++) x[i] = ({type})({value});
        if ({name}_step(&state, x, y)) return 1;
        for (int i = 0; i < {answer}; i++) printf("%a\n", (double)y[i]);
    }}
    return 0;
}}
"""


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", ["rnn", "lstm", "conv"])
def test_instructions_for_bytes_give_the_same_sums(
    stacks: dict[str, Bundle], name: str, compiler: str, tmp_path: Path
) -> None:
    need(compiler)
    flags = call(compiler, "-march=native", "-dM", "-E", "-x", "c", "/dev/null", cwd=tmp_path)
    if "__AVX512VNNI__" not in flags.stdout:
        pytest.skip("this processor has no AVX512-VNNI")
    integrate(stacks[name], "c99", tmp_path, int8=True)
    header = (tmp_path / "model.h").read_text()
    size, answer = map(int, re.findall(r"#define \w+_SIZE (\d+)", header))
    kind = {"rnn": "float", "lstm": "float", "conv": "int64_t"}[name]
    value = "step * i % 300" if kind == "int64_t" else "(step * 7 + i * 3) % 11 / 3.0 - 1.5"
    source = STEPS.format(name=name, type=kind, size=size, answer=answer, value=value)
    (tmp_path / "steps.c").write_text(source)
    told = []
    for native in ((), ("-march=native",)):
        exact = ("-O2", "-ffp-contract=off", "-fsanitize=address,undefined", *native)
        program = build(compiler, tmp_path, *exact, sources=("steps.c",))
        told.append(call(program, cwd=tmp_path).stdout)
    for file, text in generate(stacks[name], int8=True, tiled=True).sources.items():
        (tmp_path / file).write_text(text)
    program = build(compiler, tmp_path, *exact, sources=("steps.c",))
    told.append(call(program, cwd=tmp_path).stdout)
    assert told[0] == told[1] == told[2]
    assert told[0].count("\n") == 40 * answer


def test_int8_is_smaller_and_near(stacks: dict[str, Bundle], tmp_path: Path) -> None:
    for name in ("lstm", "conv"):
        exact = integrate(stacks[name], "c99", tmp_path / f"{name}-float").about["weights"]
        small = integrate(stacks[name], "c99", tmp_path / name, int8=True).about["weights"]
        sizes = [int(text.split()[0].replace(",", "")) for text in (exact, small)]
        assert sizes[1] < 0.45 * sizes[0]
        output = call(build("gcc", tmp_path / name, *SANITIZED), cwd=tmp_path / name).stdout
        assert 0 < worst_error(output) < 2e-2


def test_a_wrong_table_is_noticed(stacks: dict[str, Bundle], tmp_path: Path) -> None:
    integrate(stacks["rnn"], "c99", tmp_path)
    source = (tmp_path / "model.c").read_text()
    assert "rnn_table_1[" in source
    broken = re.sub(r"(rnn_table_1\[\d+\] .*\{\n    )(\S+),", r"\g<1>9.0f,", source, count=1)
    assert broken != source
    (tmp_path / "model.c").write_text(broken)
    program = build("gcc", tmp_path)
    with pytest.raises(AssertionError):
        call(program, cwd=tmp_path)


def test_bad_input_leaves_the_state(stacks: dict[str, Bundle], tmp_path: Path) -> None:
    integrate(stacks["conv"], "c99", tmp_path)
    (tmp_path / "bad.c").write_text(
        '#include "model.h"\n#include <string.h>\n'
        "int main(void)\n{\n"
        "    static conv_state one, other;\n"
        "    int64_t good = 299, high = 300, low = -1;\n"
        "    float y[5];\n"
        "    conv_init(&one);\n    conv_init(&other);\n"
        "    if (conv_step(&one, &high, y) != CONV_BAD_INPUT) { return 1; }\n"
        "    if (conv_step(&one, &low, y) == CONV_OK) { return 2; }\n"
        "    if (conv_step(&one, &good, y) || conv_step(&other, &good, y)) { return 3; }\n"
        "    return memcmp(one.core_layer_0_h_0, other.core_layer_0_h_0,\n"
        "                  sizeof(one.core_layer_0_h_0)) != 0;\n}\n"
    )
    call(build("gcc", tmp_path, *SANITIZED, sources=("bad.c",)), cwd=tmp_path)


def peephole_file(folder: Path) -> Path:
    """An LSTM with peepholes and a head that nobody here exported."""
    random = np.random.default_rng(7)
    constants = {
        name: random.uniform(-0.5, 0.5, shape).astype(np.float32)
        for name, shape in {"W": (1, 20, 3), "R": (1, 20, 5), "B": (1, 40), "P": (1, 15)}.items()
    }
    constants["one"] = np.array([1])  # type: ignore[assignment]
    nodes = [
        helper.make_node(
            "LSTM", ["x", "W", "R", "B", "", "", "", "P"], ["y4", "", ""], hidden_size=5
        ),
        helper.make_node("Squeeze", ["y4", "one"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "peephole",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["sequence", "batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["sequence", "batch", 5])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "peephole.onnx")
    return folder / "peephole.onnx"


def test_a_foreign_peephole_lstm_equals_onnx_runtime(tmp_path: Path) -> None:
    path = peephole_file(tmp_path)
    found = rnn_edge.derive_stream(path, None)
    out = tmp_path / "out"
    integrate(found.path, "c99", out)
    x = np.random.default_rng(1).normal(size=(6, 1, 3)).astype(np.float32)
    (expected,) = rnn_edge.Session(path, trusted=True).run({"x": x})
    numbers = ", ".join(f"{value:.9g}f" for value in x.reshape(-1).tolist())
    (out / "print.c").write_text(
        '#include "model.h"\n#include <stdio.h>\n'
        "int main(void)\n{\n"
        f"    static const float x[] = {{{numbers}}};\n"
        "    static peephole_state s;\n    float answer[5];\n"
        "    peephole_init(&s);\n"
        "    for (int n = 0; n < 6; n++) {\n"
        "        if (peephole_step(&s, x + 3 * n, answer)) { return 1; }\n"
        '        for (int i = 0; i < 5; i++) { printf("%.9g\\n", (double)answer[i]); }\n'
        "    }\n    return 0;\n}\n"
    )
    text = call(build("gcc", out, *SANITIZED, sources=("print.c",)), cwd=out).stdout
    answers = np.array(text.split(), np.float32).reshape(expected.shape)
    np.testing.assert_allclose(answers, expected, rtol=2e-6, atol=5e-7)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = peephole_file(tmp_path)
    with pytest.raises(InputError, match="rnn-edge stream"):
        integrate(path, "c99", tmp_path / "out")
    found = rnn_edge.derive_stream(path, None)
    model = onnx.load(found.path)
    target = next(node for node in model.graph.node if node.op_type == "LSTM")
    target.attribute.append(helper.make_attribute("clip", 0.5))
    target.name = "clipped"
    onnx.save(model, found.path)
    with pytest.raises(IntegrationError, match="LSTM \\(clipped\\)"):
        integrate(found.path, "c99", tmp_path / "out")
    assert not (tmp_path / "out").exists()


MACHINES = {"mps2-an386": ("cortex-m4", "fpv4-sp-d16"), "mps2-an500": ("cortex-m7", "fpv5-sp-d16")}
# The memory that the emulated boards start from: vectors and code at 0, data at 0x20000000.
LINKER = """
ENTRY(start)
SECTIONS {
  .text 0 : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.ARM.ex*) . = ALIGN(8); load = .; }
  .data 0x20000000 : AT(load) { begin = .; *(.data*) . = ALIGN(8); end = .; }
  .bss : { zero = .; *(.bss*) *(COMMON) . = ALIGN(8); zero_end = .; }
  PROVIDE(end_of_data = .);
}
"""
STARTUP = """
#include <stdint.h>
extern uint32_t load, begin, end, zero, zero_end;
extern int main(void);
extern void initialise_monitor_handles(void);
extern void _exit(int);
enum { STACK = 16384 };
static volatile uint32_t *const top = (uint32_t *)0x20040000;
int printf(const char *, ...);
void start(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm volatile("dsb\\n isb");
    uint32_t *from = &load;
    for (uint32_t *to = &begin; to < &end; to++) { *to = *from++; }
    for (uint32_t *to = &zero; to < &zero_end; to++) { *to = 0; }
    initialise_monitor_handles();
    _exit(main());
}
__attribute__((section(".vectors"), used)) static const uint32_t vectors[2] = {
    0x20040000, (uint32_t)start};
void *_sbrk(int more)
{
    static char heap[8192];
    static int used;
    void *place = heap + used;
    used += more;
    return place;
}
"""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("int8", [False, True])
def test_it_runs_on_a_microcontroller(
    stacks: dict[str, Bundle], machine: str, int8: bool, tmp_path: Path
) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    processor, unit = MACHINES[machine]
    integrate(stacks["lstm"], "c99", tmp_path, int8=int8)
    (tmp_path / "startup.c").write_text(STARTUP)
    (tmp_path / "board.ld").write_text(LINKER)
    flags = [f"-mcpu={processor}", "-mthumb", "-mfloat-abi=hard", f"-mfpu={unit}", "-O2"]
    call(
        "arm-none-eabi-gcc", *flags, *STRICT, "-Wno-pedantic", "-fstack-usage", "-c", "model.c",
        cwd=tmp_path,
    )  # fmt: skip
    call(
        "arm-none-eabi-gcc", *flags, "-std=gnu99", "-nostartfiles", "--specs=rdimon.specs",
        "-Tboard.ld", "startup.c", "selftest.c", "model.o", "-lm", "-o", "program.elf",
        cwd=tmp_path,
    )  # fmt: skip
    done = call(
        "qemu-system-arm", "-M", machine, "-nographic", "-semihosting-config",
        "enable=on,target=native", "-kernel", "program.elf", cwd=tmp_path,
    )  # fmt: skip
    assert worst_error(done.stdout) < (2e-2 if int8 else 4e-6)
    sizes = call("arm-none-eabi-size", "model.o", cwd=tmp_path).stdout.split()[6:9]
    stack = max(int(line.split()[1]) for line in (tmp_path / "model.su").read_text().splitlines())
    print(f"{processor} int8={int8}: flash {sizes[0]}, own RAM {sizes[1:]}, stack {stack}")
    assert sizes[1:] == ["0", "0"]
    assert stack < 1024
