"""The nn.Module that a callable in a Python file returns: ``path/to/file.py:callable``."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rnn_edge.code_line import CodeLine, find_code_lines, shorten
from rnn_edge.errors import SourceError
from rnn_edge.extras import import_extra

if TYPE_CHECKING:
    from torch import nn

_SOURCE = re.compile(r"(?P<path>.+\.py)(:(?P<name>[^:/\\]*))?")


def is_module_file(source: str) -> bool:
    """Whether ``source`` means a Python file, not a checkpoint folder."""
    return _SOURCE.fullmatch(source) is not None and not Path(source).is_dir()


def name_module(source: str) -> str:
    """What a module from ``source`` is called where nobody named it: as its file."""
    match = _SOURCE.fullmatch(source)
    return Path(match["path"] if match else source).stem


def load_module(source: str) -> nn.Module:
    """Run the file of ``source``, call its callable without arguments, and return the module.

    The file's own folder is importable meanwhile, and what it prints goes to stderr; ``sys.path``
    and ``sys.modules`` are as before afterwards. A DataParallel or compiled module is unwrapped.
    Random weights are the same each time. Raises SourceError, naming the line, when there is no
    such module.
    """
    random = import_extra("torch").random
    path, name = _split(source)
    with (
        _importable(path.parent),
        redirect_stdout(sys.stderr),
        random.fork_rng(devices=[]),
    ):
        random.manual_seed(0)
        try:
            namespace = _run(path)
        except (Exception, SystemExit) as error:
            raise _broken(f"{path.name} must run without an error", path, error) from error
        build = _find(namespace, path, name)
        try:
            module = build()
        except (Exception, SystemExit) as error:
            what = f"{name} in {path.name} must return a module when called without arguments"
            raise _broken(what, path, error) from error
    return _check_module(module, f"{name} in {path.name}")


@contextmanager
def importing_neighbours(source: str) -> Iterator[None]:
    """Let forward() of a module from ``source`` import files beside it while it runs."""
    if not is_module_file(source):
        yield
        return
    with _importable(_split(source)[0].parent):
        yield


def _split(source: str) -> tuple[Path, str]:
    match = _SOURCE.fullmatch(source)
    if match is None or not match["name"]:
        raise SourceError(
            "a module must be given as path/to/file.py:callable, "
            f"got {source!r}. Add the name of what returns it."
        )
    path = Path(match["path"]).resolve()
    if not path.is_file():
        raise SourceError(
            f"{match['path']} must be a Python file, there is none. Correct the path."
        )
    return path, match["name"]


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let files import their neighbours, which are forgotten afterwards: another folder may have
    files of the same names."""
    path, modules = list(sys.path), set(sys.modules)
    root = _package_root(folder)
    sys.path[:0] = dict.fromkeys([str(folder), str(root)])
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and _is_own(file, root):
                del sys.modules[name]


def _is_own(file: str, root: Path) -> bool:
    """Whether ``file`` is a neighbour, and not of an environment that lies in the same folder."""
    path = Path(file).resolve()
    return path.is_relative_to(root) and "site-packages" not in path.parts


def _package_root(folder: Path) -> Path:
    """The folder from which ``folder`` is imported: itself, or what holds its outermost package."""
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def _run(path: Path) -> ModuleType:
    package = path.parent.relative_to(_package_root(path.parent)).parts
    if package and package[0] not in sys.modules:
        return importlib.import_module(".".join([*package, path.stem]))
    # A file may be called as a module that is in use, such as random.py.
    taken = path.stem in sys.modules or path.stem in sys.stdlib_module_names
    name = f"{path.stem}_source" if taken else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _find(namespace: ModuleType, path: Path, name: str) -> Any:
    found: Any = namespace
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not None:
        return found if callable(found) and not _is_module(found) else lambda: found
    own = [
        key
        for key, value in vars(namespace).items()
        if callable(value) and getattr(value, "__module__", None) == namespace.__name__
    ]
    raise SourceError(
        f"{path.name} must define {name}, it does not. "
        f"Name one of: {', '.join(own) or 'nothing callable is defined there'}."
    )


def _is_module(value: Any) -> bool:
    return isinstance(value, import_extra("torch").nn.Module)


def _check_module(module: Any, what: str) -> nn.Module:
    torch = import_extra("torch")
    wrappers = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while isinstance(module, wrappers):
        module = module.module
    if _is_module(module) and isinstance(getattr(module, "_orig_mod", None), torch.nn.Module):
        module = module._orig_mod
    if not _is_module(module):
        kind = type(module).__name__
        raise SourceError(
            f"{what} must return a torch.nn.Module, got {kind}. Return the module itself."
        )
    checked: nn.Module = module
    return checked


def _broken(what: str, path: Path, error: BaseException) -> SourceError:
    root = _package_root(path.parent)
    lines = find_code_lines(error, lambda file: _is_own(file, root))
    if isinstance(error, SyntaxError) and error.filename:
        lines = [CodeLine(error.filename, error.lineno or 1)]
    where = f" at {lines[0]}" if lines else ""
    text = error.msg if isinstance(error, SyntaxError) else error
    return SourceError(
        f"{what}, got {type(error).__name__}: {shorten(text, 300)}{where}. Correct that line."
    )
