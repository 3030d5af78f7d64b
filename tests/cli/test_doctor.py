import json
import os
import platform
import subprocess
import sys
from importlib import metadata

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from rnn_edge.cli.main import program
from rnn_edge.runtime import environment


def report() -> dict:
    done = CliRunner().invoke(program, ["doctor", "--json"])
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_versions_are_those_that_are_installed():
    found = report()
    assert found["python"] == platform.python_version()
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["torch"] == metadata.version("torch")
    assert found["packages"]["onnxruntime-gpu"] is None or "CUDA" in "".join(found["providers"])
    assert found["providers"] == onnxruntime.get_available_providers()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_usable_cores_follow_affinity():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}})\n"
    code += "from rnn_edge.runtime.environment import environment; print(environment()['cpu'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"'cores': {os.cpu_count()}, 'usable_cores': 1" in done.stdout


def test_cpu_features_are_those_of_the_flags(monkeypatch):
    fields = {"flags": "fpu sse4_2 avx2 avx512f avx512_vnni"}
    monkeypatch.setattr(environment, "_cpu_field", fields.get)
    assert environment.cpu_features() == ["sse4_2", "avx2", "avx512f", "avx512_vnni"]
    fields = {"Features": "fp asimd asimddp"}
    monkeypatch.setattr(environment, "_cpu_field", fields.get)
    assert environment.cpu_features() == ["asimd", "asimddp"]


def test_a_missing_module_is_named_with_its_extra(monkeypatch):
    found = environment.util.find_spec
    monkeypatch.setattr(
        environment.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    assert environment.extras()["export"] == ["torch"]


def test_without_onnxruntime_it_still_answers(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = report()
    assert found["providers"] == []
    assert found["cuda"]["available"] is False
    assert "pip install 'rnn-edge[cpu]'" in found["cuda"]["missing"]


def test_the_page_names_what_cuda_lacks(monkeypatch):
    monkeypatch.setattr(environment, "cuda_obstacle", lambda: "no driver")
    done = CliRunner().invoke(program, ["doctor"])
    assert "cuda\tnot available: no driver" in done.stdout.splitlines()


def test_torch_is_not_imported():
    code = (
        "import sys\nfrom rnn_edge.runtime.environment import environment\nenvironment()\n"
        "print({'torch', 'onnx', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
