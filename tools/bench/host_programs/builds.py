"""Each host's program, built: a command that times steps, and the bytes that an app ships."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate, java, rust
from rnn_edge.integration.wrapped import Wrapping, package_name
from rnn_edge.rendering import render

DRIVERS = Path(__file__).parent / "drivers"
INSTALLED = Path(__file__).parents[3] / "build" / "hosts"


@dataclass(frozen=True)
class Built:
    """``command``, run in ``folder``, takes counts of steps on standard input and prints
    microseconds a step. ``own`` bytes are the program's with the model in it or beside it,
    ``runtime`` bytes those of what it runs on."""

    command: tuple[str, ...]
    folder: Path
    own: int
    runtime: int


class MissingToolError(Exception):
    """What a host is built with is not on this machine."""


def build_python(bundle: Bundle, folder: Path) -> Built:
    return _python(bundle, folder, "onnxruntime")


def build_python_c(bundle: Bundle, folder: Path) -> Built:
    return _python(bundle, folder, "c")


def _python(bundle: Bundle, folder: Path, engine: str) -> Built:
    command = sys.executable, str(DRIVERS / "python.py"), str(bundle.path.resolve()), engine
    return Built(command, folder, 0, 0)


def build_c(bundle: Bundle, folder: Path) -> Built:
    compiler = _need("gcc")
    integrate(bundle, "c", folder)
    sources = sorted(path.name for path in folder.glob("*.c") if path.name != "main.c")
    link = _onnxruntime(folder)
    for driver in ("latency.c", "main.c"):
        if not (folder / driver).exists():
            shutil.copyfile(DRIVERS / driver, folder / driver)
        name = driver.removesuffix(".c")
        _call(
            [compiler, "-O3", "-I.", *link[:-2], driver, *sources, *link[-2:], "-o", name], folder
        )
    return _with_runtime(bundle, folder)


def build_cpp(bundle: Bundle, folder: Path) -> Built:
    compiler, linker = _need("gcc"), _need("g++")
    integrate(bundle, "cpp", folder)
    link = _onnxruntime(folder)
    shutil.copyfile(DRIVERS / "latency.cpp", folder / "latency.cpp")
    for source in sorted((folder / "core").glob("*.c")):
        command = [
            compiler,
            "-O3",
            "-c",
            *link[:-2],
            f"core/{source.name}",
            "-o",
            f"{source.stem}.o",
        ]
        _call(command, folder)
    objects = sorted(path.name for path in folder.glob("*.o"))
    for driver in ("latency", "main"):
        given = [f"{driver}.cpp", "model.cpp", *objects]
        command = [linker, "-std=c++17", "-O3", "-I.", "-Icore", *link[:-2], *given, *link[-2:]]
        _call([*command, "-o", driver], folder)
    return _with_runtime(bundle, folder)


def _with_runtime(bundle: Bundle, folder: Path) -> Built:
    own = _stripped(folder / "main") + _graphs(bundle)
    return Built(("./latency", str(bundle.path.resolve())), folder, own, _library().stat().st_size)


def build_c99(bundle: Bundle, folder: Path) -> Built:
    compiler = _need("gcc")
    integrate(bundle, "c99", folder)
    made = Wrapping.of(bundle, False)
    driver = render(DRIVERS / "latency99.c.jinja", made.values(lambda _: {}))
    (folder / "latency.c").write_text(driver, encoding="utf-8")
    prefix = made.generated.prefix.upper()
    flags = "-std=c99", "-O3", "-ffp-contract=fast", f"-D{prefix}_OWN_MATH=1"
    _call([compiler, *flags, "-c", "model.c"], folder)
    _call([compiler, *flags, "latency.c", "model.o", "-lm", "-o", "latency"], folder)
    return Built(("./latency",), folder, _sections(folder / "model.o"), 0)


def build_rust(bundle: Bundle, folder: Path) -> Built:
    cargo = _need("cargo")
    integrate(bundle, "rust", folder)
    made = Wrapping.of(bundle, False)
    crate = package_name(made.generated.name, rust.KEYWORDS)
    values = made.values(rust.describe) | {"crate": crate}
    (folder / "src" / "bin").mkdir()
    driver = render(DRIVERS / "latency.rs.jinja", values)
    (folder / "src" / "bin" / "latency.rs").write_text(driver, encoding="utf-8")
    _call([cargo, "build", "--release", "--offline", "-q"], folder)
    program = folder / "target" / "release" / "latency"
    return Built((str(program),), folder, _stripped(program), 0)


def build_java(bundle: Bundle, folder: Path) -> Built:
    _need("javac")
    integrate(bundle, "java", folder)
    made = Wrapping.of(bundle, False)
    package = package_name(made.generated.name, java.KEYWORDS)
    values = made.values(java.describe) | {"java_package": package}
    driver = folder / "src" / package / "Latency.java"
    driver.write_text(render(DRIVERS / "Latency.java.jinja", values), encoding="utf-8")
    _call(["make", "-s"], folder)
    (library,) = (folder / "build").glob("lib*")
    own = _stripped(library) + (folder / "build/classes" / package / "Model.class").stat().st_size
    command = "java", "-Djava.library.path=build", "-cp", "build/classes", f"{package}.Latency"
    return Built(command, folder, own, 0)


def build_node(bundle: Bundle, folder: Path) -> Built:
    node = _javascript(bundle, folder, "node")
    runtime = _bytes(INSTALLED.glob("node_modules/onnxruntime-node/bin/napi-v*/linux/x64/*"))
    return Built((node, "latency.js"), folder, _scripts(folder) + _graphs(bundle), runtime)


def build_web(bundle: Bundle, folder: Path) -> Built:
    node, browser = _javascript(bundle, folder, "web"), _need("chromium")
    dist = INSTALLED / "node_modules/onnxruntime-web/dist"
    runtime = _bytes(dist / f"ort{name}" for name in (".wasm.min.mjs", "-wasm-simd-threaded.wasm"))
    own = _scripts(folder) + _graphs(bundle)
    return Built((node, "latency.js", browser), folder, own, runtime)


def _javascript(bundle: Bundle, folder: Path, host: str) -> str:
    node = _need("node", INSTALLED / "node_modules")
    integrate(bundle, host, folder)
    (folder / "node_modules").symlink_to(INSTALLED / "node_modules")
    shutil.copyfile(DRIVERS / "steps.js", folder / "steps.js")
    shutil.copyfile(DRIVERS / f"{host}.js", folder / "latency.js")
    return node


#: What takes part, by the name that `rnn-edge integrate --host` takes; ours in Python first.
BUILDS: dict[str, Callable[[Bundle, Path], Built]] = {
    "python": build_python,
    "python, engine c": build_python_c,
    "c": build_c,
    "cpp": build_cpp,
    "c99": build_c99,
    "rust": build_rust,
    "java": build_java,
    "node": build_node,
    "web": build_web,
}


def _need(command: str, *files: Path) -> str:
    missing = [str(path) for path in files if not path.exists()]
    found = shutil.which(command)
    if found is None or missing:
        raise MissingToolError(", ".join(missing or [command]))
    return found


def _call(command: list[str], folder: Path) -> None:
    child = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(f"{command} in {folder}: {child.stderr}")


def _onnxruntime(folder: Path) -> list[str]:
    """Flags: where the headers are, and last the library of the wheel with its place."""
    headers = INSTALLED / "onnxruntime" / "include"
    _need("gcc", headers)
    place = folder / "lib"
    place.mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (place / name).symlink_to(_library())
    return [f"-I{headers}", f"-L{place}", f"-Wl,-rpath,{place}", "-lonnxruntime", "-lm"]


def _library() -> Path:
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*.*.*")
    return library


def _graphs(bundle: Bundle) -> int:
    return _bytes(bundle.path / graph.file for graph in bundle.contract.graphs.values())


def _scripts(folder: Path) -> int:
    kept = {".js", ".html", ".css"}
    own = [*folder.glob("*"), *folder.glob("lib/*")]
    drivers = "latency.js", "steps.js"
    return _bytes(path for path in own if path.suffix in kept and path.name not in drivers)


def _stripped(program: Path) -> int:
    bare = program.with_name(f"{program.name}.stripped")
    _call(["strip", "-o", str(bare), str(program)], program.parent)
    return bare.stat().st_size


def _sections(thing: Path) -> int:
    """Code and tables of an object file."""
    told = subprocess.run(["size", str(thing)], capture_output=True, text=True, check=True).stdout
    text, data, *_ = told.splitlines()[1].split()
    return int(text) + int(data)


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
