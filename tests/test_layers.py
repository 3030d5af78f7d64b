"""Imports point down only, and what must stay light stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_edge.cli.main import COMMANDS

PACKAGE = Path(__file__).parents[1] / "rnn_edge"

# From the bottom up. A part imports lower levels only, and no other part of its own level; the
# parts of the base may build on one another.
LEVELS: list[set[str]] = [
    {
        *("errors", "version", "extras", "contract", "kinds", "folder", "bundle", "bundle_readme"),
        *("text_file", "idx_file", "vocabulary", "drawing", "fonts", "code_line", "rendering"),
        *(
            "abc_notation",
            "near_names",
            "sound_features",
            "sound_constants",
            "frame_counts",
            "scales",
        ),
    },
    {"c99"},
    {"runtime"},
    {"graphs", "models", "batching"},
    {"capture", "tasks"},
    {"verification", "checkpoint", "source"},
    {"profiling", "training", "streaming"},
    {"generating", "describing", "hearing", "file_cases", "file_sizes"},
    {"pipelining"},
    {"exported"},
    {"exporting", "stream_file", "pipeline_file", "integration", "quantization"},
    {"file_bundle", "tuning"},
    {"cli"},
]
BASE = LEVELS[0]
LEVEL_OF = {part: number for number, level in enumerate(LEVELS) for part in level}

# Third-party modules that a part may import when it is itself imported; other parts are free.
ALLOWED_AT_IMPORT = {part: {"numpy"} for part in BASE} | {
    "c99": {"numpy"},
    "runtime": {"numpy", "onnxruntime"},
    "profiling": {"numpy", "onnxruntime"},
    "cli": {"click", "rich"},
}
HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "pandas", "matplotlib", "lightning", "sklearn")


def part_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def runs_at_import(tree: ast.Module) -> list[ast.stmt]:
    """The statements that importing a module runs: none in functions or under TYPE_CHECKING."""
    found: list[ast.stmt] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.stmt):
            found.append(node)
        waiting += ast.iter_child_nodes(node)
    return found


def imported_modules(statements: list[ast.stmt]) -> list[str]:
    modules = []
    for statement in statements:
        if isinstance(statement, ast.Import):
            modules += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, "imports are absolute in this package"
            assert statement.module is not None
            if statement.module == "rnn_edge":
                modules += [f"rnn_edge.{alias.name}" for alias in statement.names]
            else:
                modules.append(statement.module)
    return modules


def all_imports(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return imported_modules([node for node in ast.walk(tree) if isinstance(node, ast.stmt)])


def parts_imported(path: Path) -> set[str]:
    return {module.split(".")[1] for module in all_imports(path) if module.startswith("rnn_edge.")}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    part = part_of(path)
    for other in parts_imported(path) - {part}:
        if part in BASE and other in BASE:
            continue
        assert LEVEL_OF[other] < LEVEL_OF[part], f"{path}: {part} must not import {other}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_core_and_runtime_import_no_optional_dependency(path: Path) -> None:
    part = part_of(path)
    if part not in ALLOWED_AT_IMPORT:
        return
    statements = runs_at_import(ast.parse(path.read_text(encoding="utf-8")))
    for module in imported_modules(statements):
        top = module.partition(".")[0]
        if top != "rnn_edge" and top not in sys.stdlib_module_names:
            assert top in ALLOWED_AT_IMPORT[part], f"{path} imports {top} when it is imported"


def test_every_part_has_its_level() -> None:
    assert {part_of(path) for path in files()} <= set(LEVEL_OF)


@pytest.mark.parametrize(
    "module",
    [
        "rnn_edge",
        "rnn_edge.bundle",
        "rnn_edge.runtime",
        "rnn_edge.profiling",
        "rnn_edge.verification",
        "rnn_edge.cli.main",
    ],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = loaded_after(f"import {module}")
    assert heavy == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    heavy = loaded_after(
        "from click.testing import CliRunner\n"
        "from rnn_edge.cli.main import program\n"
        f"assert CliRunner().invoke(program, [{command!r}, '--help']).exit_code == 0\n"
    )
    assert heavy == []


def test_sessions_are_reached_without_torch() -> None:
    names = ("Session", "StreamSession", "StreamPool", "Bundle")
    assert loaded_after("\n".join(["import rnn_edge", *(f"rnn_edge.{n}" for n in names)])) == []


def loaded_after(code: str) -> list[str]:
    """The heavy modules that a fresh interpreter holds after running ``code``."""
    code += f"\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.split()


def test_a_session_loads_little_before_it_is_opened() -> None:
    """What is imported for nothing is waited for by every program that starts."""
    code = "import sys, rnn_edge; rnn_edge.Session; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("rnn_edge.")}
    assert not {name for name in ours if "c99.library" in name or "stream_" in name}
    assert not {"rnn_edge.runtime.pipeline", "rnn_edge.runtime.generation"} & ours
    assert not {"importlib.metadata", "subprocess", "PIL", "onnx", "torch"} & loaded
