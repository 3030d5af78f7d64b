"""`rnn-edge profile`: how fast a bundle is, how much memory it takes, how soon it starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_edge.cli.options import json_option, provider_option
from rnn_edge.cli.output import print_json, say
from rnn_edge.cli.source_options import open_module, quiet_forward, weights_option
from rnn_edge.cli.suggestions import Choice, suggest
from rnn_edge.cli.tables import print_table
from rnn_edge.source.module_file import is_module_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rnn_edge.profiling import Profile
    from rnn_edge.profiling.operators import OperatorTime

SHOWN_NODES = 10
_ENGINES = ("torch", "stock", "openvino")


class Sizes(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between: 1,8,32."""

    name = "SIZES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"must be whole numbers with commas between, got {value!r}", param, ctx)
        return tuple(int(part) for part in parts)


class Engines(click.ParamType[tuple[str, ...]]):
    """Names with commas between: torch,stock."""

    name = "ENGINES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in value.split(","))
        unknown = [name for name in names if name not in _ENGINES]
        if unknown:
            message = f"must be some of {', '.join(_ENGINES)}, got {unknown[0]!r}."
            self.fail(message + suggest(unknown[0], _ENGINES), param, ctx)
        return names


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--batches", type=Sizes(), help="Batch sizes.  [default: 1,8, within the contract's limits]"
)
@click.option(
    "--sequences",
    type=Sizes(),
    help="Sequence lengths.  [default: 1,10,100, within the contract's limits]",
)
@click.option(
    "--against",
    type=Engines(),
    metavar="ENGINES",
    help="Measure others beside it, commas between: torch, the original of --module; stock, "
    "torch.onnx.export and session.run; openvino.",
)
@click.option(
    "--module",
    type=click.Path(path_type=Path),
    help="What BUNDLE comes from: a checkpoint folder or path/to/file.py:callable.",
)
@weights_option
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="For both.")
@click.option("--graph", default="model", show_default=True, help="Which graph of BUNDLE.")
@click.option("--stream", "streaming", is_flag=True, help="Measure pushes of the stream graph.")
@click.option(
    "--engine",
    type=Choice(["onnxruntime", "c", "c-int8"]),
    help="With --stream: what computes the steps.  [default: onnxruntime, or what tune chose]",
)
@click.option("--chunks", type=Sizes(), help="With --stream: frames a push.  [default: 1,10,100]")
@click.option(
    "--streams", type=Sizes(), help="With --stream: streams that share a run.  [default: 1,4,16]"
)
@click.option(
    "--frame-rate",
    type=click.FloatRange(0, min_open=True),
    metavar="HZ",
    help="With --stream: frames a second, for the share of a core that a stream takes.  "
    "[default: the contract's]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="With --stream: find how many streams one core computes a step of in that time.",
)
@click.option(
    "--calls",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Timed calls per engine and pair of sizes.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="Stop before --calls when they take longer; 20 calls are always made.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random inputs.")
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Draw histograms of the latencies here (PNG)."
)
@provider_option
@json_option
def profile(
    bundle: Path,
    against: tuple[str, ...] | None,
    module: Path | None,
    weights: Path | None,
    plot: Path | None,
    streaming: bool,
    engine: str | None,
    chunks: tuple[int, ...] | None,
    streams: tuple[int, ...] | None,
    frame_rate: float | None,
    deadline: float | None,
    as_json: bool,
    **measurement: Any,
) -> None:
    """Measure BUNDLE, or a lone .onnx file, on random inputs that its contract allows.

    Latency and throughput for every pair of a batch and a sequence size; cold start and peak
    memory in fresh processes; time by operator. With --against, all engines answer the same inputs
    in turn: a ratio above 1 says how many times longer one takes, and "over limit" how many times
    longer than this core takes to read the weights. With --stream,
    pushes of the stream graph are timed instead, in chunks and with several streams a run.

    Example: rnn-edge profile exported/sine --against torch,stock --module checkpoints/sine
    """
    asked = {"chunks": chunks, "streams": streams, "frame_rate": frame_rate}
    pushes = {**asked, "deadline_ms": deadline, "engine": engine}
    if streaming:
        others = {"--against": against, "--module": module, "--weights": weights, "--plot": plot}
        _profile_stream(bundle, others, pushes, measurement, as_json)
        return
    if any(value is not None for value in pushes.values()):
        raise click.UsageError(
            "--chunks, --streams, --engine, --frame-rate, --deadline go with --stream."
        )
    _check_original(against, module, weights)
    from rnn_edge.profiling import profile as measure

    if plot is not None:
        from rnn_edge.cli.plots import require_plotting
        from rnn_edge.profiling.histogram import check_picture_path

        require_plotting()
        check_picture_path(plot)
    # A checkpoint stays a path, so that its start can be measured in processes of its own.
    own = module is not None and (weights is not None or is_module_file(str(module)))
    original = open_module(module, weights) if module is not None and own else module
    with quiet_forward(module), _progress() as progress:
        result = measure(bundle, against=against, module=original, progress=progress, **measurement)
    _report(result, plot, as_json)


def _check_original(
    against: tuple[str, ...] | None, module: Path | None, weights: Path | None
) -> None:
    """The original is given where an engine makes use of it, and nowhere else."""
    if (module is None and "torch" in (against or ())) or (
        module is not None and not {"torch", "stock"} & {*(against or ())}
    ):
        raise click.UsageError("--against torch and --module SOURCE go together; give both.")
    if module is None and weights is not None:
        raise click.UsageError("--weights goes with --module; give it too.")


def _report(result: Profile, plot: Path | None, as_json: bool) -> None:
    if plot is not None:
        from rnn_edge.profiling.histogram import save_histogram

        save_histogram(result, plot)
        say(f"Histograms are in {plot}.")
    for name, reason in result.left_out.items():
        say(f"Left out {name}: {reason}")
    if as_json:
        print_json(result.to_dict())
    else:
        _show(result)


def _profile_stream(
    bundle: Path,
    others: Mapping[str, object],
    pushes: Mapping[str, Any],
    measurement: dict[str, Any],
    as_json: bool,
) -> None:
    from rnn_edge.cli.stream_profile import show_stream_profile
    from rnn_edge.profiling.streaming import profile_stream

    sizes = {"--batches": measurement.pop("batches"), "--sequences": measurement.pop("sequences")}
    graph = {"--graph": measurement.pop("graph") != "model"}
    wrong = [flag for flag, value in {**others, **sizes, **graph}.items() if value]
    if wrong:
        raise click.UsageError(f"{', '.join(wrong)} must be left out with --stream.")
    given = {name: value for name, value in pushes.items() if value is not None}
    with _progress() as progress:
        result = profile_stream(bundle, progress=progress, **given, **measurement)
    if as_json:
        print_json(result.to_dict())
    else:
        show_stream_profile(result)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being measured, on a terminal only."""
    from rich.console import Console

    with Console(file=sys.stderr).status("") as status:
        yield lambda stage: status.update(f"measuring {stage}")


def _show(result: Profile) -> None:
    """Tables for a person; ``--json`` has every figure."""
    _show_latencies(result)
    starts = result.cold_starts
    print_table(
        ("engine", "import ms", "load ms", "first run ms", "total ms"),
        [(start.engine, *map(_short, start.parts_ms), _short(start.total_ms)) for start in starts],
        title=f"Cold start, median of {starts[0].processes} fresh processes",
    )
    _show_bytes(result)
    _show_operators(result)


def _show_latencies(result: Profile) -> None:
    rows = [
        (
            _or_dash(latency.point.batch),
            _or_dash(latency.point.sequence),
            latency.engine,
            *(_short(latency.percentile_us(percent)) for percent in (50, 90, 99, 99.9)),
            _compact(latency.rows_per_second),
            _short(result.ratio(latency)),
            *([_or_dash(result.over_limit(latency))] if result.byte_limit else []),
        )
        for latency in result.latencies
    ]
    plural = "s" if result.threads > 1 else ""
    print_table(
        ("batch", "time", "engine", "p50", "p90", "p99", "p99.9", "rows/s", "ratio")
        + (("over limit",) if result.byte_limit else ()),
        rows,
        title=f"{result.name}: microseconds a call of {result.graph} "
        f"on {result.provider} with {result.threads} thread{plural}",
    )

    if result.byte_limit is None:
        return
    rows = [
        (_or_dash(point.batch), _or_dash(point.sequence), _short(limit))
        for point, limit in result.limits_us.items()
    ]
    each, once = result.byte_limit.step_bytes, result.byte_limit.once_bytes
    print_table(
        ("batch", "time", "us"),
        rows,
        title=f"Byte limit: this core reads the weights, {once:,} bytes a call and {each:,} a step",
    )


def _show_bytes(result: Profile) -> None:
    rows = []
    for memory in result.memories:
        rows.append((f"{memory.engine}, libraries loaded", _mebibytes(memory.imported_bytes)))
        rows.append((f"{memory.engine}, peak", _mebibytes(memory.peak_bytes)))
    rows.append(("model file", _mebibytes(result.model_bytes)))
    if result.bundle_bytes is not None:
        rows.append(("bundle", _mebibytes(result.bundle_bytes)))
    print_table(("what", "MiB"), rows, title="Resident memory, and size on disk")


def _show_operators(result: Profile) -> None:
    print_table(
        ("operator", "calls/run", "us/run", "share"),
        [
            (time.op_type, _short(time.calls_per_run), _short(time.microseconds), _share(time))
            for time in result.operators
        ],
        title=f"Time by operator at {result.operator_point}",
    )
    print_table(
        ("node", "operator", "us/run", "share"),
        [
            (time.node, time.op_type, _short(time.microseconds), _share(time))
            for time in result.nodes[:SHOWN_NODES]
        ],
        title=f"The slowest of {len(result.nodes)} nodes",
    )


def _short(value: float) -> str:
    """3 significant digits, no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else _short(value)


def _compact(value: float) -> str:
    """3 significant digits with a unit: 59.1k, 1.2M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{_short(value / unit)}{letter}"
    return _short(value)


def _mebibytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:.3f}"


def _share(time: OperatorTime) -> str:
    return f"{time.share:.1%}"
