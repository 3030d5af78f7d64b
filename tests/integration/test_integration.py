"""Programs are written whole or not at all, and nothing that a person changed is lost."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnn_edge.bundle import Bundle
from rnn_edge.errors import BundleError, InputError, IntegrationError
from rnn_edge.integration import integrate, integration
from rnn_edge.rendering import render_folder

SINE = Path(__file__).parents[2] / "exported" / "sine"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host ``here`` that writes two files, and fails when it is told to."""

    def write(source: Bundle | Path, folder: Path, broken: bool = False) -> dict[str, str]:
        (folder / "source").mkdir()
        (folder / "source" / "main.txt").write_text(source.name)
        if broken:
            raise InputError("operator must be known, got Foo. Leave it out.")
        return {"size": "small"}

    monkeypatch.setitem(integration.HOSTS, "here", "for this test")
    monkeypatch.setattr(integration, "import_module", lambda name: SimpleNamespace(write=write))


def test_files_are_recorded_with_their_source(tmp_path: Path) -> None:
    written = integrate(SINE, "here", tmp_path / "out")
    assert written.files == ("source/main.txt",)
    assert written.about == {"size": "small"}
    record = json.loads((tmp_path / "out" / "integration.json").read_text())
    assert record["source"]["name"] == "sine"
    assert (tmp_path / "out" / "source" / "main.txt").read_text() == "sine"


def test_what_was_written_is_replaced_by_the_next_call(tmp_path: Path) -> None:
    integrate(SINE, "here", tmp_path)
    integrate(SINE / "model.onnx", "here", tmp_path)
    assert (tmp_path / "source" / "main.txt").read_text() == "model.onnx"


@pytest.mark.parametrize("name", ["source/main.txt", "source/mine.txt"])
def test_a_changed_or_added_file_is_kept(tmp_path: Path, name: str) -> None:
    integrate(SINE, "here", tmp_path)
    (tmp_path / name).write_text("mine")
    with pytest.raises(IntegrationError, match=name):
        integrate(SINE, "here", tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(IntegrationError, match="something else"):
        integrate(SINE, "here", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    integrate(SINE, "here", tmp_path / "out")
    with pytest.raises(InputError, match="Foo"):
        integrate(SINE, "here", tmp_path / "out", broken=True)
    assert (tmp_path / "out" / "source" / "main.txt").read_text() == "sine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unknown_host_and_an_absent_source_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cobol"):
        integrate(SINE, "cobol", tmp_path / "out")
    with pytest.raises(InputError, match="nothing"):
        integrate(tmp_path / "nothing.onnx", "here", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"bundle\.json"):
        integrate(tmp_path / "empty", "here", tmp_path / "out")


def test_templates_are_rendered_and_other_files_copied(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.c.jinja").write_text('{% include "_part" %}int {{ name }};\n')
    (tmp_path / "deep" / "_part").write_text("/* part */\n")
    (tmp_path / "plain.js").write_text("`${x}`")
    found = render_folder(tmp_path, {"name": "y"})
    assert found == {"deep/a.c": "/* part */\nint y;\n", "plain.js": "`${x}`"}
