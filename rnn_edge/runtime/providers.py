"""Execution providers and session options of ONNX Runtime: what was asked for, or an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from rnn_edge.errors import InputError, ProviderError
from rnn_edge.extras import import_extra
from rnn_edge.runtime.cuda import CUDA_PROVIDER, cuda_obstacle

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": CUDA_PROVIDER}

# What a session may be given that pays on some machines and shapes alone.
OPTIONS = ("arena", "spinning", "pattern")

# One step of a model of this many bytes of weights is over before a second thread has woken up.
SMALL_MODEL_BYTES = 8 << 20
MOST_DEFAULT_THREADS = 4


def create_session(
    path: Path, provider: str = "cpu", threads: int | None = None, options: Sequence[str] = ()
) -> Any:
    """An ``onnxruntime.InferenceSession`` on ``provider``, with ``session_options``.

    Raises ProviderError when the provider is not there, InputError when the file does not load.
    """
    onnxruntime = import_extra("onnxruntime")
    if provider not in PROVIDERS:
        raise ProviderError(
            f"provider must be one of {', '.join(PROVIDERS)}, got {provider!r}. Choose one of them."
        )
    if provider == "cuda":
        require_cuda()
    chosen = session_options(default_threads(path) if threads is None else threads, options)
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), chosen, providers=[_with_options(provider)]
        )
    except runtime_errors() as error:
        if provider == "cuda":
            raise ProviderError(
                f"{path} must load on {CUDA_PROVIDER}, got: {short_message(error)}. "
                "Use provider 'cpu', or mend the file."
            ) from None
        raise InputError(
            f"{path} must be an ONNX file that ONNX Runtime loads, got: {short_message(error)}. "
            "Export or download it again."
        ) from None
    got = session.get_providers()
    if PROVIDERS[provider] not in got:
        raise ProviderError(
            f"{path} must run on {PROVIDERS[provider]}, ONNX Runtime offers {', '.join(got)}: "
            f"{cuda_obstacle() or 'it refused this graph'}. Mend that, or use provider 'cpu'."
        )
    return session


def session_options(threads: int, wanted: Sequence[str] = ()) -> Any:
    """Options for recurrent graphs, whose shapes change from call to call.

    ``threads`` threads inside an operator and one operator at a time; threads that wait do not
    spin; neither memory arena nor memory pattern, which only grow when every call has another
    shape, unless they are ``wanted`` ("spinning", "arena" for both, "pattern" alone). ONNX
    Runtime's own log is off: what it says comes as an error of this package.
    """
    unknown = [name for name in wanted if name not in OPTIONS]
    if unknown:
        raise InputError(
            f"options must be among {', '.join(OPTIONS)}, got {unknown[0]!r}. Correct the name."
        )
    if not isinstance(threads, int) or threads < 1:
        raise InputError(
            f"threads must be a whole number of at least 1, got {threads!r}. Lower it."
        )
    options = import_extra("onnxruntime").SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", str(int("spinning" in wanted))
    )
    options.enable_cpu_mem_arena = "arena" in wanted
    options.enable_mem_pattern = not {"arena", "pattern"}.isdisjoint(wanted)
    options.log_severity_level = 4
    return options


def default_threads(path: Path) -> int:
    """1 for a file under SMALL_MODEL_BYTES, else the cores this process may use, at most 4.

    ONNX Runtime's own default counts the machine's cores and ignores affinity.
    """
    if path.stat().st_size < SMALL_MODEL_BYTES:
        return 1
    return min(usable_cores(), MOST_DEFAULT_THREADS)


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_cuda() -> None:
    """Raise ProviderError, naming what is missing, unless the CUDA provider can be loaded."""
    obstacle = cuda_obstacle()
    if obstacle is not None:
        raise ProviderError(
            f"provider 'cuda' must be available, got: {obstacle}. Mend that, or use provider 'cpu'."
        )


def runtime_errors() -> tuple[type[Exception], ...]:
    """The exceptions that ONNX Runtime raises; they share no base class of their own."""
    state = import_extra("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    return (*own, RuntimeError, ValueError, TypeError, MemoryError)


@cache
def run_options() -> Any:
    """What every run is given: left out, ONNX Runtime makes the same anew each time, which takes it
    a seventh of a small model's step."""
    return import_extra("onnxruntime").RunOptions()


def bound_run(session: Any, binding: Any) -> Callable[[], None]:
    """A function that runs ``session`` with an io_binding, as run_with_iobinding does.

    That method's own preparations cost a third of a small model's step, and concern WebGPU alone;
    they are left out where the session lets them be.
    """
    try:
        return partial(session._sess.run_with_iobinding, binding._iobinding, run_options())
    except AttributeError:
        return partial(session.run_with_iobinding, binding)


def plain_run(session: Any, names: list[str]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """A function that runs ``session``, as its ``run`` does, less what that looks at beforehand.

    Inputs are checked before; what is left out costs as much as a sixth of a small run.
    """
    inner = getattr(session, "_sess", None)
    if inner is None:
        return partial(session.run, names)
    return lambda feed: inner.run(names, feed, run_options())


def short_message(error: BaseException, limit: int = 300) -> str:
    """An exception's text in one line, without the prefix ``[ONNXRuntimeError] : 7 : FAIL :``."""
    text = " ".join(str(error).split()) or type(error).__name__
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    text = text.rstrip(". ")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _with_options(provider: str) -> Any:
    # TF32 keeps 10 bits of mantissa: with it the answers are not those that were verified.
    options = {"use_tf32": "0"} if provider == "cuda" else {}
    return (PROVIDERS[provider], options)
