"""Pictures of answers: probability bars, series with what the model makes of them, sounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnn_edge.cli.tables import excerpt
from rnn_edge.contract import AudioFrontEnd, PictureFrontEnd, SeriesFrontEnd
from rnn_edge.drawing import draw_picture, draw_spectrogram, draw_weights
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.fonts import save_figure
from rnn_edge.runtime import Pipeline
from rnn_edge.runtime.decoders import Answer, LabelAnswer, TagAnswer, TextAnswer, ValueAnswer
from rnn_edge.runtime.pipeline import Sample

MOST_PANELS = 8
MOST_BARS = 20
# A forecast behind a longer past would be a dot at the edge.
MOST_STEPS_BEFORE_FORECAST = 200


def require_plotting() -> None:
    """Raise MissingExtraError now, rather than after the work, when matplotlib is missing."""
    import_extra("matplotlib.figure")


def plot_answers(
    pipeline: Pipeline, samples: Sequence[Sample], answers: Sequence[Answer], path: Path
) -> None:
    """Write a PNG file with one panel a sample, the first MOST_PANELS of them.

    Raises InputError when ``path`` cannot be written or does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"--plot must name a .png file, got {path}. Change the ending.")
    count = min(len(answers), MOST_PANELS)
    figure = import_extra("matplotlib.figure").Figure(
        figsize=(8, 3 * count), layout="constrained", dpi=120
    )
    panels = figure.subplots(count, squeeze=False)[:, 0]
    for panel, sample, answer in zip(panels, samples, answers, strict=False):
        # A lone $ would start a formula.
        panel.set_title(excerpt(sample.excerpt).replace("$", r"\$"), loc="left", fontsize=10)
        if isinstance(answer, LabelAnswer):
            _draw_labels(panel, answer)
        elif isinstance(answer, TagAnswer):
            _draw_tags(panel, answer)
        elif isinstance(answer, TextAnswer):
            _draw_text(panel, pipeline, sample, answer)
        else:
            _draw_values(panel, pipeline, sample, answer)
    try:
        save_figure(figure, path)
    except OSError as error:
        raise InputError(
            f"{path} must be a place to write a file, got: {error.strerror}. Choose another."
        ) from None


def _draw_labels(panel: Any, answer: LabelAnswer) -> None:
    if answer.has_steps:
        for label, probabilities in zip(answer.labels, answer.probabilities.T, strict=True):
            panel.plot(range(1, len(probabilities) + 1), probabilities, label=label)
        panel.set(xlabel="step", ylabel="probability", ylim=(0, 1))
        panel.legend(fontsize=8)
        return
    order = answer.probabilities.argsort()[-MOST_BARS:]
    bars = panel.barh([answer.labels[place] for place in order], answer.probabilities[order])
    panel.bar_label(bars, fmt="%.3f", padding=3)
    panel.set(xlabel="probability", xlim=(0, 1.1))


def _draw_tags(panel: Any, answer: TagAnswer) -> None:
    """One line a label, a mark where a character has it."""
    names = sorted(set(answer.labels))
    places = [names.index(label) for label in answer.labels]
    panel.plot(range(1, len(places) + 1), places, "s", markersize=4)
    panel.set_yticks(range(len(names)), names)
    panel.set_xlabel("character")


def _draw_text(panel: Any, pipeline: Pipeline, sample: Sample, answer: TextAnswer) -> None:
    """The spectrogram of a sound, and each character where it begins to be said; a picture as the
    model sees it; of a text what was written from what."""
    if isinstance(pipeline.front_end, PictureFrontEnd):
        draw_picture(panel, sample.sequence / pipeline.front_end.maximum)
        title = f"{panel.get_title(loc='left')}: {answer.text}"
        panel.set_title(title.replace("$", r"\$"), loc="left", fontsize=10)
        return
    if not isinstance(pipeline.front_end, AudioFrontEnd):
        weights = pipeline.attention([sample])
        if weights is not None:
            read, written = sample.excerpt, answer.text
            draw_weights(panel, read, written, weights[0][: len(written), : len(read)])
        return
    rate = pipeline.front_end.rate
    draw_spectrogram(panel, sample.sequence, rate)
    for place, character in zip(answer.places, answer.text, strict=False):
        panel.axvline(place / rate, color="white", linewidth=0.5)
        panel.text(place / rate, 0.9 * rate / 2, character, color="white", va="top")
    panel.set_title(f"{panel.get_title(loc='left')}: {answer.text}", loc="left", fontsize=10)


def _draw_values(panel: Any, pipeline: Pipeline, sample: Sample, answer: ValueAnswer) -> None:
    """The columns that are answered, as they were given and as the model says."""
    time = len(sample.sequence)
    first = 0 if answer.has_steps else max(0, time - MOST_STEPS_BEFORE_FORECAST)
    if isinstance(pipeline.front_end, SeriesFrontEnd):
        names = pipeline.front_end.columns
        shown = [name for name in names if name in answer.columns] or list(names)
        for name in shown:
            column = sample.sequence[first:, names.index(name)]
            marker = "." if len(column) < 50 else ""
            panel.plot(range(first + 1, time + 1), column, marker=marker, label=name)
    for place, name in enumerate(answer.columns):
        if answer.has_steps:
            steps = range(1, len(answer.values) + 1)
            panel.plot(steps, answer.values[:, place], "--", label=f"{name}, model")
        else:
            panel.plot([time + 1], answer.values[place : place + 1], "o", label=f"{name}, model")
    panel.set_xlabel("step")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(fontsize=8)
