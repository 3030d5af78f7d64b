"""The program around the commands: help, exit codes, one-line errors."""

import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from rnn_edge.cli import main as main_module
from rnn_edge.cli.main import COMMANDS, program
from rnn_edge.errors import InputError
from rnn_edge.version import VERSION


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from rnn_edge.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def with_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Put a command of the test's own in the program."""

    def put(body: Callable[[], object]) -> None:
        command = click.command("broken")(body)
        monkeypatch.setattr(main_module.Program, "get_command", lambda self, ctx, name: command)
        monkeypatch.setattr(sys, "argv", ["rnn-edge", "broken"])

    return put


def commands() -> dict[str, click.Command]:
    """Every command by what is typed to call it; ``train TASK`` is one for each task."""
    found = {}
    for name in COMMANDS:
        context = click.Context(program)
        command = program.get_command(context, name)
        assert command is not None
        found[name] = command
        if isinstance(command, click.Group):
            for task in command.list_commands(context):
                inner = command.get_command(context, task)
                assert inner is not None
                found[f"{name} {task}"] = inner
    return found


ALL_COMMANDS = commands()
RUNNABLE = [name for name, command in ALL_COMMANDS.items() if not isinstance(command, click.Group)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["trian", "forecast"], "train"),
        (["train", "forcast"], "forecast"),
        (["profil"], "profile"),
        (["integrate", "x", "--host", "nodejs"], "node"),
        (["quantize", "x", "--weights", "int-8"], "int8"),
        (["run", "x", "y", "--engine", "onnx-runtime"], "onnxruntime"),
        (["run", "x", "y", "--provider", "cude"], "cuda"),
        (["profile", "x", "--against", "torch,openvin"], "openvino"),
        (["train", "forecast", "--cell", "lsmt"], "lstm"),
    ],
)
def test_a_mistyped_name_is_told_what_was_meant(typed: list[str], meant: str) -> None:
    result = CliRunner().invoke(program, typed)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith(f"Did you mean {meant}?")


@pytest.mark.parametrize("typed", [["xyzzy"], ["integrate", "x", "--host", "xyzzy"]])
def test_a_name_like_no_other_is_just_refused(typed: list[str]) -> None:
    result = CliRunner().invoke(program, typed)
    assert result.exit_code == 2
    assert "Did you mean" not in result.stderr


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_help_of_every_command_ends_with_an_example(name: str) -> None:
    assert CliRunner().invoke(program, [*name.split(), "--help"]).exit_code == 0
    text = ALL_COMMANDS[name].help
    assert text is not None
    last = text.strip().split("\n\n")[-1].removeprefix("\b").strip()
    assert last.startswith(f"Example: rnn-edge {name}")


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_command_has_json(name: str) -> None:
    parameters = ALL_COMMANDS[name].params
    assert "--json" in [option for parameter in parameters for option in parameter.opts]


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_option_of_every_command_has_help(name: str) -> None:
    for parameter in ALL_COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no help"


def test_program_help_lists_every_command() -> None:
    output = CliRunner().invoke(program, ["--help"]).output
    for name in COMMANDS:
        assert f"\n  {name} " in output
    assert "Example: rnn-edge" in output


def test_version_is_printed() -> None:
    assert run_program("--version").stdout == f"rnn-edge, version {VERSION}\n"


def test_unknown_command_is_a_usage_error() -> None:
    result = run_program("trian")
    assert result.returncode == 2
    assert "No such command 'trian'" in result.stderr
    assert result.stdout == ""


def test_unknown_option_is_a_usage_error() -> None:
    assert run_program("--fast").returncode == 2


@pytest.mark.parametrize("name", ["verify", "run", "profile", "inspect"])
def test_missing_bundle_is_one_line_and_exit_1(name: str) -> None:
    arguments = [name, "no/such/bundle", *(["1,2"] if name == "run" else [])]
    result = run_program(*arguments)
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "no/such/bundle" in result.stderr


def test_library_error_is_one_line_even_if_its_message_is_not(
    with_command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise InputError("x must be finite,\n  got nan. Remove it.")

    with_command(body)
    with pytest.raises(SystemExit) as exit_info:
        main_module.main()
    assert exit_info.value.code == 1
    assert capsys.readouterr().err == "Error: x must be finite, got nan. Remove it.\n"


def test_interrupt_is_exit_130(
    with_command: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    with_command(body)
    with pytest.raises(SystemExit) as exit_info:
        main_module.main()
    assert exit_info.value.code == 130
    assert "Interrupted." in capsys.readouterr().err


def test_defect_of_ours_keeps_its_traceback(
    with_command: Callable[[Callable[[], object]], None],
) -> None:
    def body() -> None:
        raise ZeroDivisionError

    with_command(body)
    with pytest.raises(ZeroDivisionError):
        main_module.main()


def test_success_is_exit_0(with_command: Callable[[Callable[[], object]], None]) -> None:
    with_command(lambda: None)
    with pytest.raises(SystemExit) as exit_info:
        main_module.main()
    assert exit_info.value.code == 0


def test_reader_that_leaves_early_causes_no_complaint() -> None:
    code = "from rnn_edge.cli.main import main; main()"
    child = subprocess.run(
        f"{sys.executable} -c '{code}' --help | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.stderr == ""
