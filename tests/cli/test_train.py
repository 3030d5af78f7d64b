"""The train command: tasks as subcommands, results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from inspect import isabstract
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import rnn_edge.tasks
from rnn_edge.cli.main import program
from rnn_edge.tasks import task_class, task_summaries
from rnn_edge.tasks.task import Task

TINY = ("--epochs", "1", "--hidden-size", "2")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(program, ["train", *map(str, arguments)])


def holds_a_task(stem: str) -> bool:
    values = vars(import_module(f"rnn_edge.tasks.{stem}")).values()
    found = [value for value in values if isinstance(value, type) and issubclass(value, Task)]
    return any(value.__module__.endswith(stem) and not isabstract(value) for value in found)


def test_the_group_lists_every_task_in_one_line_the_first_of_its_file() -> None:
    output = [" ".join(line.split()) for line in call("--help").output.splitlines()]
    for path in (Path(rnn_edge.tasks.__file__).parent).glob("*.py"):
        if holds_a_task(path.stem):
            first = path.read_text(encoding="utf-8").split('"""')[1].split("\n")[0]
            assert f"{path.stem.replace('_', '-')} {first}" in output


def test_help_of_the_group_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from rnn_edge.cli.main import program\n"
        "assert CliRunner().invoke(program, ['train', '--help']).exit_code == 0\n"
        "assert not {'torch', 'lightning', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sorted(task_summaries()))
def test_help_of_a_task_shows_shared_and_own_options_and_ends_with_an_example(name: str) -> None:
    output = call(name, "--help").output
    task = task_class(name)
    for option in ("data", "cell", "hidden_size", "lr", "resume", *(o.name for o in task.options)):
        assert f"--{option.replace('_', '-')}" in output
    assert ("--bidirectional" in output) != task.causal
    assert ("--plot" in output) == (name != "language-model")
    assert f"Example: rnn-edge train {name}" in output


def test_a_new_file_is_a_new_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "tasks"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sorting.py").write_text('"""Sort."""\nclass Sorting(Task): ...\n')
    (package / "ranking.py").write_text('"""Rank."""\nclass Ranking(SortingTask): ...\n')
    (package / "order.py").write_text('"""Order."""\nclass SortingTask(Task): ...\n')
    (package / "helper.py").write_text('"""Help."""\nclass Helper: ...\n')
    monkeypatch.setattr(rnn_edge.tasks, "__file__", str(package / "__init__.py"))
    assert task_summaries() == {"ranking": "Rank.", "sorting": "Sort."}


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path: Path) -> None:
    result = call("forecast", *TINY, "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert "last value" in result.stdout
    assert str(tmp_path / "run") in result.stdout
    assert "epoch 1/1" in result.stderr
    assert "epoch 1/1" not in result.stdout


def test_json_is_one_document_with_the_scores_of_the_checkpoint(tmp_path: Path) -> None:
    result = call("forecast", *TINY, "-o", tmp_path / "run", "--json", "--quiet")
    document = json.loads(result.stdout)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert document["checkpoint"] == str(tmp_path / "run")
    assert document["metrics"] == config["metrics"]
    assert result.stderr == ""


def test_options_reach_the_model_and_the_training(tmp_path: Path) -> None:
    call(
        *("forecast", *TINY, "-o", tmp_path / "run", "--cell", "rnn-relu", "--num-layers", 2),
        *("--optimizer", "sgd", "--momentum", 0.5, "--window", 6, "--seed", 7, "--quiet"),
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["cell"] == "rnn-relu"
    assert (config["model"]["num_layers"], config["model"]["hidden_size"]) == (2, 2)
    assert (config["training"]["optimizer"], config["training"]["momentum"]) == ("sgd", 0.5)
    assert (config["training"]["seed"], config["own"]["window"]) == (7, 6)


def test_resume_continues_in_the_same_folder(tmp_path: Path) -> None:
    call("forecast", *TINY, "-o", tmp_path / "run")
    result = call("forecast", "--resume", tmp_path / "run", "--epochs", 3)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["epochs"] == 3
    assert "epoch 1/3" not in result.stderr


def test_a_data_set_brings_its_own_defaults(tmp_path: Path) -> None:
    assert "default: (32; sine: 16)" in " ".join(call("forecast", "--help").output.split())
    call("forecast", "--epochs", 1, "-o", tmp_path / "run", "--quiet")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["hidden_size"] == 16


def test_early_stopping_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    call(
        *("forecast", *TINY, "-o", tmp_path / "run", "--epochs", 50, "--patience", 2),
        *("--lr", 0, "--keep", "best", "--quiet"),
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["epochs"], config["kept_epoch"]) == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["juggle"], 2, "No such command 'juggle'"),
        (["forecast", "--cell", "transformer"], 2, "'transformer' is not one of"),
        (["forecast", "--hidden-size", "0"], 2, "0 is not in the range"),
        (["forecast", "--dropout", "1"], 2, "1.0 is not in the range"),
        (["forecast", "--bidirectional"], 2, "No such option"),
        (["forecast", "--window", "0"], 2, "0 is not in the range"),
        (["images", "--label-smoothing", "1"], 2, "1.0 is not in the range"),
        (["sentiment", "--token-dropout", "1.5"], 2, "1.5 is not in the range"),
        (["language-model", "--token-dropout", "-1"], 2, "-1.0 is not in the range"),
        (["forecast", "--data", "absent.csv"], 1, "absent.csv must be a file that can be read"),
        (["images", "--data", "absent"], 1, "absent must be a folder that can be read"),
        (["forecast", "--resume", "absent"], 1, "must be a folder with a config.json"),
        (["forecast", "--lr", "1e30", "--epochs", "3"], 1, "loss must stay finite"),
    ],
)
def test_failures_are_one_line_and_write_nothing(
    place: Path, arguments: list[str], code: int, message: str
) -> None:
    result = call(*arguments, "-o", "run")
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert list(place.iterdir()) == []


def test_a_failed_run_leaves_the_checkpoint_that_stood_there(tmp_path: Path) -> None:
    call("forecast", *TINY, "-o", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = call("forecast", "--lr", "1e30", "--epochs", "3", "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_training_leaves_nothing_but_the_checkpoint(place: Path) -> None:
    assert call("forecast", *TINY).exit_code == 0
    assert [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_dir()] == [
        "checkpoints",
        "checkpoints/forecast",
    ]
