"""A contract survives JSON, and a malformed one is refused in one line."""

import contextlib
import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from rnn_edge.contract import (
    ABOUT_KEY,
    DECODERS,
    FRONT_ENDS,
    AudioFrontEnd,
    AxisLimits,
    ByteFrontEnd,
    CharacterFrontEnd,
    ClipFrontEnd,
    Contract,
    CtcDecoder,
    Decoder,
    FrontEnd,
    GraphContract,
    ImageFrontEnd,
    LabelDecoder,
    NextCharacterDecoder,
    PictureFrontEnd,
    SeriesFrontEnd,
    StatePair,
    StreamRule,
    TagDecoder,
    TensorSpec,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.errors import ContractError

GRAPH = GraphContract(
    file="model.onnx",
    inputs=(
        TensorSpec("tokens", "int64", ("batch", "sequence"), "character ids", 0, 4999),
        TensorSpec("lengths", "int64", ("batch",), lengths_of="sequence"),
        TensorSpec("h_0", "float32", (1, "batch", 16)),
    ),
    outputs=(
        TensorSpec("logits", "float32", ("batch", 2)),
        TensorSpec("h_n", "float32", (1, "batch", 16)),
    ),
    states=(StatePair("h_0", "h_n", batch_axis=1, initial=0.5),),
    axes={"sequence": AxisLimits(1, None, 200), "batch": AxisLimits(maximum=64)},
    stream=StreamRule("sequence", latency=3, reset="reset", in_step=True),
)
FRONT_END_EXAMPLES: list[FrontEnd | None] = [
    None,
    CharacterFrontEnd(("<pad>", "<unk>", "a", "好", '"', "\\"), unknown=1, padding=0),
    ByteFrontEnd(offset=3, padding=1),
    SeriesFrontEnd(("HUFL", "OT"), mean=(7.5, 13.0), std=(5.9, 8.5)),
    ImageFrontEnd(28, 28, maximum=16.0),
    AudioFrontEnd(16000),
    ClipFrontEnd(24, 32, maximum=1.0),
    PictureFrontEnd(24, 32, maximum=1.0),
]
DECODER_EXAMPLES: list[Decoder | None] = [
    None,
    LabelDecoder(("negative", "positive")),
    ValueDecoder(("OT",)),
    NextCharacterDecoder(never=(0, 1)),
    TagDecoder(("O", "B-PER", "I-PER")),
    CtcDecoder(("", "a", "好"), blank=0, stride=160),
    TextDecoder(("<pad>", "<unk>", "a", "<end>"), end=3),
]
WHOLE = Contract(
    "sentiment", {"model": GRAPH}, "sentiment", FRONT_END_EXAMPLES[1], DECODER_EXAMPLES[1]
)


def parsed(contract: Contract) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(contract.to_dict()))
    return data


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a parsed JSON document."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


def test_examples_cover_every_front_end_and_decoder() -> None:
    assert {type(example) for example in FRONT_END_EXAMPLES[1:]} == set(FRONT_ENDS.values())
    assert {type(example) for example in DECODER_EXAMPLES[1:]} == set(DECODERS.values())


@pytest.mark.parametrize("front_end", FRONT_END_EXAMPLES, ids=lambda it: type(it).__name__)
def test_front_end_survives_json(front_end: FrontEnd | None) -> None:
    contract = Contract("name", {"model": GRAPH}, front_end=front_end)
    assert Contract.from_dict(parsed(contract)).front_end == front_end


@pytest.mark.parametrize("decoder", DECODER_EXAMPLES, ids=lambda it: type(it).__name__)
def test_decoder_survives_json(decoder: Decoder | None) -> None:
    contract = Contract("name", {"model": GRAPH}, decoder=decoder)
    assert Contract.from_dict(parsed(contract)).decoder == decoder


def test_whole_contract_survives_json() -> None:
    assert Contract.from_dict(parsed(WHOLE)) == WHOLE


def test_a_file_s_metadata_holds_its_graph_and_what_goes_beyond_graphs() -> None:
    found = Contract.from_metadata({"theirs": "x", **WHOLE.metadata(GRAPH)})
    assert found == replace(WHOLE, graphs={"model": GRAPH})


def test_metadata_of_another_program_is_no_contract() -> None:
    assert Contract.from_metadata({"theirs": "x"}) is None


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"name": 3}', '{"name": "n", "odd": 1}'])
def test_malformed_metadata_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Contract.from_metadata({**WHOLE.metadata(GRAPH), ABOUT_KEY: text})


def test_graph_contract_survives_json() -> None:
    assert GraphContract.from_json(GRAPH.to_json()) == GRAPH


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("graphs", "model"),
        ("graphs", "model", "inputs", 1),
        ("graphs", "model", "outputs", 0),
        ("graphs", "model", "states", 0),
        ("graphs", "model", "axes", "sequence"),
        ("front_end",),
        ("decoder",),
    ],
)
def test_unknown_field_is_refused_in_every_record(path: tuple[Any, ...]) -> None:
    with pytest.raises(ContractError, match="novelty"):
        Contract.from_dict(with_value(parsed(WHOLE), (*path, "novelty"), "x"))


@pytest.mark.parametrize(
    "path",
    [
        ("name",),
        ("graphs",),
        ("graphs", "model", "file"),
        ("graphs", "model", "inputs"),
        ("graphs", "model", "outputs"),
        ("graphs", "model", "inputs", 0, "dims"),
        ("graphs", "model", "states", 0, "batch_axis"),
        ("front_end", "vocabulary"),
        ("decoder", "kind"),
    ],
)
def test_missing_field_is_refused(path: tuple[Any, ...]) -> None:
    document = parsed(WHOLE)
    at = document
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    with pytest.raises(ContractError):
        Contract.from_dict(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), 5),
        (("graphs", "model", "file"), ["model.onnx"]),
        (("graphs", "model", "inputs", 0, "name"), None),
        (("graphs", "model", "inputs", 0, "dims"), "batch"),
        (("graphs", "model", "inputs", 0, "dims"), [1.5]),
        (("graphs", "model", "inputs", 0, "dtype"), "float31"),
        (("graphs", "model", "inputs", 0, "maximum"), "4999"),
        (("graphs", "model", "states", 0, "batch_axis"), True),
        (("graphs", "model", "axes", "batch", "maximum"), 1.5),
        (("graphs", "model", "axes"), []),
        (("front_end", "vocabulary"), "abc"),
        (("front_end", "kind"), "smell"),
        (("front_end", "kind"), []),
        (("decoder",), "labels"),
        (("decoder", "labels"), [1, 2]),
    ],
)
def test_mistyped_field_is_refused(path: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(ContractError):
        Contract.from_dict(with_value(parsed(WHOLE), path, value))


@pytest.mark.parametrize("junk", [None, True, 7, -1.5, "x", [], [[]], {}, {"x": 1}])
def test_damage_anywhere_raises_nothing_but_a_contract_error(junk: Any) -> None:
    document = parsed(WHOLE)
    for path in places(document):
        with contextlib.suppress(ContractError):
            Contract.from_dict(with_value(document, path, junk))


@pytest.mark.parametrize("text", ["", "[]", "5", "null", "{", '{"file": 5}', "[" * 100_000])
def test_malformed_json_text_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        GraphContract.from_json(text)


def test_whole_number_is_a_float_where_json_wrote_no_point() -> None:
    document = with_value(parsed(WHOLE), ("graphs", "model", "states", 0, "initial"), 1)
    assert Contract.from_dict(document).graphs["model"].states[0].initial == 1.0


def test_input_and_output_are_found_by_name() -> None:
    assert GRAPH.input("lengths").lengths_of == "sequence"
    assert GRAPH.output("logits").dims == ("batch", 2)
    assert GRAPH.state_inputs == {"h_0"}


def test_wrong_tensor_name_names_the_right_ones() -> None:
    with pytest.raises(ContractError, match=r"tokens, lengths, h_0, got 'token'"):
        GRAPH.input("token")


def test_tensor_prints_as_name_dtype_and_dims() -> None:
    assert str(GRAPH.inputs[0]) == "tokens: int64[batch, sequence]"
