"""A picture of the latencies: one histogram a point of the grid."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.profiling.latency import Latency
from rnn_edge.profiling.report import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
BINS = 60


def draw_latencies(profile: Profile) -> Figure:
    """A figure with one panel per point, microseconds on a logarithmic axis."""
    figure_module = import_extra("matplotlib.figure")
    points = list(dict.fromkeys(latency.point for latency in profile.latencies))
    columns = min(COLUMNS, len(points))
    rows = math.ceil(len(points) / columns)
    figure: Figure = figure_module.Figure(figsize=(4.5 * columns, 3 * rows), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flat
    for panel in panels:
        panel.set_axis_off()
    for panel, point in zip(figure.axes, points, strict=False):
        panel.set_axis_on()
        _draw_point(panel, [item for item in profile.latencies if item.point == point])
        panel.set_title(str(point))
    figure.suptitle(f"{profile.name}: microseconds a call, without the slowest 1%")
    return figure


def save_histogram(profile: Profile, path: str | Path) -> None:
    """Write the picture; the suffix gives its format. Raises InputError where it cannot be."""
    path = Path(path)
    check_picture_path(path)
    picture = io.BytesIO()
    draw_latencies(profile).savefig(picture, format=path.suffix[1:].lower(), dpi=120)
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def check_picture_path(path: Path) -> None:
    """Raise InputError for a place or a suffix that a picture cannot have, before measuring."""
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(
            f"the plot must be a .png, .svg or .pdf file, got {path}. Choose another name."
        )
    if not path.absolute().parent.is_dir():
        raise _unwritable(path, "no such folder")


def _draw_point(panel: Axes, latencies: list[Latency]) -> None:
    # The slowest hundredth would squeeze everything else into one bin.
    low = min(float(item.samples.min()) for item in latencies) / 1e3
    high = max(item.percentile_us(99) for item in latencies)
    edges = np.geomspace(max(low, 1e-3), max(high, low * 1.01), BINS + 1).tolist()
    for item in latencies:
        median = item.percentile_us(50)
        label = f"{item.engine}: {median:,.0f}" if median >= 100 else f"{item.engine}: {median:.1f}"
        panel.hist(item.samples / 1e3, bins=edges, alpha=0.6, label=label)
    ticker = import_extra("matplotlib.ticker")
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.set_xlabel("us")
    panel.set_ylabel("calls")
    panel.legend(title="median", fontsize="small")


def _unwritable(path: Path, reason: str) -> InputError:
    return InputError(f"the plot must be written to {path}, got: {reason}. Choose another place.")
