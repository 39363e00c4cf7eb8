"""Compressed weights are decoded to the very bits that coremltools decodes them to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.errors import ConversionError
from converter.mil.interpreter import Interpreter
from converter.mil.program import Program, read_program
from tests.mil.building import executed
from tests.mil.calling import Array, all_called, called, drawn
from tests.mil.compression import INPUT_SHAPE, WAYS, Way, save_both, save_small_model

pytest.importorskip("coremltools", reason="needs the extra mcconvert[coreml]")

QUICK = settings(max_examples=20, deadline=None)
CASES = [(way, target) for way in WAYS for target in way.targets]
X = drawn(0, *INPUT_SHAPE)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small model in float32 until iOS16 and in float16 for iOS18."""
    folder = tmp_path_factory.mktemp("models")
    found = {target: folder / f"{target}.mlpackage" for target in ("iOS16", "iOS18")}
    save_small_model(found["iOS16"], "iOS16", "FLOAT32")
    save_small_model(found["iOS18"], "iOS18", "FLOAT16")
    return found


def _weights(program: Program, interpreter: Interpreter) -> list[Array]:
    return [
        interpreter.constants[one.inputs["weight"][0]].numpy()
        for one in program.operations
        if one.kind in ("conv", "linear")
    ]


@pytest.mark.parametrize(("way", "target"), CASES, ids=[f"{way.name}-{target}" for way, target in CASES])
def test_a_compressed_model_is_the_one_that_coremltools_decompresses(
    way: Way, target: str, models: dict[str, Path], tmp_path: Path
) -> None:
    """Bit for bit: its weights, and what it gives; the file holds the operations that this way stands for."""
    compressed, plain = (read_program(one) for one in save_both(way, models[target], tmp_path))

    ours, theirs = Interpreter(compressed), Interpreter(plain)

    kinds = [one.kind for one in compressed.operations if one.kind.startswith("constexpr_")]
    assert sorted(kinds) == sorted(3 * way.kinds)
    assert not any(one.kind.startswith("constexpr_") for one in plain.operations)
    pairs = list(zip(_weights(compressed, ours), _weights(plain, theirs), strict=True))
    assert len(pairs) == 3
    assert all(np.array_equal(one, other) for one, other in pairs)
    (given,) = compressed.inputs
    for one, other in zip(ours.run({given: X}).values(), theirs.run({given: X}).values(), strict=True):
        assert np.array_equal(one, other)


def test_a_changed_byte_is_a_changed_weight(models: dict[str, Path], tmp_path: Path) -> None:
    """The comparison above sees one wrong index among thousands."""
    way = next(one for one in WAYS if one.name == "4 bit table")
    compressed, plain = save_both(way, models["iOS18"], tmp_path)
    held = read_program(compressed)
    indices = next(name for name in held.weights if "indices" in name)
    held = _changed(held, indices, lambda flat: [flat[0] ^ 1, *flat[1:]])

    broken, theirs = Interpreter(held), Interpreter(read_program(plain))

    differing = sum(
        int((one != other).sum())
        for one, other in zip(_weights(held, broken), _weights(read_program(plain), theirs), strict=True)
    )
    assert differing == 1


def _changed(program: Program, name: str, change: Any) -> Program:
    held: Any = program.constants[name]
    changed = np.asarray(change(held.reshape(-1)), held.dtype).reshape(held.shape)
    return replace(program, constants={**program.constants, name: changed})


@st.composite
def _tables(draw: Any) -> dict[str, Any]:
    """Indices of up to three axes, cut in blocks, with a table of numbers or of vectors for each block."""
    counts = draw(st.lists(st.integers(1, 2), min_size=1, max_size=3))
    shape = [count * draw(st.integers(1, 3)) for count in counts]
    bits, width = draw(st.sampled_from([1, 2, 3, 4, 6, 8])), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return {
        "indices": rng.integers(0, 2**bits, shape).astype(np.uint8),
        "lut": rng.standard_normal((*counts, 2**bits, width)).astype(np.float32),
        "vector_axis": draw(st.integers(-len(shape), len(shape) - 1)),
    }  # fmt: skip


@QUICK
@given(_tables(), st.integers(0, 99))
def test_tables_are_looked_up_as_coremltools_looks_them_up(table: dict[str, Any], seed: int) -> None:
    """Dense and sparse, tables of blocks, vectors along any axis."""
    from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as theirs

    mask = np.random.default_rng(seed).integers(0, 2, table["indices"].shape).astype(np.uint8)
    values = table["indices"][mask != 0]
    sparse = {
        "indices_mask": mask,
        "indices_nonzero_data": values,
        **{key: table[key] for key in ("lut", "vector_axis")},
    }

    dense = called("constexpr_lut_to_dense", **table)
    found = all_called("constexpr_lut_to_sparse", **sparse)

    assert np.array_equal(dense, theirs.constexpr_lut_to_dense.decompress(**table))
    for one, other in zip(found, theirs.constexpr_lut_to_sparse.decompress(**sparse), strict=True):
        assert np.array_equal(one, other)
    filled = called("constexpr_sparse_to_dense", nonzero_data=found[1], mask=found[0])
    assert np.array_equal(filled, np.where(found[0] != 0, dense, 0))


@QUICK
@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3)), min_size=1, max_size=3), st.booleans())
def test_blocks_are_scaled_as_coremltools_scales_them(blocks: list[tuple[int, int]], shifted: bool) -> None:
    """Each value by the figures of its block; sparse values alone by the same."""
    from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as theirs

    rng = np.random.default_rng(len(blocks))
    counts, shape = [count for count, _ in blocks], [count * size for count, size in blocks]
    data = rng.integers(-8, 8, shape).astype(np.int8)
    figures = {"scale": rng.standard_normal(counts).astype(np.float32)}
    figures |= {"offset": rng.integers(-8, 8, counts).astype(np.int8)} if shifted else {}
    mask = rng.integers(0, 2, shape).astype(np.uint8)

    dense = called("constexpr_blockwise_shift_scale", data=data, **figures)
    found = all_called(
        "constexpr_sparse_blockwise_shift_scale", data_mask=mask, nonzero_data=data[mask != 0], **figures
    )

    expected = theirs.constexpr_blockwise_shift_scale.decompress(data, figures["scale"], figures.get("offset"))
    assert np.array_equal(dense, expected)
    assert np.array_equal(found[0], mask)
    assert np.array_equal(found[1], expected[mask != 0])


@QUICK
@given(st.sampled_from([1, 2, 4, 6, 8]), st.integers(1, 7), st.integers(1, 3))
def test_packed_indices_and_masks_start_with_the_lowest_bit(bits: int, rows: int, columns: int) -> None:
    """Numbers that lie across two bytes too; spelled out bit by bit."""
    rng = np.random.default_rng(bits * rows)
    indices, lut = rng.integers(0, 2**bits, rows * columns), drawn(1, 2**bits)
    number = sum(int(one) << (bits * place) for place, one in enumerate(indices))
    packed = np.frombuffer(number.to_bytes(-(-bits * len(indices) // 8), "little"), np.uint8)

    found = called("constexpr_lut_to_dense", indices=packed, lut=lut, shape=[rows, columns])

    assert np.array_equal(found, lut[indices].reshape(rows, columns))
    if bits == 1:
        values = drawn(2, int(indices.sum()))
        sparse = called("constexpr_sparse_to_dense", nonzero_data=values, mask=packed, shape=[rows, columns])
        assert np.array_equal(sparse.reshape(-1)[indices == 1], values)
        assert not sparse.reshape(-1)[indices == 0].any()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("constexpr_sparse_to_dense", {"nonzero_data": [1.0], "mask": [1, 1, 0]}),
        ("constexpr_lut_to_dense", {"indices": np.uint8([1, 2]), "lut": [1.0, 2.0], "shape": [3]}),
        ("constexpr_lut_to_dense", {"indices": [0, 1], "lut": np.ones((1, 2, 2)), "shape": None}),
        ("constexpr_lut_to_dense", {"indices": [0, 1, 1], "lut": np.ones((2, 2, 1)), "shape": None}),
        ("constexpr_blockwise_shift_scale", {"data": [1, 2, 3], "scale": [1.0, 2.0]}),
        ("constexpr_cast", {"source_val": [1.0], "output_dtype": "fp16"}),
    ],
)
def test_parts_that_do_not_fit_together_are_an_error(kind: str, arguments: dict[str, Any]) -> None:
    """A value too few, bytes too many, a vector without its axis, blocks that do not divide: never a silent guess."""
    with pytest.raises(ValueError, match=r"mask|bytes|axis|block|cast"):
        called(kind, **{key: one for key, one in arguments.items() if one is not None})


def test_vectors_and_casts_go_through_a_file() -> None:
    """What coremltools' own compression does not write here: a table of vectors, and a constant in half its size."""
    from coremltools.converters.mil.mil import types

    indices = np.array([[0, 1], [3, 2], [1, 1]], types.np_uint2_dtype)
    lut, half = drawn(1, 1, 1, 4, 3), drawn(2, 4, 4).astype(np.float16)

    (of_vectors,) = executed(
        lambda mb, x: mb.add(x=x, y=mb.constexpr_lut_to_dense(indices=indices, lut=lut, vector_axis=0)),
        {"x": np.zeros((9, 2), np.float32)},
    )
    (widened,) = executed(
        lambda mb, x: mb.add(x=x, y=mb.constexpr_cast(source_val=half, output_dtype="fp32")),
        {"x": np.zeros((4, 4), np.float32)},
        "iOS16",
    )

    assert np.array_equal(of_vectors, lut[0, 0][indices.astype(int)].transpose(0, 2, 1).reshape(9, 2))
    assert np.array_equal(widened, half.astype(np.float32))


def test_a_file_whose_mask_does_not_fit_is_refused_by_name(models: dict[str, Path], tmp_path: Path) -> None:
    """The error says which operation it was."""
    way = next(one for one in WAYS if one.name == "half zeros")
    compressed, _ = save_both(way, models["iOS16"], tmp_path)
    program = read_program(compressed)
    mask = next(name for name in program.constants if name.endswith("/mask"))
    program = _changed(program, mask, np.zeros_like)

    with pytest.raises(ConversionError, match="constexpr_sparse_to_dense"):
        Interpreter(program)
