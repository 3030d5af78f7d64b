"""A callable in a Python file gives its module, and leaves this process as it was."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from rnn_edge.errors import SourceError
from rnn_edge.source.module_file import load_module

NET = """
from torch import nn
{first}

class Net(nn.Module):
    def __init__(self, hidden=3):
        super().__init__()
        self.core = nn.GRU(2, hidden)

    def forward(self, x):
        return self.core(x)[0]

class Nets:
    wide = staticmethod(lambda: Net(7))

def build():
    {body}

ready = Net(5)

if __name__ == "__main__":
    raise SystemExit("the program part ran")
"""


def write(folder: Path, first: str = "", body: str = "return Net(4)", name: str = "net.py") -> str:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(NET.format(first=first, body=body))
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "hidden"), [("build", 4), ("Net", 3), ("ready", 5), ("Nets.wide", 7)]
)
def test_function_class_instance_and_attribute_give_a_module(
    name: str, hidden: int, tmp_path: Path
) -> None:
    module = load_module(f"{write(tmp_path)}:{name}")
    assert module(torch.ones(4, 1, 2)).shape == (4, 1, hidden)


@pytest.mark.parametrize("wrapper", ["nn.DataParallel", "__import__('torch').compile"])
def test_wrapped_modules_are_unwrapped(wrapper: str, tmp_path: Path) -> None:
    source = write(tmp_path, body=f"return {wrapper}(Net(4))")
    assert type(load_module(f"{source}:build")).__name__ == "Net"


def test_random_weights_are_the_same_each_time_and_leave_the_generator(tmp_path: Path) -> None:
    source = write(tmp_path)
    state = torch.get_rng_state()
    one, other = load_module(f"{source}:build"), load_module(f"{source}:build")
    x = torch.linspace(0, 1, 6).reshape(3, 1, 2)
    assert torch.equal(one(x), other(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_neighbours_of_two_folders_with_the_same_names_are_kept_apart(tmp_path: Path) -> None:
    modules = []
    for hidden in (2, 6):
        folder = tmp_path / str(hidden)
        source = write(folder, "from sizes import HIDDEN", "return Net(HIDDEN)")
        (folder / "sizes.py").write_text(f"HIDDEN = {hidden}\n")
        modules.append(load_module(f"{source}:build"))
    assert [module.core.hidden_size for module in modules] == [2, 6]


def test_neighbours_may_be_imported_by_the_callable(tmp_path: Path) -> None:
    source = write(tmp_path, body="from sizes import HIDDEN; return Net(HIDDEN)")
    (tmp_path / "sizes.py").write_text("HIDDEN = 9\n")
    assert load_module(f"{source}:build").core.hidden_size == 9


def test_a_file_of_a_package_may_import_relatively(tmp_path: Path) -> None:
    folder = tmp_path / "speech_nets" / "taggers"
    source = write(folder, "from ..sizes import HIDDEN", "return Net(HIDDEN)")
    (folder / "__init__.py").touch()
    (folder.parent / "__init__.py").touch()
    (folder.parent / "sizes.py").write_text("HIDDEN = 8\n")
    assert load_module(f"{source}:build").core.hidden_size == 8


def test_path_and_modules_are_as_before_also_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "sizes.py").write_text("HIDDEN = 9\n")
    path, modules = list(sys.path), set(sys.modules)
    for body in ("return Net(HIDDEN)", "raise ValueError"):
        source = write(tmp_path, "import sys; sys.path.append('/'); from sizes import *", body)
        with suppress(SourceError):
            load_module(f"{source}:build")
        assert sys.path == path
        assert not {"net", "sizes"} & (set(sys.modules) - modules)


@pytest.mark.parametrize("name", ["random.py", "torch.py", "rnn_edge.py"])
def test_a_file_may_be_called_as_a_module_in_use(name: str, tmp_path: Path) -> None:
    before = sys.modules.get(Path(name).stem)
    assert load_module(f"{write(tmp_path, name=name)}:build") is not None
    assert sys.modules.get(Path(name).stem) is before


def test_what_the_file_prints_goes_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_module(f"{write(tmp_path, 'print(1)', 'print(2); return Net()')}:build")
    assert capsys.readouterr() == ("", "1\n2\n")


@pytest.mark.parametrize(
    ("first", "body", "message"),
    [
        (
            "import nowhere",
            "pass",
            "got ModuleNotFoundError: No module named 'nowhere' at net.py:3.",
        ),
        ("x = (1", "pass", "net.py must run without an error, got SyntaxError: .* at net.py:3."),
        ("raise SystemExit(2)", "pass", "got SystemExit: 2 at net.py:3."),
        ("", "return 1 / 0", "called without arguments, got ZeroDivisionError: .* at net.py:17."),
        ("", "return 'seven'", "build in net.py must return a torch.nn.Module, got str."),
    ],
)
def test_errors_name_the_file_and_the_line(
    first: str, body: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        load_module(f"{write(tmp_path, first, body)}:build")
    assert "\n" not in str(caught.value)


def test_an_error_in_a_neighbour_names_the_neighbour(tmp_path: Path) -> None:
    (tmp_path / "sizes.py").write_text("\n\nHIDDEN = nothing\n")
    source = write(tmp_path, "from sizes import HIDDEN")
    with pytest.raises(SourceError, match=r"NameError: .* at sizes\.py:3\."):
        load_module(f"{source}:build")


def test_a_class_that_needs_arguments_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path, "class Sized:\n    def __init__(self, size): pass\n")
    with pytest.raises(SourceError, match=r"Sized in net\.py must return a module when called"):
        load_module(f"{source}:Sized")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("net.py", "must be given as path/to/file.py:callable"),
        ("net.py:", "must be given as path/to/file.py:callable"),
        ("none.py:build", "none.py must be a Python file, there is none"),
        ("net.py:bild", "must define bild, it does not. Name one of: Net, Nets, build"),
    ],
)
def test_names_that_lead_nowhere_are_refused(source: str, message: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(SourceError, match=message):
        load_module(str(tmp_path / source))
