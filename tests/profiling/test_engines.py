"""Our session and the eager module answer the same feed, or nothing is measured."""

import numpy as np
import pytest
import tiny_bundles
import torch
from torch import nn

from rnn_edge.bundle import Bundle
from rnn_edge.errors import InputError, VerificationError
from rnn_edge.profiling.engines import (
    SessionEngine,
    TorchEngine,
    bind,
    require_agreement,
    torch_engines,
    torch_threads,
)
from rnn_edge.profiling.inputs import random_inputs
from rnn_edge.runtime import Session


class LanguageModel(nn.Module):
    """What tiny_bundles.write_language_model wrote, as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.tensor(tiny_bundles.LM_TABLE))
        self.rnn = nn.RNN(4, tiny_bundles.HIDDEN, bias=False, batch_first=True)
        self.head = nn.Parameter(torch.tensor(tiny_bundles.LM_HEAD))
        with torch.no_grad():
            self.rnn.weight_ih_l0.copy_(torch.tensor(tiny_bundles.LM_W[0]))
            self.rnn.weight_hh_l0.copy_(torch.tensor(tiny_bundles.LM_R[0]))

    def forward(self, tokens: torch.Tensor, h_0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps, h_n = self.rnn(self.table(tokens), h_0)
        return steps @ self.head, h_n


@pytest.fixture
def feed(language_bundle: Bundle) -> dict[str, np.ndarray]:
    sizes = {"batch": 3, "sequence": 5}
    return random_inputs(language_bundle.graph(), sizes, np.random.default_rng(0))


def test_same_module_agrees_with_and_without_onednn(
    language_bundle: Bundle, feed: dict[str, np.ndarray]
) -> None:
    engines = torch_engines(LanguageModel())
    assert [engine.name for engine in engines] == ["torch", "torch-no-onednn"]
    require_agreement([SessionEngine(Session(language_bundle)), *engines], feed)


def test_module_with_other_weights_is_refused(
    language_bundle: Bundle, feed: dict[str, np.ndarray]
) -> None:
    module = LanguageModel()
    with torch.no_grad():
        module.head[0, 0] += 0.01
    with pytest.raises(VerificationError, match="output 0 off by"):
        require_agreement([SessionEngine(Session(language_bundle)), TorchEngine(module)], feed)


def test_module_with_other_outputs_is_refused(
    language_bundle: Bundle, feed: dict[str, np.ndarray]
) -> None:
    class OneOutput(LanguageModel):
        def forward(self, tokens: torch.Tensor, h_0: torch.Tensor) -> torch.Tensor:
            return super().forward(tokens, h_0)[0]

    with pytest.raises(VerificationError, match="other shapes"):
        require_agreement([SessionEngine(Session(language_bundle)), TorchEngine(OneOutput())], feed)


def test_answer_that_is_no_number_is_refused(
    language_bundle: Bundle, feed: dict[str, np.ndarray]
) -> None:
    module = LanguageModel()
    with torch.no_grad():
        module.head[0, 0] = torch.nan
    with pytest.raises(VerificationError):
        require_agreement([SessionEngine(Session(language_bundle)), TorchEngine(module)], feed)


def test_module_is_called_without_gradients_and_in_evaluation_mode() -> None:
    class Witness(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return x + 1

    engine = TorchEngine(Witness().train())
    with engine.setting():
        returned = engine.call(engine.prepare({"x": np.ones(2, np.float32)}))
    assert engine.answers(returned)[0].tolist() == [2, 2]


def test_onednn_is_off_only_while_the_engine_without_it_is_called() -> None:
    engine = TorchEngine(nn.Identity(), onednn=False)
    with engine.setting():
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled


def test_numbered_inputs_become_a_tuple_argument() -> None:
    class Lstm(nn.Module):
        def forward(
            self, x: torch.Tensor, hx: tuple[torch.Tensor, torch.Tensor] | None = None
        ) -> torch.Tensor:
            return x

    x, h, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    arguments = bind(Lstm(), {"hx_0": h, "x": x, "hx_1": c})
    assert arguments["x"] is x
    assert arguments["hx"] == (h, c)
    assert list(bind(Lstm(), {"x": x})) == ["x"]


def test_keys_of_a_dict_and_nested_tuples_are_bound() -> None:
    class Nested(nn.Module):
        def forward(
            self, batch: dict[str, torch.Tensor], batch_size: torch.Tensor, states: tuple
        ) -> None:
            del batch, batch_size, states

    names = [
        "batch_tokens",
        "batch_size",
        "batch_mask_bits",
        "states_0_0",
        "states_0_1",
        "states_1",
    ]
    tensors = {name: torch.full((1,), float(place)) for place, name in enumerate(names)}
    found = bind(Nested(), tensors)
    tokens, size, bits, h_0, c_0, h_1 = tensors.values()
    assert found == {
        "batch": {"tokens": tokens, "mask_bits": bits},
        "batch_size": size,
        "states": ((h_0, c_0), h_1),
    }


def test_part_of_an_argument_that_is_one_tensor_is_named() -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(InputError, match="does not take x_lengths"):
        bind(Plain(), {"x": torch.zeros(1), "x_lengths": torch.zeros(1)})


def test_input_that_forward_does_not_take_is_named() -> None:
    class Other(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(InputError, match="does not take tokens"):
        bind(Other(), {"x": torch.zeros(1), "tokens": torch.zeros(1)})


def test_torch_has_the_threads_asked_for_and_gets_its_own_number_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
