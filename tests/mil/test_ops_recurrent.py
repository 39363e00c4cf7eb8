"""Recurrent layers are torch's modules where both define the same, and plain loops where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from tests.mil.building import executed
from tests.mil.calling import Array, all_called, drawn

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=20, deadline=None)
SIZES = st.integers(1, 4)
ACTIVATIONS = {
    "tanh": np.tanh, "scaled_tanh": np.tanh, "sigmoid": expit, "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0), "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}  # fmt: skip
LSTM_ORDER, GRU_ORDER = (0, 1, 3, 2), (0, 2, 1)
"""Torch's gates in MIL's order: input, forget, output, cell; reset, output, update."""


def _reordered(values: torch.Tensor, order: Any) -> Array:
    parts = values.detach().chunk(len(order))
    return torch.cat([parts[i] for i in order]).numpy()


def _weights(layer: Any, order: Any, suffix: str = "", side: str = "") -> dict[str, Any]:
    found = {
        f"weight_{one}{side}": _reordered(getattr(layer, f"weight_{one}_l0{suffix}"), order) for one in ("ih", "hh")
    }
    if layer.bias:
        biases = (getattr(layer, f"bias_{one}_l0{suffix}") for one in ("ih", "hh"))
        found[f"bias{side}"] = _reordered(sum(biases), order)
    return found


@QUICK
@given(SIZES, SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.booleans())
def test_an_lstm_is_torchs(
    steps: int, batch: int, wide: int, hidden: int, biased: bool, reverse: bool, every: bool
) -> None:
    """Forward or reverse, every state or the last; a reverse one gives its states in the order of computing."""
    torch.manual_seed(0)
    layer = torch.nn.LSTM(wide, hidden, bias=biased)
    x, h, c = torch.randn(steps, batch, wide), torch.randn(1, batch, hidden), torch.randn(1, batch, hidden)

    found = all_called(
        "lstm", x=x, initial_h=h[0], initial_c=c[0], output_sequence=every,
        direction="reverse" if reverse else "forward", **_weights(layer, LSTM_ORDER),
    )  # fmt: skip

    states, (last, cell) = layer(x.flip(0) if reverse else x, (h, c))
    _hold(found, [states if every else states[-1:], last[0], cell[0]])


@QUICK
@given(SIZES, SIZES, SIZES, SIZES, st.booleans(), st.booleans())
def test_a_lstm_of_both_directions_is_torchs(
    steps: int, batch: int, wide: int, hidden: int, biased: bool, every: bool
) -> None:
    """Both halves stand side by side in the order of the input; the last states are those after the last step."""
    torch.manual_seed(0)
    layer = torch.nn.LSTM(wide, hidden, bias=biased, bidirectional=True)
    x, h, c = torch.randn(steps, batch, wide), torch.randn(2, batch, hidden), torch.randn(2, batch, hidden)

    found = all_called(
        "lstm", x=x, initial_h=torch.cat([*h], -1), initial_c=torch.cat([*c], -1), direction="bidirectional",
        output_sequence=every, **_weights(layer, LSTM_ORDER), **_weights(layer, LSTM_ORDER, "_reverse", "_back"),
    )  # fmt: skip

    states, (last, cell) = layer(x, (h, c))
    ends = torch.cat([*last], -1)
    _hold(found, [states if every else ends[None], ends, torch.cat([*cell], -1)])


@QUICK
@given(*[st.sampled_from(sorted(ACTIVATIONS))] * 3, st.sampled_from([None, 0.3]))
def test_an_lstm_with_peepholes_is_a_plain_loop(gate: str, inner: str, outer: str, clip: float | None) -> None:
    """Peepholes see the cell before, that of the output gate the clipped new one; with any activations."""
    x, h, c = drawn(1, 3, 2, 2), drawn(2, 2, 4), drawn(3, 2, 4)
    weight, hidden, bias, peephole = drawn(4, 16, 2), drawn(5, 16, 4), drawn(6, 16), drawn(7, 12)
    bound = {} if clip is None else {"clip": np.float32(clip)}

    found = all_called(
        "lstm", x=x, initial_h=h, initial_c=c, weight_ih=weight, weight_hh=hidden, bias=bias, peephole=peephole,
        recurrent_activation=gate, cell_activation=inner, activation=outer, output_sequence=True, **bound,
    )  # fmt: skip

    p, every = peephole.reshape(3, 4), []
    for one in x:
        i, f, o, z = np.split(one @ weight.T + h @ hidden.T + bias, 4, axis=1)
        c = ACTIVATIONS[gate](f + p[1] * c) * c + ACTIVATIONS[gate](i + p[0] * c) * ACTIVATIONS[inner](z)
        c = c if clip is None else np.clip(c, -clip, clip)
        h = ACTIVATIONS[gate](o + p[2] * c) * ACTIVATIONS[outer](c)
        every.append(h)
    _hold(found, [np.stack(every), h, c])


@QUICK
@given(SIZES, SIZES, SIZES, SIZES, st.booleans(), st.booleans())
def test_an_rnn_is_torchs(steps: int, batch: int, wide: int, hidden: int, biased: bool, reverse: bool) -> None:
    """Forward or reverse."""
    torch.manual_seed(0)
    layer = torch.nn.RNN(wide, hidden, bias=biased, nonlinearity="relu")
    x, h = torch.randn(steps, batch, wide), torch.randn(1, batch, hidden)

    found = all_called(
        "rnn", x=x, initial_h=h[0], activation="relu", output_sequence=True,
        direction="reverse" if reverse else "forward", **_weights(layer, (0,)),
    )  # fmt: skip

    states, last = layer(x.flip(0) if reverse else x, h)
    _hold(found, [states, last[0]])


@QUICK
@given(SIZES, SIZES, SIZES, SIZES, st.booleans())
def test_a_gru_that_resets_after_the_product_is_torchs(
    steps: int, batch: int, wide: int, hidden: int, reverse: bool
) -> None:
    """With both biases of torch's."""
    torch.manual_seed(0)
    layer = torch.nn.GRU(wide, hidden)
    x, h = torch.randn(steps, batch, wide), torch.randn(1, batch, hidden)
    names = {"weight_ih": "weight_ih", "weight_hh": "weight_hh", "bias_ih": "input_bias", "bias_hh": "bias"}

    found = all_called(
        "gru", x=x, initial_h=h[0], reset_after=True, output_sequence=True,
        direction="reverse" if reverse else "forward",
        **{name: _reordered(getattr(layer, f"{one}_l0"), GRU_ORDER) for one, name in names.items()},
    )  # fmt: skip

    states, last = layer(x.flip(0) if reverse else x, h)
    _hold(found, [states, last[0]])


@QUICK
@given(st.booleans(), *[st.sampled_from(sorted(ACTIVATIONS))] * 2)
def test_a_gru_that_resets_before_the_product_is_a_plain_loop(biased: bool, gate: str, activation: str) -> None:
    """The default, which torch does not have."""
    x, h = drawn(1, 3, 2, 2), drawn(2, 2, 4)
    weight, hidden = drawn(3, 3, 4, 2), drawn(4, 3, 4, 4)
    bias = drawn(5, 3, 4) if biased else np.zeros((3, 4), np.float32)

    found = all_called(
        "gru", x=x, initial_h=h, weight_ih=weight.reshape(12, 2), weight_hh=hidden.reshape(12, 4),
        recurrent_activation=gate, activation=activation, **({"bias": bias.reshape(12)} if biased else {}),
    )  # fmt: skip

    for one in x:
        r = ACTIVATIONS[gate](one @ weight[0].T + h @ hidden[0].T + bias[0])
        z = ACTIVATIONS[gate](one @ weight[2].T + h @ hidden[2].T + bias[2])
        o = ACTIVATIONS[activation](one @ weight[1].T + (r * h) @ hidden[1].T + bias[1])
        h = (1 - z) * o + z * h
    _hold(found, [h[None], h])


@pytest.mark.parametrize("changes", [{"direction": "sideways"}, {"activation": "softplus"}])
def test_an_unknown_direction_or_activation_is_an_error(changes: dict[str, Any]) -> None:
    """What is not known is not guessed."""
    with pytest.raises(ValueError, match=next(iter(changes.values()))):
        all_called("rnn", x=np.ones((1, 1, 1)), initial_h=[[0.0]], weight_ih=[[1.0]], weight_hh=[[1.0]], **changes)


def test_every_recurrent_layer_goes_through_a_file() -> None:
    """Built by coremltools with its own defaults, saved, read back: the same as the kernels give."""
    x, h = drawn(1, 3, 2, 4), drawn(2, 2, 5)
    weights = {kind: {"weight_ih": drawn(3, n * 5, 4), "weight_hh": drawn(4, n * 5, 5)} for kind, n in _GATES.items()}
    starts = {kind: {"initial_h": h} | ({"initial_c": h} if kind == "lstm" else {}) for kind in _GATES}

    found = executed(
        lambda mb, x: tuple(one for kind in _GATES for one in getattr(mb, kind)(x=x, **starts[kind], **weights[kind])),
        {"x": x},
    )

    expected = [one for kind in _GATES for one in all_called(kind, x=x, **starts[kind], **weights[kind])]
    _hold(found, expected)


_GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def _hold(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        other = other.detach().numpy() if isinstance(other, torch.Tensor) else other
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4)
