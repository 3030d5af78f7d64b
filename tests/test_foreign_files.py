"""Files of any exporter, by hand here, behind texts: against torch in float64, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rnn_edge.contract import CharacterFrontEnd, LabelDecoder, ValueDecoder
from rnn_edge.errors import ExportError, InputError
from rnn_edge.file_bundle import write_file_bundle
from rnn_edge.models.log_mel import SoundFeaturesModule
from rnn_edge.pipeline_file import derive_pipeline
from rnn_edge.runtime import StreamSession
from rnn_edge.sound_features import SoundFeatures

ENTRIES = ("<pad>", "<unk>", *"abc\u597d\U0001f600\n ")
FRONT_END = CharacterFrontEnd(ENTRIES, unknown=1, padding=0)
LABELS = LabelDecoder(("no", "maybe", "yes"))
TEXTS = ["a\u597d \n?", "\U0001f600", "", "abc" * 40, "e\u0301\r\n"]
HIDDEN = 6


class Read(nn.Module):
    """The truth: the last state of each text."""

    def __init__(self, answers: int = 3) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.table, self.core = nn.Embedding(len(ENTRIES), 4), nn.GRU(4, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, answers)

    def answer(self, text: str) -> torch.Tensor:
        places = [ENTRIES.index(c) if c in ENTRIES else FRONT_END.unknown for c in text]
        with torch.no_grad():
            found: torch.Tensor = self.head(self.core(self.table(torch.tensor([places])))[1][0, 0])
        return found


@dataclass(frozen=True)
class Form:
    """How a file is written: ``dims`` of its ids, and what else is not as usual."""

    dims: tuple[str | int, ...] = ("N", "T")
    opset: int = 20
    lengths: bool = True
    dtype: Any = np.float32
    ids: int = TensorProto.INT64
    function: bool = False
    state: bool = False
    answers: int = 3
    ends: str = ""


def gates(weights: torch.Tensor, dtype: Any) -> np.ndarray:
    """torch's reset, update, new in ONNX's order: update, reset, new."""
    reset, update, new = np.split(weights.detach().numpy(), 3)
    return np.concatenate([update, reset, new]).astype(dtype)


def write(form: Form, path: Path) -> Path:
    module, own, dtype = Read(form.answers), "my.own", form.dtype
    core = module.core
    bias = np.concatenate([gates(core.bias_ih_l0, dtype), gates(core.bias_hh_l0, dtype)])
    arrays = {
        "E": module.table.weight.detach().numpy().astype(dtype),
        "W": gates(core.weight_ih_l0, dtype)[None], "R": gates(core.weight_hh_l0, dtype)[None],
        "B": bias[None], "HW": module.head.weight.detach().numpy().T.astype(dtype),
        "HB": module.head.bias.detach().numpy().astype(dtype), "zero": np.array([0]),
    }  # fmt: skip
    nodes, ids = [], "ids"
    rows: str | int = next((dim for dim in form.dims if dim in ("N", 1)), 1)
    axes = form.opset < 13
    if len(form.dims) == 1:
        nodes.append(helper.make_node("Unsqueeze", ["ids", "zero"], ["wide"]))
        ids = "wide"
    nodes.append(helper.make_node("Gather", ["E", ids], ["rows"]))
    time_first = form.dims[-1] == "N"
    order = [0, 1, 2] if time_first else [1, 0, 2]
    nodes.append(helper.make_node("Transpose", ["rows"], ["steps"], perm=order))
    inputs = [helper.make_tensor_value_info("ids", form.ids, form.dims)]
    outputs = []
    if form.lengths:
        inputs.append(helper.make_tensor_value_info("n", TensorProto.INT64, [rows]))
        nodes.append(helper.make_node("Cast", ["n"], ["sizes"], to=TensorProto.INT32))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if form.state:
        inputs.append(helper.make_tensor_value_info("h", kind, [1, rows, HIDDEN]))
        outputs.append(helper.make_tensor_value_info("hn", kind, [1, rows, HIDDEN]))
    given = ["steps", "W", "R", "B", "sizes" if form.lengths else "", "h" if form.state else ""]
    nodes.append(
        helper.make_node("GRU", given, ["", "hn"], hidden_size=HIDDEN, linear_before_reset=1)
    )
    squeezed = {"axes": [0]} if axes else {}
    nodes.append(helper.make_node("Squeeze", ["hn"] if axes else ["hn", "zero"], ["q"], **squeezed))
    head = [
        helper.make_node("MatMul", ["q", "HW"], ["m"]),
        helper.make_node("Add", ["m", "HB"], ["y"]),
    ]
    opsets = [helper.make_opsetid("", form.opset)]
    functions = []
    if form.function:
        functions = [helper.make_function(own, "Head", ["q", "HW", "HB"], ["y"], head, opsets)]
        head = [helper.make_node("Head", ["q", "HW", "HB"], ["y"], domain=own)]
        opsets = [*opsets, helper.make_opsetid(own, 1)]
    nodes += head
    last, dims = "y", [rows, form.answers]
    if form.ends:
        nodes.append(helper.make_node(form.ends, ["y"], ["p"]))
        last = "p"
    if len(form.dims) == 1:
        nodes.append(helper.make_node("Squeeze", [last, "zero"], ["bare"]))
        last, dims = "bare", [form.answers]
    outputs.insert(0, helper.make_tensor_value_info(last, kind, dims))
    weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)
    onnx.save(model, path)
    return path


FORMS = {
    "opset 11": Form(opset=11),
    "opset 23": Form(opset=23),
    "time first": Form(dims=("T", "N"), opset=17),
    "one row": Form(dims=(1, "T"), lengths=False),
    "no rows": Form(dims=("T",), lengths=False),
    "a state": Form(state=True),
    "one row and its state": Form(dims=(1, "T"), lengths=False, state=True),
    "a function": Form(function=True),
    "int32": Form(ids=TensorProto.INT32),
    "half": Form(dtype=np.float16),
}


@pytest.mark.parametrize("name", FORMS)
def test_files_of_any_form_read_texts(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    named = {"T": "sequence"} | ({"N": "batch"} if "N" in form.dims else {})
    how = {"lengths": "n"} if form.lengths else {"axes": named}
    if form.state:
        how |= {"states": {"h": "hn"}, "axes": named}
    path = write(form, tmp_path / "theirs.onnx")
    made = derive_pipeline(path, front_end=FRONT_END, decoder=LABELS, **how)  # type: ignore[arg-type]
    session = onnxruntime.InferenceSession(made.path)
    labels, _, found = session.run(None, {"text": np.array(TEXTS, object)})
    truth, allowed = Read().double(), 2e-3 if form.dtype == np.float16 else 1e-6
    for row, text in enumerate(TEXTS):
        if text:
            right = truth.answer(text)
            np.testing.assert_allclose(found[row], right.softmax(0), atol=allowed)
            assert labels[row] == LABELS.labels[int(right.argmax())]
        else:
            assert labels[row] == ""
    empty = session.run(None, {"text": np.array([], object)})
    assert [len(array) for array in empty] == [0, 0, 0]


def test_probabilities_and_single_numbers_become_those_of_labels(tmp_path: Path) -> None:
    truth = {1: Read(1).double(), 3: Read().double()}
    for answers, ends in ((3, "Softmax"), (3, "LogSoftmax"), (1, ""), (1, "Sigmoid")):
        path = write(Form(answers=answers, ends=ends), tmp_path / "theirs.onnx")
        names = LABELS if answers == 3 else LabelDecoder(("no", "yes"))
        made = derive_pipeline(path, front_end=FRONT_END, decoder=names, lengths="n")
        found = onnxruntime.InferenceSession(made.path).run(
            ["probabilities"], {"text": np.array(TEXTS, object)}
        )[0]
        for row, text in enumerate(TEXTS):
            if text:
                logits = truth[answers].answer(text)
                right = logits.softmax(0) if answers == 3 else None
                chance = logits.sigmoid() if right is None else right
                wanted = torch.cat([1 - chance, chance]) if right is None else right
                np.testing.assert_allclose(found[row], wanted, atol=1e-6)


def test_several_labels_at_once_are_values(tmp_path: Path) -> None:
    path = write(Form(ends="Sigmoid"), tmp_path / "theirs.onnx")
    with pytest.raises(ExportError, match="decoder values"):
        derive_pipeline(path, front_end=FRONT_END, decoder=LABELS, lengths="n")
    decoder = ValueDecoder(LABELS.labels)
    made = derive_pipeline(path, front_end=FRONT_END, decoder=decoder, lengths="n")
    (found,) = onnxruntime.InferenceSession(made.path).run(None, {"text": np.array(TEXTS, object)})
    truth = Read().double()
    for row, text in enumerate(TEXTS):
        if text:
            np.testing.assert_allclose(found[row], truth.answer(text).sigmoid(), atol=1e-6)
    with pytest.raises(ExportError, match="as many as the numbers"):
        derive_pipeline(path, front_end=FRONT_END, decoder=LabelDecoder(("a", "b")), lengths="n")


def test_files_for_so_many_frames_take_sounds_of_that_length_alone(tmp_path: Path) -> None:
    rows = ["batch", 5, 4]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 20])
    graph = helper.make_graph([helper.make_node("Flatten", ["x"], ["y"])], "g", [given], [made])
    path = tmp_path / "clip.onnx"
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    features = SoundFeatures(8000, n_mels=4, window=200, hop=80)
    decoder = ValueDecoder(tuple(map(str, range(20))))
    found = derive_pipeline(path, front_end=features, decoder=decoder)
    session = onnxruntime.InferenceSession(found.path)
    sizes = np.array([599, 519, 520, 600])
    sound = np.random.default_rng(0).normal(0, 0.2, sizes.sum()).astype(np.float32)
    answers = session.run(None, {"samples": sound, "lengths": sizes})[0]
    for answer, row in zip(answers, np.split(sound, np.cumsum(sizes)), strict=False):
        if len(row) in (519, 600):
            assert np.isnan(answer).all()
            continue
        right = SoundFeaturesModule(features)(torch.from_numpy(row[None])).flatten()
        np.testing.assert_allclose(answer, right, atol=1e-4)


def test_bundles_of_files_for_one_row_stream(tmp_path: Path) -> None:
    path = write(Form(dims=(1, "T"), lengths=False), tmp_path / "theirs.onnx")
    axes = {"T": "sequence"}
    how = {"front_end": FRONT_END, "decoder": LABELS, "axes": axes}
    bundle = write_file_bundle(path, tmp_path / "bundle", **how)  # type: ignore[arg-type]
    stream, truth = StreamSession(bundle), Read().double()
    for count, place in enumerate([2, 3, 5, 4], 1):
        (found,) = stream.push(np.array([[place]]))
        text = "".join(ENTRIES[known] for known in [2, 3, 5, 4][:count])
        np.testing.assert_allclose(np.ravel(found), truth.answer(text), atol=1e-6)


def test_which_axis_is_rows_is_not_guessed(tmp_path: Path) -> None:
    path = write(Form(dims=("T", "N"), lengths=False), tmp_path / "theirs.onnx")
    with pytest.raises(ExportError, match=r"known by lengths or be called batch, .*\(--axis\)"):
        derive_pipeline(path, front_end=FRONT_END, decoder=LABELS)
    path = write(Form(), tmp_path / "theirs.onnx")
    with pytest.raises(InputError, match="--lengths n"):
        derive_pipeline(path, front_end=FRONT_END, decoder=LABELS)


def test_rows_too_short_for_a_file_are_not_answered(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    weights = random.normal(0, 1, (2, 2, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["columns"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["columns", "W"], ["windows"]),
        helper.make_node("ReduceMax", ["windows"], ["y"], axes=[2], keepdims=0),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 2])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "g", [given], [made], [numpy_helper.from_array(weights, "W")])
    opsets = [helper.make_opsetid("", 13)]
    path = tmp_path / "windows.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    found = derive_pipeline(path, front_end=None, decoder=ValueDecoder(("a", "b")))
    rows = [random.normal(0, 1, (n, 2)).astype(np.float32) for n in (3, 2, 9, 0, 1)]
    feed = {"x": np.concatenate(rows), "lengths": np.array([*map(len, rows)])}
    answers = onnxruntime.InferenceSession(found.path).run(None, feed)[0]
    for answer, row in zip(answers, rows, strict=True):
        if len(row) < 3:
            assert np.isnan(answer).all()
            continue
        windows = [np.einsum("oct,tc->o", weights, row[n : n + 3]) for n in range(len(row) - 2)]
        np.testing.assert_allclose(answer, np.max(windows, axis=0), rtol=1e-5)
