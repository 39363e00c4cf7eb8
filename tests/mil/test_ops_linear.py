"""Products and attention agree with coremltools' own values and with plain sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mil.building import executed, inferred
from tests.mil.calling import called, drawn

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=20, deadline=None)
SIZES = st.integers(1, 4)


@QUICK
@given(SIZES, SIZES, SIZES, st.lists(SIZES, max_size=2), st.booleans(), st.booleans())
def test_a_product_is_as_coremltools_computes_it(
    rows: int, inner: int, columns: int, batch: list[int], transpose_x: bool, transpose_y: bool
) -> None:
    """Whichever side is transposed, with axes before the last two, one of them repeated."""
    x = drawn(1, *batch, *((inner, rows) if transpose_x else (rows, inner)))
    y = drawn(2, *[1] * min(1, len(batch)), *((columns, inner) if transpose_y else (inner, columns)))
    given_all: dict[str, Any] = {"x": x, "y": y, "transpose_x": transpose_x, "transpose_y": transpose_y}

    found = called("matmul", **given_all)

    assert np.allclose(found, inferred("matmul", **given_all)[0], atol=1e-5)


def test_a_vector_is_a_row_on_the_left_and_a_column_on_the_right() -> None:
    """Its own axis is gone from the result; two vectors give a number; there is nothing to transpose."""
    x, y, vector = drawn(1, 2, 3, 4), drawn(2, 2, 4, 5), drawn(3, 4)

    assert np.allclose(called("matmul", x=vector, y=y, transpose_x=True), np.matmul(vector, y), atol=1e-5)
    assert np.allclose(called("matmul", x=x, y=vector, transpose_y=True), np.matmul(x, vector), atol=1e-5)
    assert np.allclose(called("matmul", x=vector, y=vector), vector @ vector, atol=1e-5)


@QUICK
@given(SIZES, SIZES, st.lists(SIZES, max_size=2), st.booleans(), st.booleans())
def test_a_linear_layer_is_as_coremltools_computes_it(
    inner: int, out: int, batch: list[int], biased: bool, whole: bool
) -> None:
    """With a bias or without, in whole numbers too."""
    kind: Any = np.int32 if whole else np.float32
    x, weight = (10 * drawn(1, *batch, inner)).astype(kind), (10 * drawn(2, out, inner)).astype(kind)
    bias = {"bias": (10 * drawn(3, out)).astype(kind)} if biased else {}

    found = called("linear", x=x, weight=weight, **bias)

    expected = sum(x[..., i, None] * weight[:, i] for i in range(inner)) + bias.get("bias", 0)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert np.allclose(found, inferred("linear", x=x, weight=weight, **bias)[0], rtol=1e-5, atol=1e-4)


def test_a_product_of_two_kinds_of_numbers_is_an_error() -> None:
    """The specification does not say in which kind the sum is taken."""
    with pytest.raises(ValueError, match=r"int32.*float32"):
        called("linear", x=np.int32([1, 2]), weight=np.float32([[0.5, 0.5]]))


@QUICK
@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.sampled_from(["none", "left", "right"]))
def test_an_einsum_is_as_coremltools_computes_it(n: int, c: int, h: int, w: int, u: int, repeated: str) -> None:
    """Both equations of the specification; an axis of size 1 on either side is repeated."""
    x = drawn(1, 1 if repeated == "left" else n, c, 1 if repeated == "left" else h, w)
    y = drawn(2, 1 if repeated == "right" else n, w, 1 if repeated == "right" else h, u)

    four = called("einsum", values=(x, y), equation="nchw,nwhu->nchu")
    three = called("einsum", values=(x[0], y[0]), equation="abc, cbd -> abd")

    assert np.allclose(four, np.einsum("nchw,nwhu->nchu", *_spread(x, y)), atol=1e-5)
    assert np.allclose(three, inferred("einsum", values=(x[0], y[0]), equation="abc,cbd->abd")[0], atol=1e-5)


def _spread(x: Any, y: Any) -> Any:
    n, h = max(len(x), len(y)), max(x.shape[2], y.shape[2])
    return np.broadcast_to(x, (n, x.shape[1], h, x.shape[3])), np.broadcast_to(y, (n, y.shape[1], h, y.shape[3]))


def test_another_equation_is_an_error() -> None:
    """A plain matrix product is not among the equations of MIL."""
    with pytest.raises(ValueError, match="ij,jk->ik"):
        called("einsum", values=(drawn(1, 2, 2), drawn(2, 2, 2)), equation="ij,jk->ik")


@QUICK
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from(["none", "bool", "float"]))
def test_attention_is_as_coremltools_computes_it(target: int, source: int, width: int, out: int, kind: str) -> None:
    """Without a mask, with one that lets through, with one that is added."""
    given_all: dict[str, Any] = {
        "query": drawn(1, 2, 3, target, width),
        "key": drawn(2, 2, 3, source, width),
        "value": drawn(3, 2, 3, source, out),
    }
    if kind != "none":
        mask = drawn(4, target, source)
        given_all["attn_mask"] = (mask > 0) | (np.arange(source) == 0) if kind == "bool" else mask

    found = called("scaled_dot_product_attention", **given_all)

    assert np.allclose(found, inferred("scaled_dot_product_attention", **given_all)[0], atol=1e-5)


def test_attention_that_sees_nothing_is_not_a_number() -> None:
    """As the formula of the specification says; torch's own operation hides it behind zeros."""
    x = drawn(1, 1, 2, 3)

    found = called(
        "scaled_dot_product_attention", query=x, key=x, value=x, attn_mask=np.array([[True, True], [False, False]])
    )

    assert np.isfinite(found[0, 0]).all()
    assert np.isnan(found[0, 1]).all()


def test_every_product_goes_through_a_file() -> None:
    """Built by coremltools, saved, read back, against torch in float32; a bool mask survives."""
    x, y, weight = drawn(1, 2, 3, 4), drawn(2, 2, 5, 4), drawn(3, 6, 4)
    mask = np.array([[True, False, True], [True, True, False], [False, True, True]])

    found = executed(
        lambda mb, x, y: (
            mb.linear(x=x, weight=weight, bias=weight[:, 0]),
            mb.matmul(x=x, y=y, transpose_y=True),
            mb.einsum(values=(x, mb.transpose(x=x, perm=[2, 1, 0])), equation="chw,whu->chu"),
            mb.scaled_dot_product_attention(query=x, key=x, value=x, attn_mask=mask),
        ),
        {"x": x, "y": y},
    )

    tx = torch.from_numpy(x)
    expected = [
        x @ weight.T + weight[:, 0],
        x @ y.transpose(0, 2, 1),
        np.einsum("chw,whu->chu", x, x.transpose(2, 1, 0)),
        torch.nn.functional.scaled_dot_product_attention(tx, tx, tx, torch.from_numpy(mask)).numpy(),
    ]
    assert all(np.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))
