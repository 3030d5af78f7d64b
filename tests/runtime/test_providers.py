import ctypes

import onnxruntime
import pytest

from rnn_edge.errors import ProviderError
from rnn_edge.runtime import Session, cuda, providers

BOTH = [cuda.CUDA_PROVIDER, "CPUExecutionProvider"]


def test_an_unknown_provider_is_refused(series_bundle):
    with pytest.raises(ProviderError, match="provider must be one of cpu, cuda, got 'tpu'"):
        Session(series_bundle, "tpu")


def test_cuda_with_the_cpu_build_names_the_package_that_is_missing(series_bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="onnxruntime-gpu is not installed") as info:
        Session(series_bundle, "cuda")
    assert "pip install 'rnn-edge[gpu]'" in str(info.value)


class Driver:
    """Stands for NVIDIA's driver; ``error`` is what it answers."""

    def __init__(self, error: int) -> None:
        self.error = error

    def cuInit(self, flags: int) -> int:  # noqa: N802 (the driver's own name)
        return self.error


@pytest.fixture
def gpu_build(monkeypatch):
    """A machine whose libraries are all there, but those named ``missing``; gives that list."""
    missing: dict[str, int] = {"error": 0}

    def load(name: str) -> Driver:
        if name in missing:
            raise OSError(f"{name}: cannot open shared object file")
        return Driver(missing["error"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: BOTH)
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("noise"))
    monkeypatch.setattr(cuda, "_DRIVER", "driver")
    monkeypatch.setattr(cuda.os, "name", "posix")
    monkeypatch.setattr(ctypes, "CDLL", load)
    return missing


def test_cuda_is_available_where_driver_and_libraries_load(gpu_build, capsys):
    assert cuda.cuda_obstacle() is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("library", ["libcublas.so.13", "libcurand.so.10", "libcudnn.so.9"])
def test_cuda_with_a_library_missing_names_that_library(gpu_build, series_bundle, library):
    gpu_build[library] = 1
    with pytest.raises(ProviderError, match=f"got: {library} does not load") as info:
        Session(series_bundle, "cuda")
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in str(info.value)


def test_cuda_without_a_driver_names_the_driver(gpu_build, series_bundle):
    gpu_build["driver"] = 1
    with pytest.raises(ProviderError, match="the NVIDIA driver does not load"):
        Session(series_bundle, "cuda")


def test_cuda_without_a_device_says_so(gpu_build, series_bundle):
    gpu_build["error"] = 100
    with pytest.raises(ProviderError, match=r"finds no GPU that it can use \(CUDA error 100\)"):
        Session(series_bundle, "cuda")


def test_a_fall_back_to_the_cpu_is_an_error(series_bundle, monkeypatch):
    # ONNX Runtime only warns when the provider that was asked for is not there.
    monkeypatch.setattr(providers, "cuda_obstacle", lambda: None)
    monkeypatch.setattr(providers, "_with_options", lambda _: "CPUExecutionProvider")
    with pytest.raises(ProviderError, match="must run on CUDAExecutionProvider"):
        Session(series_bundle, "cuda")


def test_a_small_model_gets_one_thread_and_a_large_one_the_cores_it_may_use(tmp_path, monkeypatch):
    monkeypatch.setattr(providers, "usable_cores", lambda: 3)
    path = tmp_path / "w"
    path.write_bytes(b"")
    assert providers.default_threads(path) == 1
    with path.open("wb") as file:
        file.truncate(providers.SMALL_MODEL_BYTES)
    assert providers.default_threads(path) == 3
    monkeypatch.setattr(providers, "usable_cores", lambda: 64)
    assert providers.default_threads(path) == 4


def test_threads_reach_onnxruntime(series_bundle):
    options = Session(series_bundle, threads=2).native.get_session_options()
    assert options.intra_op_num_threads == 2


def test_short_message_is_one_line_without_codes():
    error = RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got\n  wrong : x. ")
    assert providers.short_message(error) == "Got wrong : x"
