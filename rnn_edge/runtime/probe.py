"""Load an unknown .onnx file in a child process first: a hostile one kills the child, not us.

ONNX Runtime can die with SIGSEGV or SIGFPE, or take all memory, while it loads a crafted file.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra

SECONDS = 60
# Address space, not resident memory: libraries and thread stacks alone map about 1 GiB.
BYTES_BESIDE_FILE = 4 << 30
BYTES_PER_FILE_BYTE = 6

_CHILD = """
import sys
path, limit, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass  # Windows has no such limits, macOS refuses some: the time limit of the parent holds.
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 4
try:
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
except Exception as error:
    print(" ".join(str(error).split()))
    sys.exit(1)
"""


def probe(path: Path) -> None:
    """Raise InputError unless a child process loads ``path`` within its limits."""
    import subprocess  # a program that opens bundles alone never waits for it

    import_extra("onnxruntime")
    limit = BYTES_BESIDE_FILE + BYTES_PER_FILE_BYTE * path.stat().st_size
    command = [sys.executable, "-c", _CHILD, str(path.absolute()), str(limit), str(SECONDS)]
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise _refusal(path, f"it took more than {SECONDS} s to load") from None
    if child.returncode == 1:
        said = (child.stdout.strip() or child.stderr.strip().rpartition("\n")[2])[:400]
        raise _refusal(path, said.rpartition(" : ")[2].rstrip(". "))
    if child.returncode != 0:
        raise _refusal(path, f"loading it kills the process ({_ending(child.returncode)})")


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"


def _refusal(path: Path, found: str) -> InputError:
    return InputError(
        f"{path} must be an ONNX file that ONNX Runtime loads, got: {found}. "
        "Export or download it again."
    )
