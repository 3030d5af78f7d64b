"""Replace a folder whole: a reader, or a kill at any moment, meets the old one or the new one."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rnn_edge.errors import InputError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


def replace_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a temporary sibling of ``target``, then put it in target's place.

    Whatever ``fill`` raises passes through, and ``target`` stays as it was. Temporaries that a
    killed process left behind are removed by the next call for the same target. Raises OSError
    where the folder cannot be written, or where ``target`` is a file.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 (resolve() would follow a link at target)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_strays(target)
    prefix = f".{target.name}.{os.getpid()}."
    work = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=target.parent))
    try:
        work.chmod(0o777 & ~_umask())
        fill(work)
        for path in work.rglob("*"):
            _sync(path)
        _sync(work)
        if target.exists():
            _exchange(work, target)
        else:
            work.rename(target)
        _sync(target.parent)
    finally:
        _remove(work)


def _remove_strays(target: Path) -> None:
    """Remove what killed writers left; a target that one of them had set aside comes back."""
    mark = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.[^.]+\.(partial|aside)")
    for stray in list(target.parent.iterdir()):
        match = mark.fullmatch(stray.name)
        if match is None or _is_running(int(match[1])):
            continue
        if match[2] == "aside" and not target.exists():
            stray.rename(target)
        else:
            _remove(stray)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders in one step where the system can, else in two renames."""
    if not _exchange_in_one_step(os.fsencode(one), os.fsencode(other)):
        aside = one.with_name(one.name.replace(".partial", ".aside"))
        other.rename(aside)
        try:
            one.rename(other)
        except OSError:
            aside.rename(other)
            raise
        aside.rename(one)


def _exchange_in_one_step(one: bytes, other: bytes) -> bool:
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if sys.platform.startswith("linux") and hasattr(libc, "renameat2"):
        return bool(libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE) == 0)  # type: ignore[union-attr]
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return bool(libc.renamex_np(one, other, _RENAME_SWAP) == 0)
    return False


def _sync(path: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def replace_file(draft: Path, target: Path) -> None:
    """Copy ``draft`` to ``target``, whole or not at all. Raises InputError."""
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(draft, part)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(
            f"{target} must be a place to write a file, got: {error.strerror or error}. "
            "Choose another."
        ) from None
