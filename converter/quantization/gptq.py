"""Round a layer's weights by what the layer computes, not one by one; knows no format and no runtime.

    before: W (out, in) float32, H (in, in): the sum of x xT over the layer's inputs x on calibration samples
    after:  W' (out, in) float32 on the grid of the same scales: rounding W' to nearest changes nothing

Rules:

1. A scale an output channel: its largest magnitude over 127, the same that rounding to nearest would use.
2. Inputs are taken one after another; what rounding an input's weights did to the outputs is made up for by the weights
   of the inputs that are still to come (Frantar et al., GPTQ, 2022, arXiv 2210.17323).
3. H is damped by a hundredth of its mean diagonal, so that inputs which calibration barely saw keep their weights.
4. The largest weight of each channel stays the largest: quantizers derive rule 1's scale from it again.
5. With `pairs`, the scale is larger where it must be for no two neighbours (inputs 0 and 1, 2 and 3 ...) of one sign to
   have more than `LARGEST_PAIR` steps together, and none have after rounding. Whoever writes the integers must be told
   that scale (`scales_of`), so that rule 4 is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

type Matrix = npt.NDArray[Any]

LARGEST = 127
LARGEST_PAIR = 128
"""Rule 5: 255 times so many steps still fit into 16 bits, and 255 is the largest uint8 activation."""
DAMPING = 0.01
"""Rule 3; the value of the paper."""
ROWS = 512
"""Of one sample at most so many rows of a layer's input are taken, evenly spread: neighbours tell the same."""
SAMPLES = 64
"""For a recipe that names no number."""
HESSIAN_BYTES = 2**30
"""Layers are taken in groups whose H fit into this; each group is a pass over the samples."""
STEM_SHARE = 0.05
"""What a recipe's `float_stem` may leave in float, of all multiplications: more would be felt."""
BLOCK = 128
"""Inputs whose later updates are applied together: fewer, larger products."""


def round_by_output(weights: Matrix, hessian: Matrix, *, pairs: bool = False) -> npt.NDArray[np.float32]:
    """Rules 1 to 5. `weights` (out, in), `hessian` (in, in)."""
    working = weights.astype(np.float64)
    scales = scales_of(weights, pairs=pairs).astype(np.float64)
    factor = _inverse_factor(hessian.astype(np.float64))
    steps = np.zeros_like(working)
    for start in range(0, working.shape[1], BLOCK):
        stop = min(start + BLOCK, working.shape[1])
        errors = _round_block(working, steps, scales, factor, start, stop)
        working[:, stop:] -= errors @ factor[start:stop, stop:]
    if pairs:
        _hold_pairs(steps)
    else:
        _keep_largest(steps, weights)
    return np.asarray(steps * scales, np.float32)


def scales_of(weights: Matrix, *, pairs: bool = False) -> npt.NDArray[np.float32]:
    """Rules 1 and 5: (out, 1) of `weights` (out, in). A channel of zeros has scale 1."""
    narrow = weights.astype(np.float32)
    largest = np.abs(narrow).max(axis=1, keepdims=True)
    if pairs:  # LARGEST, not LARGEST_PAIR: rounding may add half a step to either of two
        sums = [_pair_sums(np.maximum(side, 0)).max(axis=1, keepdims=True) for side in (narrow, -narrow)]
        largest = np.maximum(largest, np.maximum(*sums))
    scales = largest / np.float32(LARGEST)
    return np.where(scales > 0, scales, np.float32(1))


def _pair_sums(magnitudes: Matrix) -> Matrix:
    """(out, in / 2, rounded up): what neighbours have together; the last of an odd number is alone."""
    even, odd = magnitudes[:, 0::2], magnitudes[:, 1::2]
    sums = even.copy()
    sums[:, : odd.shape[1]] += odd
    return np.asarray(sums)


def in_groups[T](layers: Iterable[T], product_of: Callable[[T], tuple[Hashable, int]]) -> Iterator[list[T]]:
    """The layers in order, in groups whose H fit into `HESSIAN_BYTES`; a single one is never too large.

    `product_of` gives (what the layer reads, how many inputs that are): layers that have both in common share one H.
    """
    group: list[T] = []
    products: set[tuple[Hashable, int]] = set()
    for layer in layers:
        products.add(product_of(layer))
        if group and sum(size * size * np.dtype(np.float64).itemsize for _, size in products) > HESSIAN_BYTES:
            yield group
            group, products = [], {product_of(layer)}
        group.append(layer)
    if group:
        yield group


def spread_rows(rows: Matrix, sample: int) -> Matrix:
    """At most `ROWS` of them, (n, in), from other places for each `sample`."""
    step = max(1, -(-len(rows) // ROWS))
    return rows[sample % step :: step]


def add_products(sums: dict[Any, npt.NDArray[np.float64]], key: Hashable, rows: Matrix) -> None:
    """Add x xT of the rows x, (n, in), to the sum of that key, in place: float32 products, float64 sums."""
    rows = np.ascontiguousarray(rows, np.float32)  # strided ones are multiplied without BLAS
    if key not in sums:
        sums[key] = np.zeros((rows.shape[1], rows.shape[1]))
    sums[key] += rows.T @ rows


def round_to_nearest(weights: Matrix) -> npt.NDArray[np.float32]:
    """Rule 1 alone, weights one by one. `weights` (out, ...)."""
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    scales = scales_of(flat).astype(np.float64)
    return np.asarray(np.rint(flat / scales) * scales, np.float32).reshape(weights.shape)


def _inverse_factor(hessian: Matrix) -> Matrix:
    """U, upper triangular, with U^T U the damped H's inverse (rules 2 and 3).

    H = R R^T with R upper triangular is a Cholesky factorization in reverse order, and U is R's inverse: a sixth of the
    work of inverting H and factorizing that.
    """
    from scipy.linalg.lapack import dtrtri

    diagonal = np.diagonal(hessian)
    damping = DAMPING * float(diagonal.mean()) or 1.0
    damped = hessian + np.eye(len(hessian)) * damping
    upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    inverse, _ = dtrtri(upper, lower=0)
    return np.ascontiguousarray(inverse)


def _round_block(working: Matrix, steps: Matrix, scales: Matrix, factor: Matrix, start: int, stop: int) -> Matrix:
    """Rule 2 within a block; returns the errors that later blocks make up for."""
    errors = np.zeros((len(working), stop - start))
    for column in range(start, stop):
        rounded = np.clip(np.rint(working[:, column] / scales[:, 0]), -LARGEST, LARGEST)
        steps[:, column] = rounded
        error = (working[:, column] - rounded * scales[:, 0]) / factor[column, column]
        working[:, column + 1 : stop] -= np.outer(error, factor[column, column + 1 : stop])
        errors[:, column - start] = error
    return errors


def _keep_largest(steps: Matrix, weights: Matrix) -> None:
    """Rule 4."""
    rows = np.flatnonzero(np.abs(steps).max(axis=1) < LARGEST)
    largest = np.abs(weights[rows]).argmax(axis=1)
    signs = np.sign(weights[rows, largest])
    steps[rows, largest] = signs * LARGEST


def _hold_pairs(steps: Matrix) -> None:
    """Rule 5: what a pair has too much, the larger of the two gives up."""
    for sign in (1, -1):
        sums = _pair_sums(np.maximum(sign * steps, 0))
        for row, pair in np.argwhere(sums > LARGEST_PAIR):
            both = sign * steps[row, 2 * pair : 2 * pair + 2]
            steps[row, 2 * pair + int(both.argmax())] -= sign * (sums[row, pair] - LARGEST_PAIR)
