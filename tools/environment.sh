# Sourced by tools/quickstart and tools/test: the virtual environment in .venv, and how to fill it.
# PYTHON chooses the interpreter that makes it; the default is python3.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}
VENV=$ROOT/.venv

step() { printf '\n==> %s\n' "$*" >&2; }

die() {
    printf 'Error: %s\n' "$*" >&2
    exit 1
}

# prepare_environment EXTRAS: .venv holds rnn-edge[EXTRAS] from this checkout, in pinned versions.
# Nothing is installed again while the pins, pyproject.toml and the interpreter stay the same.
prepare_environment() {
    local extras=$1 stamp state
    check_python
    # A stamp per set of extras: after tools/test, tools/quickstart has nothing to add or to undo.
    stamp=$VENV/installed-${extras//,/-}
    state=$(environment_state)
    if [[ -f $stamp && $(<"$stamp") == "$state" && $(interpreter_of "$VENV/bin/python") ]]; then
        return
    fi
    if [[ $(interpreter_of "$VENV/bin/python") != "$(interpreter_of "$PYTHON")" ]]; then
        step "Making the virtual environment in $VENV"
        make_venv || die "$VENV must be makeable with $PYTHON, it is not. Read the message above."
    fi
    step "Installing rnn-edge[$extras] and what it needs (some minutes the first time)"
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check \
        --constraint "$ROOT/tools/constraints.txt" --editable "$ROOT[$extras]" ||
        die "packages must be installable with pip, they are not. Read pip's message above."
    printf '%s\n' "$state" >"$stamp"
}

check_python() {
    command -v "$PYTHON" >/dev/null ||
        die "PYTHON must be a Python 3.11 or newer, $PYTHON is not found. Install it, or set PYTHON."
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "PYTHON must be 3.11 or newer, $PYTHON is $("$PYTHON" -V 2>&1). Set PYTHON to a newer one."
}

# The version and place of the Python that an interpreter, or a virtual environment's, stands on.
interpreter_of() {
    "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null || true
}

environment_state() {
    interpreter_of "$PYTHON"
    printf '%s\n' "$ROOT"
    cksum <"$ROOT/pyproject.toml"
    cksum <"$ROOT/tools/constraints.txt"
}

# Debian's Python has no ensurepip without python3-venv; its pip can fill an environment from
# outside.
make_venv() {
    if "$PYTHON" -c 'import ensurepip' 2>/dev/null; then
        "$PYTHON" -m venv --clear "$VENV"
    elif "$PYTHON" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m venv --clear --without-pip "$VENV" &&
            "$PYTHON" -m pip --python "$VENV/bin/python" install -qq pip
    else
        die "$PYTHON must bring venv or pip, it has neither. Install python3-venv or python3-pip."
    fi
}
