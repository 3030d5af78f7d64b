"""`rnn-edge doctor`: what this machine has, and what it lacks."""

from __future__ import annotations

from typing import Any

import click

from rnn_edge.cli.options import json_option
from rnn_edge.cli.output import print_json
from rnn_edge.cli.tables import print_table


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show versions, extras, providers, threads and CPU features.

    Example: rnn-edge doctor --json
    """
    from rnn_edge.runtime.environment import environment

    found = environment()
    if as_json:
        print_json(found)
    else:
        print_table(("what", "found"), _rows(found))


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    cpu, threads, cuda = found["cpu"], found["threads"], found["cuda"]
    return [
        ("rnn-edge", found["rnn_edge"]),
        ("python", found["python"]),
        ("system", found["system"]),
        *((name, version or "not installed") for name, version in found["packages"].items()),
        *((f"extra [{extra}]", _extra(missing)) for extra, missing in found["extras"].items()),
        ("providers", ", ".join(found["providers"]) or "none"),
        ("cuda", "available" if cuda["available"] else f"not available: {cuda['missing']}"),
        ("processor", cpu["model"]),
        ("cores", f"{cpu['cores']}, usable by this process: {cpu['usable_cores']}"),
        ("CPU features", ", ".join(cpu["features"]) or "unknown"),
        (
            "threads of a session",
            f"{threads['small_model']}, from {threads['large_from_bytes'] >> 20} MiB of weights "
            f"{threads['large_model']}",
        ),
        ("OMP_NUM_THREADS", threads["OMP_NUM_THREADS"] or "not set"),
    ]


def _extra(missing: list[str]) -> str:
    return f"missing {', '.join(missing)}" if missing else "installed"
