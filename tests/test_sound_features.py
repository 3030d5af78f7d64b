"""Features of sound as modules and as graphs, against numpy's Fourier transform, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, save

from rnn_edge.contract import ValueDecoder
from rnn_edge.errors import InputError
from rnn_edge.models.log_mel import SoundFeaturesModule
from rnn_edge.pipeline_file import derive_pipeline
from rnn_edge.sound_features import SoundFeatures, read_sound_features

RATE = 8000


def mel_of(hertz: np.ndarray, scale: str) -> np.ndarray:
    if scale == "slaney":
        low, high = hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1) / 1000) / np.log(6.4)
        return np.where(hertz < 1000, low, high)
    return 1127 * np.log1p(hertz / 700)


def triangles(features: SoundFeatures, size: int) -> np.ndarray:
    """Corners found by search on a fine grid, sides by interpolation: no formula inverted."""
    grid = np.linspace(0, RATE / 2, 400_001)
    mels = mel_of(grid, features.mel_scale)
    ends = np.interp([features.low, features.high or RATE / 2], grid, mels)
    count = features.n_mels or 1
    corners = np.interp(np.linspace(*ends, count + 2), mels, grid)
    bins = np.arange(size // 2 + 1) * RATE / size
    places, spots = bins, corners
    if features.mel_scale == "kaldi":
        places, spots = mel_of(bins, "kaldi"), mel_of(corners, "kaldi")
    rows = []
    for n in range(count):
        height = 2 / (corners[n + 2] - corners[n]) if features.norm == "slaney" else 1
        rows.append(np.interp(places, spots[n : n + 3], [0, height, 0], left=0, right=0))
    return np.stack(rows, 1)


def slopes(rows: np.ndarray) -> np.ndarray:
    wide = np.pad(rows, ((2, 2), (0, 0)), "edge")
    return np.stack([np.arange(-2, 3) @ wide[n : n + 5] / 10 for n in range(len(rows))])


def expected(features: SoundFeatures, sound: np.ndarray) -> np.ndarray:
    size, width = features.n_fft or features.window, features.window
    sound = sound * features.gain
    sound = np.append(sound[:1], sound[1:] - features.preemphasis * sound[:-1])
    offset = 0
    if features.center != "none":
        mode = {"zeros": "constant", "reflect": "reflect"}[features.center]
        sound, offset = np.pad(sound, size // 2, mode), (size - width) // 2
    else:
        sound, size = np.pad(sound, (features.padding, 0)), width
    weights = {
        "hann": np.hanning(width + 1)[:-1],
        "povey": np.hanning(width) ** 0.85,
        "hamming-symmetric": np.hamming(width),
    }[features.window_fn]
    rows = []
    for start in range(0, len(sound) - size + 1, features.hop):
        frame = sound[start + offset : start + offset + width].copy()
        frame -= frame.mean() if features.remove_dc else 0
        frame -= features.frame_preemphasis * np.append(frame[:1], frame[:-1])
        spectrum = np.abs(np.fft.rfft(frame * weights, features.n_fft or width))
        rows.append(spectrum**features.power)
    found = np.stack(rows)
    if features.n_mels:
        found = found @ triangles(features, features.n_fft or width)
    add = features.floor_by == "add"
    found = found + features.floor if add else np.maximum(found, features.floor)
    factor = 20 / features.power
    found = {
        "natural": np.log(found), "log10": np.log10(found), "db": factor * np.log10(found),
        "none": found,
    }[features.log]  # fmt: skip
    found = np.maximum(found, found.max() - (features.top_db or np.inf))
    found = found - found.max() if features.ref == "max" else found
    if features.n_mfcc:
        mirrored = np.fft.fft(np.concatenate([found, found[:, ::-1]], 1))
        turned = mirrored * np.exp(-0.5j * np.pi * np.arange(2 * found.shape[1]) / found.shape[1])
        turned = turned.real[:, : features.n_mfcc] / 2 * np.sqrt(2 / found.shape[1])
        turned[:, 0] /= np.sqrt(2)
        found = turned
    if features.cmvn != "none":
        found = found - found.mean(0)
        found = found / found.std(0) if features.cmvn == "all" else found
    found = (found - features.mean) / features.std
    parts = [found]
    for _ in range(features.deltas):
        parts.append(slopes(parts[-1]))
    return np.concatenate(parts, 1)


TOLD = [
    "log-mel:8000,n_mels=9,window=200,hop=77,n_fft=256,padding=31",
    "log-mel:8000,n_mels=9,window=150,hop=80,n_fft=256,center=zeros,mel_scale=slaney,norm=slaney,"
    "floor=1e-05,floor_by=max,log=db,top_db=20.0",
    "log-mel:8000,n_mels=9,window=200,hop=80,n_fft=257,center=reflect,power=1,log=db,ref=max",
    "log-mel:8000,n_mels=9,window=200,hop=80,n_fft=256,low=20.0,mel_scale=kaldi,window_fn=povey,"
    "frame_preemphasis=0.97,remove_dc=1,gain=32768.0,floor=1e-07,floor_by=max",
    "mfcc:8000,n_mfcc=5,n_mels=9,window=200,hop=80,preemphasis=0.97,center=zeros,cmvn=all,deltas=2",
    "spectrogram:8000,window=32,hop=16,center=reflect,window_fn=hamming-symmetric,power=1,floor=1.0,"
    "cmvn=mean,deltas=1",
    "log-mel:8000,n_mels=9,window=200,hop=80,center=reflect,log=log10,mean=-4.0,std=4.0",
    "spectrogram:8000,window=32,hop=40,log=none",
]
LENGTHS = (2000, 700, 257)


def sounds() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    noises = [random.normal(0, 0.2, n) for n in LENGTHS]
    noises[0] = np.clip(3 * noises[0], -1, 1) * 0.7 + 0.3  # clipped, and not around 0
    return [noise.astype(np.float32) for noise in noises]


@pytest.mark.parametrize("told", TOLD)
def test_modules_are_what_the_formula_says_alone_and_among_others(told: str) -> None:
    features = read_sound_features(told)
    assert read_sound_features(features.text) == features
    module, rows = SoundFeaturesModule(features), sounds()
    lengths = torch.tensor([*map(len, rows)])
    padded = torch.full((len(rows), max(LENGTHS)), 5.0)
    for row, sound in enumerate(rows):
        padded[row, : len(sound)] = torch.from_numpy(sound)
    together, counts = module(padded, lengths), module.frame_counts(lengths)
    for row, sound in enumerate(rows):
        right = expected(features, sound.astype(float))
        close = {"rtol": 1e-4, "atol": 1e-3}
        alone = module(torch.from_numpy(sound[None]))[0]
        assert int(counts[row]) == len(right)
        np.testing.assert_allclose(alone, right, **close)
        np.testing.assert_allclose(together[row, : len(right)], right, **close)
        assert not together[row, len(right) :].any()


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("with_lengths", [False, True])
def test_graphs_are_what_the_formula_says(told: str, with_lengths: bool, tmp_path: Path) -> None:
    features = read_sound_features(told)
    rows = ["batch", "sequence", features.width]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)]
    if with_lengths:
        given.append(helper.make_tensor_value_info("n", TensorProto.INT64, ["batch"]))
    # The mean over the frames of each row; what is behind them must be zeros.
    count = [("Unsqueeze", ["n", "one"], "wide"), ("Cast", ["wide"], "by")]
    if not with_lengths:
        count = [
            ("Shape", ["x"], "shape"),
            ("Gather", ["shape", "one"], "n"),
            ("Cast", ["n"], "by"),
        ]
    nodes = [
        helper.make_node(kind, names, [made], **({"to": 1} if kind == "Cast" else {}))
        for kind, names, made in count
    ]
    nodes.append(helper.make_node("ReduceSum", ["x", "one"], ["sum"], keepdims=0))
    nodes.append(helper.make_node("Div", ["sum", "by"], ["y"]))
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", features.width])]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "g", given, made, [one])
    opsets = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "mean.onnx")
    decoder = ValueDecoder(tuple(map(str, range(features.width))))
    how = {"lengths": "n"} if with_lengths else {}
    found = derive_pipeline(
        tmp_path / "mean.onnx",
        front_end=features,
        decoder=decoder,
        **how,  # type: ignore[arg-type]
    )
    session = onnxruntime.InferenceSession(found.path)
    # The sounds stand one after the other whether the file takes lengths or not.
    feed = {"samples": np.concatenate(sounds()), "lengths": np.array(LENGTHS)}
    answers = session.run(None, feed)[0]
    for answer, sound in zip(answers, sounds(), strict=True):
        right = expected(features, sound.astype(float)).mean(0)
        np.testing.assert_allclose(answer, right, rtol=1e-4, atol=1e-3)


def test_silence_has_features_too() -> None:
    for told in TOLD:
        features = read_sound_features(told)
        found = SoundFeaturesModule(features)(torch.zeros(1, 1000))
        assert found.isfinite().all()
        if features.cmvn != "none":
            # What is left of rounding is divided by little.
            assert found.abs().max() < 0.02


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ("log-mel:8000,center=middle", "center must be one of none, zeros, reflect, got middle"),
        ("log-mel:8000,power=3", "power must be 1 or 2"),
        ("log-mel:8000,center=zeros,padding=3", "padding must be 0 with center"),
        ("log-mel:8000,mean=nan", "mean of log-mel must be a number, got 'nan'"),
        ("log-mel:8000,n_mel=40", "got 'n_mel'. Did you mean n_mels"),
        ("log-mel:8000,rate=9", "options of log-mel must be among"),
        ("log-mel:8000,hop=0", "hop of log-mel must be a whole number of at least 1, got '0'"),
        ("log-mel:8k", "rate of log-mel must be a whole number of at least 1, got '8k'"),
        ("log-mell:8000", "Did you mean log-mel"),
        ("log-mel:8000,floor=0", "floor must be above 0"),
        ("spectrogram:8000,n_mels=4", "got 'n_mels'"),
        ("log-mel:8000,lifter=22", "got 'lifter'"),
    ],
)
def test_options_that_do_not_fit_are_refused(told: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read_sound_features(told)
