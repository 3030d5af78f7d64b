"""A folder is replaced whole: the old one or the new one, at any moment."""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnn_edge import folder as folder_module
from rnn_edge.folder import replace_folder

# Writes generation after generation, as fast as it can; every file of one holds the same number.
WRITER = """
import itertools, sys
from pathlib import Path
from rnn_edge.folder import replace_folder

def fill(folder):
    (folder / "inner").mkdir()
    for name in ("a", "b", "inner/c"):
        (folder / name).write_text(str(generation) * 2000)

for generation in itertools.count(1):
    replace_folder(Path(sys.argv[1]), fill)
    print(generation, flush=True)
"""


def write_word(word: str):
    def fill(folder: Path) -> None:
        (folder / "word").write_text(word)

    return fill


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder that this process may read but not write, even where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield place
        finally:
            os.seteuid(user)
            place.chmod(0o755)


def test_new_folder_appears_with_what_was_written(tmp_path: Path) -> None:
    replace_folder(tmp_path / "deep" / "target", write_word("new"))
    assert (tmp_path / "deep" / "target" / "word").read_text() == "new"


def test_files_of_the_old_folder_do_not_survive(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("old")
    replace_folder(target, write_word("new"))
    assert names_in(target) == ["word"]
    assert names_in(tmp_path) == ["target"]


def test_failure_while_filling_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "target"
    replace_folder(target, write_word("old"))

    def fail(folder: Path) -> None:
        (folder / "word").write_text("half")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        replace_folder(target, fail)
    assert (target / "word").read_text() == "old"
    assert names_in(tmp_path) == ["target"]


def test_failure_while_filling_leaves_no_new_folder(tmp_path: Path) -> None:
    def interrupt(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_folder(tmp_path / "target", interrupt)
    assert names_in(tmp_path) == []


def test_killed_at_any_moment_the_folder_is_one_whole_generation(tmp_path: Path) -> None:
    target = tmp_path / "target"
    moments = random.Random(0)
    for _ in range(25):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        # The line says that writing has begun; the kill then comes anywhere within a generation.
        child.stdout.readline()
        time.sleep(moments.uniform(0, 0.02))
        child.kill()
        said = child.communicate()[0].split()

        contents = [(target / name).read_text() for name in ("a", "b", "inner/c")]
        assert len(set(contents)) == 1
        generation = contents[0][: len(contents[0]) // 2000]
        assert contents[0] == generation * 2000
        if said:
            assert int(generation) >= int(said[-1])


def test_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / "target"
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path\n"
            "from rnn_edge.folder import replace_folder\n"
            "def fill(folder): print(folder.name, flush=True); time.sleep(60)\n"
            "replace_folder(Path(sys.argv[1]), fill)",
            str(target),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    stray = child.stdout.readline().strip()
    child.kill()
    child.communicate()
    assert names_in(tmp_path) == [stray]
    replace_folder(target, write_word("new"))
    assert names_in(tmp_path) == ["target"]


def test_temporaries_of_running_writers_and_other_targets_stay(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    gone = child.pid
    running = f".target.{os.getpid()}.abcd1234.partial"
    of_another_target = f".target.{gone}.{gone}.abcd1234.partial"
    for name in (running, of_another_target, f".target.{gone}.abcd1234.partial"):
        (tmp_path / name).mkdir()
    replace_folder(tmp_path / "target", write_word("new"))
    assert names_in(tmp_path) == sorted([running, of_another_target, "target"])


def test_name_with_pattern_characters_is_cleaned_too(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    (tmp_path / f".a[1]*.{child.pid}.abcd1234.partial").mkdir()
    replace_folder(tmp_path / "a[1]*", write_word("new"))
    assert names_in(tmp_path) == ["a[1]*"]


def test_link_is_replaced_and_what_it_pointed_at_stays(tmp_path: Path) -> None:
    replace_folder(tmp_path / "elsewhere", write_word("kept"))
    (tmp_path / "target").symlink_to(tmp_path / "elsewhere")
    replace_folder(tmp_path / "target", write_word("new"))
    assert (tmp_path / "target" / "word").read_text() == "new"
    assert (tmp_path / "elsewhere" / "word").read_text() == "kept"
    assert names_in(tmp_path) == ["elsewhere", "target"]


def test_file_at_the_target_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("a file")
    with pytest.raises(NotADirectoryError):
        replace_folder(tmp_path / "target", write_word("new"))
    assert (tmp_path / "target").read_text() == "a file"
    assert names_in(tmp_path) == ["target"]


def test_unwritable_parent_raises_before_fill(ordinary_user: Path) -> None:
    def never(folder: Path) -> None:
        pytest.fail("fill was called")

    with pytest.raises(PermissionError):
        replace_folder(ordinary_user / "target", never)
    assert names_in(ordinary_user) == []


def test_without_an_atomic_exchange_the_folder_is_still_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "_exchange_in_one_step", lambda one, other: False)
    replace_folder(tmp_path / "target", write_word("old"))
    replace_folder(tmp_path / "target", write_word("new"))
    assert (tmp_path / "target" / "word").read_text() == "new"
    assert names_in(tmp_path) == ["target"]


def test_target_set_aside_by_a_killed_writer_comes_back(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    replace_folder(tmp_path / f".target.{child.pid}.abcd1234.aside", write_word("old"))

    def fail(folder: Path) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_folder(tmp_path / "target", fail)
    assert (tmp_path / "target" / "word").read_text() == "old"


def test_failed_rename_without_an_atomic_exchange_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    replace_folder(target, write_word("old"))
    monkeypatch.setattr(folder_module, "_exchange_in_one_step", lambda one, other: False)
    rename = Path.rename

    def refuse_partial(path: Path, other: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError("no")
        return rename(path, other)

    monkeypatch.setattr(Path, "rename", refuse_partial)
    with pytest.raises(OSError, match="no"):
        replace_folder(target, write_word("new"))
    assert (target / "word").read_text() == "old"
