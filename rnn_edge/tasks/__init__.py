"""The tasks that `rnn-edge train` knows: every file of this package that defines a Task."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

from rnn_edge.errors import DataError
from rnn_edge.extras import import_extra
from rnn_edge.tasks.task import Task


def task_summaries() -> dict[str, str]:
    """Task name -> first line of its file's docstring, read without importing the files."""
    summaries = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.ClassDef) and _is_task(node) for node in tree.body):
            summary = (ast.get_docstring(tree) or "").partition("\n")[0]
            summaries[path.stem.replace("_", "-")] = summary
    return summaries


def task_class(name: str) -> type[Task]:
    """The Task of that name. Raises DataError, or MissingExtraError where torch is absent."""
    known = task_summaries()
    if name not in known:
        raise DataError(
            f"task must be one of {', '.join(known)}, got {name!r}. Choose one of them."
        )
    import_extra("safetensors")  # of the extra that brings torch as well
    import_extra("torch")
    module = import_module(f"rnn_edge.tasks.{name.replace('-', '_')}")
    for value in vars(module).values():
        if (
            isinstance(value, type)
            and issubclass(value, Task)
            and value.__module__ == module.__name__
        ):
            return value
    raise AssertionError(f"{module.__name__} has no Task, though its source defines one")


def _is_task(node: ast.ClassDef) -> bool:
    """A subclass of Task, or of one of the abstract classes between, whose names end so too."""
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return not node.name.endswith("Task") and any(base.endswith("Task") for base in bases)
