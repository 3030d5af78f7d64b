"""Pictures of training, as PNG files; needs no display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnn_edge.abc_notation import Tune
from rnn_edge.extras import import_extra
from rnn_edge.fonts import save_figure


def draw_curve(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Losses over epochs on the left; on the right each further measure, where there is one."""
    measures = [
        name
        for name in history[0]
        if name not in ("epoch", "lr", "train_loss", "validation_loss", "seconds")
    ]
    groups = [[name for name in ("train_loss", "validation_loss") if name in history[0]]]
    groups += [[name] for name in measures]
    figure = _figure(5 * len(groups), 3.5)
    epochs = [row["epoch"] for row in history]
    for place, names in enumerate(groups, start=1):
        axes = figure.add_subplot(1, len(groups), place)
        for name in names:
            axes.plot(epochs, [row[name] for row in history], label=name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.legend()
    save_figure(figure, path)


def draw_prediction(
    path: Path, truth: Sequence[float], predictions: Mapping[str, Sequence[float]], label: str
) -> None:
    """Predictions over the truth, one point a time step."""
    figure = _figure(9, 4)
    axes = figure.add_subplot()
    axes.plot(truth, label="truth", color="0.6", linewidth=1)
    for name, values in predictions.items():
        axes.plot(values, label=name, linewidth=1)
    axes.set_xlabel("step of the test data")
    axes.set_ylabel(label)
    axes.legend()
    save_figure(figure, path)


def draw_piano_rolls(path: Path, tunes: Mapping[str, Tune]) -> None:
    """A panel for each tune: a bar for each note, as long as it sounds, at its MIDI pitch."""
    figure = _figure(9, 2.2 * len(tunes))
    for place, (title, tune) in enumerate(tunes.items(), 1):
        axes = figure.add_subplot(len(tunes), 1, place)
        axes.set_title(title, loc="left", fontsize=10)
        start = 0.0
        for note in tune.notes:
            length = 4 * float(note.length)
            if note.pitch is not None:
                axes.broken_barh([(start, 0.9 * length)], (note.pitch - 0.4, 0.8))
            start += length
        axes.set_ylabel("MIDI pitch")
    axes.set_xlabel("quarter notes")
    save_figure(figure, path)


def draw_confusion(path: Path, counts: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    """``counts[truth][prediction]`` as a picture with its numbers."""
    figure = _figure(6, 5.5)
    axes = figure.add_subplot()
    axes.imshow(counts, cmap="Blues")
    highest = max(max(row) for row in counts)
    for truth, row in enumerate(counts):
        for predicted, count in enumerate(row):
            color = "white" if count > highest / 2 else "black"
            axes.text(predicted, truth, str(count), ha="center", va="center", color=color)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    save_figure(figure, path)


def draw_spectrograms(
    path: Path, sounds: Sequence[Any], titles: Sequence[str], rate: int, most: int = 6
) -> None:
    """Energies over time and frequency of the first ``most`` of ``sounds``, float32[samples]."""
    count = min(most, len(sounds))
    figure = _figure(8, 2 * count)
    panels = figure.subplots(count, squeeze=False)[:, 0]
    for panel, sound, title in zip(panels, sounds, titles, strict=False):
        draw_spectrogram(panel, sound, rate)
        panel.set_title(title.replace("$", r"\$"), loc="left", fontsize=10)
    save_figure(figure, path)


def draw_spectrogram(panel: Any, sound: Any, rate: int) -> None:
    """Decibels over seconds and Hertz, of float32[samples]."""
    window = max(2, min(round(0.025 * rate), len(sound)))
    # What is silent has no logarithm.
    panel.specgram(sound + 1e-6, NFFT=window, Fs=rate, noverlap=window // 2, cmap="magma")
    panel.set(xlabel="seconds", ylabel="Hz")


def draw_attention(path: Path, panels: Sequence[tuple[str, str, Any]], most: int = 4) -> None:
    """Of the first ``most`` (read, written, weights[written, read]): what was written from what."""
    count = min(most, len(panels))
    figure = _figure(7, 3 * count)
    for panel, (read, written, weights) in zip(
        figure.subplots(count, squeeze=False)[:, 0], panels, strict=False
    ):
        draw_weights(panel, read, written, weights)
    save_figure(figure, path)


def draw_weights(panel: Any, read: str, written: str, weights: Any) -> None:
    """``weights[written, read]``, dark where a character owes much to one that was read."""
    panel.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    # A lone $ would start a formula.
    panel.set_xticks(range(len(read)), [character.replace("$", r"\$") for character in read])
    panel.set_yticks(range(len(written)), [character.replace("$", r"\$") for character in written])


def draw_pictures(
    path: Path, pictures: Sequence[Any], titles: Sequence[str], most: int = 12
) -> None:
    """The first ``most`` of ``pictures``, float32[3, height, width] from 0 to 1, three a row."""
    count = min(most, len(pictures))
    figure = _figure(12, 3 * -(-count // 3))
    panels = figure.subplots(-(-count // 3), 3, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, picture, title in zip(panels, pictures[:count], titles, strict=False):
        draw_picture(panel, picture)
        panel.set_title(title.replace("$", r"\$"), fontsize=8, wrap=True)
    save_figure(figure, path)


def draw_picture(panel: Any, picture: Any) -> None:
    """Of float32[3, height, width] from 0 to 1."""
    panel.imshow(picture.transpose(1, 2, 0).clip(0, 1))
    panel.set_axis_off()


def _figure(width: float, height: float) -> Any:
    # A Figure of its own, not pyplot's: no display, no state that outlives the picture.
    return import_extra("matplotlib.figure").Figure(
        figsize=(width, height), dpi=120, layout="constrained"
    )
