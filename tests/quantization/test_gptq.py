"""Rounding by output: on the grid, nearer in what the layer computes, and nothing left for a quantizer to round."""

from __future__ import annotations

import numpy as np
import pytest

from converter.quantization import gptq
from converter.quantization.gptq import in_groups, round_by_output, round_to_nearest, scales_of


def _layer(seed: int, rows: int = 400, inputs: int = 48, outputs: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Weights (outputs, inputs), and inputs (rows, inputs) that depend on each other, as activations do."""
    drawn = np.random.default_rng(seed)
    mixed = drawn.standard_normal((rows, inputs // 4)) @ drawn.standard_normal((inputs // 4, inputs))
    noisy = mixed + 0.05 * drawn.standard_normal((rows, inputs))
    return drawn.standard_normal((outputs, inputs)).astype(np.float32), noisy


def _error(inputs: np.ndarray, weights: np.ndarray, rounded: np.ndarray) -> float:
    return float(((inputs @ (rounded - weights).T.astype(np.float64)) ** 2).mean())


@pytest.mark.parametrize("seed", range(4))
def test_outputs_lie_nearer_than_with_rounding_to_nearest(seed: int) -> None:
    """A quarter of the error or less where inputs depend on each other."""
    weights, inputs = _layer(seed)

    rounded = round_by_output(weights, inputs.T @ inputs)

    assert _error(inputs, weights, rounded) < 0.25 * _error(inputs, weights, round_to_nearest(weights))


def test_other_inputs_than_the_layers_do_not_help() -> None:
    """The twin: a Hessian of unrelated inputs makes the outputs worse than rounding to nearest."""
    weights, inputs = _layer(0)
    _, others = _layer(99)

    rounded = round_by_output(weights, others.T @ others)

    assert _error(inputs, weights, rounded) > _error(inputs, weights, round_to_nearest(weights))


@pytest.mark.parametrize("seed", range(4))
def test_a_quantizer_finds_every_weight_on_its_grid(seed: int) -> None:
    """Each channel keeps its largest magnitude, hence its scale; rounding again moves nothing."""
    weights, inputs = _layer(seed)

    rounded = round_by_output(weights, inputs.T @ inputs)

    np.testing.assert_allclose(np.abs(rounded).max(axis=1), np.abs(weights).max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(round_to_nearest(rounded), rounded, rtol=1e-5, atol=1e-7)
    assert len(np.unique(np.rint(rounded / (np.abs(rounded).max(axis=1, keepdims=True) / 127)))) <= 255


def test_independent_inputs_leave_rounding_to_nearest() -> None:
    """With a diagonal Hessian no weight can make up for another."""
    weights, _ = _layer(1)

    np.testing.assert_allclose(round_by_output(weights, np.eye(48)), round_to_nearest(weights), atol=1e-6)


@pytest.mark.parametrize("case", ["zero channel", "dead input", "nothing seen", "one input"])
def test_degenerate_layers_come_out_finite(case: str) -> None:
    """A channel of zeros, an input that calibration never saw, no input at all."""
    weights, inputs = _layer(2)
    if case == "zero channel":
        weights[3] = 0
    if case == "dead input":
        inputs[:, 5] = 0
    if case == "nothing seen":
        inputs[:] = 0
    if case == "one input":
        weights, inputs = weights[:, :1], inputs[:, :1]

    rounded = round_by_output(weights, inputs.T @ inputs)

    assert np.isfinite(rounded).all()
    np.testing.assert_allclose(rounded, weights, atol=0.1)
    if case == "zero channel":
        assert not rounded[3].any()


def test_groups_fit_into_memory_and_shared_inputs_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order; q, k and v read one tensor and have one H; a layer above the limit comes alone."""
    monkeypatch.setattr(gptq, "HESSIAN_BYTES", 2 * 10**2 * 8)
    layers = [("q", "x", 10), ("k", "x", 10), ("v", "x", 10), ("out", "y", 10), ("fc1", "z", 10), ("fc2", "w", 99)]

    groups = list(in_groups(layers, lambda layer: layer[1:]))

    assert [[name for name, *_ in group] for group in groups] == [["q", "k", "v", "out"], ["fc1"], ["fc2"]]


@pytest.mark.parametrize("inputs", [48, 47])
@pytest.mark.parametrize("by_output", [True, False])
def test_no_pair_is_too_large_for_16_bits(inputs: int, by_output: bool) -> None:
    """With `pairs`, neighbours of one sign have 128 steps at most, and 255 times those fit; without, some do not."""
    weights, rows = _layer(2, inputs=48)
    weights, rows = 4 * np.sign(weights[:, :inputs]) * weights[:, :inputs] ** 2, rows[:, :inputs]
    for pairs in (True, False):
        scales = scales_of(weights, pairs=pairs)
        rounded = round_by_output(weights, rows.T @ rows, pairs=pairs) if by_output else weights
        steps = np.rint(rounded / scales)

        assert np.abs(steps).max() <= 127
        assert (_largest_pair(steps) <= 128) is pairs


def test_pairs_cost_less_than_a_bit() -> None:
    """Scales grow as far as they must, by a third here; weights in seven bits would double them."""
    weights, _ = _layer(3)

    growth = scales_of(weights, pairs=True) / scales_of(weights)

    assert (growth >= 1).all()
    assert growth.mean() < 1.4


def _largest_pair(steps: np.ndarray) -> float:
    padded = np.pad(steps, ((0, 0), (0, steps.shape[1] % 2)))
    pairs = padded.reshape(len(steps), -1, 2)
    return float(max(np.maximum(side * pairs, 0).sum(axis=2).max() for side in (1, -1)))
