"""A small model compressed by coremltools in each way that it knows, and decompressed by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from converter.coreml_package import import_coremltools

INPUT_SHAPE = (1, 8, 4, 4)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How weights are compressed, and what the file then holds."""

    name: str
    compress: Callable[[Any, Any], Any]
    """Takes `coremltools.optimize.coreml` and the model."""
    kinds: tuple[str, ...]
    """The operations that decode one weight."""
    targets: tuple[str, ...] = ("iOS16", "iOS18")


def _config(optimizer: Any, kind: str, **options: Any) -> Any:
    return optimizer.OptimizationConfig(global_config=getattr(optimizer, kind)(weight_threshold=64, **options))


def _quantized(**options: Any) -> Callable[[Any, Any], Any]:
    joint = {"joint_compression": True} if options.pop("joint", False) else {}
    return lambda o, m: o.linear_quantize_weights(m, _config(o, "OpLinearQuantizerConfig", **options), **joint)


def _palettized(bits: int, *, joint: bool = False, **options: Any) -> Callable[[Any, Any], Any]:
    def compress(o: Any, model: Any) -> Any:
        config = _config(o, "OpPalettizerConfig", mode="uniform", nbits=bits, **options)
        return (
            o.palettize_weights(model, config, joint_compression=True) if joint else o.palettize_weights(model, config)
        )

    return compress


def _pruned(o: Any, model: Any) -> Any:
    return o.prune_weights(model, _config(o, "OpMagnitudePrunerConfig", target_sparsity=0.5))


def _both(first: Callable[[Any, Any], Any], second: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda o, model: second(o, first(o, model))


_BLOCKS: Mapping[str, Any] = {"granularity": "per_block", "block_size": 8}
_OLD, _NEW = ("iOS16",), ("iOS18",)
_AFFINE, _SCALE = "constexpr_affine_dequantize", "constexpr_blockwise_shift_scale"
_LUT, _DENSE = "constexpr_lut_to_dense", "constexpr_sparse_to_dense"
WAYS = (
    Way(name="int8", compress=_quantized(mode="linear_symmetric"), kinds=(_AFFINE,), targets=_OLD),
    Way(name="uint8", compress=_quantized(mode="linear", dtype="uint8"), kinds=(_AFFINE,), targets=_OLD),
    Way(name="int8 by scale", compress=_quantized(mode="linear_symmetric"), kinds=(_SCALE,), targets=_NEW),
    Way(
        name="int4 blocks",
        compress=_quantized(mode="linear_symmetric", dtype="int4", **_BLOCKS),
        kinds=(_SCALE,),
        targets=_NEW,
    ),
    Way(
        name="uint4 blocks", compress=_quantized(mode="linear", dtype="uint4", **_BLOCKS), kinds=(_SCALE,), targets=_NEW
    ),
    *(Way(name=f"{bits} bit table", compress=_palettized(bits), kinds=(_LUT,)) for bits in (1, 2, 4, 6, 8)),
    Way(name="3 bit table", compress=_palettized(3), kinds=(_LUT,), targets=_NEW),
    Way(
        name="tables by group",
        compress=_palettized(4, granularity="per_grouped_channel", group_size=8),
        kinds=(_LUT,),
        targets=_NEW,
    ),
    Way(
        name="table with scales",
        compress=_palettized(4, enable_per_channel_scale=True),
        kinds=(_LUT, _SCALE),
        targets=_NEW,
    ),
    Way(name="half zeros", compress=_pruned, kinds=(_DENSE,)),
    Way(
        name="half zeros, table",
        compress=_both(_pruned, _palettized(4, joint=True)),
        kinds=("constexpr_lut_to_sparse", _DENSE),
        targets=_NEW,
    ),
    Way(
        name="half zeros, int8",
        compress=_both(_pruned, _quantized(mode="linear_symmetric", joint=True)),
        kinds=("constexpr_sparse_blockwise_shift_scale", _DENSE),
        targets=_NEW,
    ),
    Way(
        name="table in int8",
        compress=_both(_palettized(4), _quantized(mode="linear_symmetric", granularity="per_tensor", joint=True)),
        kinds=(_SCALE, _LUT),
        targets=_NEW,
    ),
)


def save_small_model(package: Path, target: str, precision: str) -> None:
    """Two convolutions and a linear layer."""
    ct = import_coremltools()
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(8, 16, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 1),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 24),
    )
    traced = torch.jit.trace(layers.eval(), torch.randn(INPUT_SHAPE))
    model = ct.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=INPUT_SHAPE)],
        outputs=[ct.TensorType(name="y")],
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=getattr(ct.precision, precision),
        skip_model_load=True,
    )
    model.save(str(package))


def save_both(way: Way, model: Path, folder: Path) -> tuple[Path, Path]:
    """Two packages: the model compressed, and the same decompressed by coremltools."""
    import coremltools.optimize.coreml as optimizer

    ct = import_coremltools()
    compressed, plain = folder / "compressed.mlpackage", folder / "plain.mlpackage"
    found = way.compress(optimizer, ct.models.MLModel(str(model), skip_model_load=True))
    found.save(str(compressed))
    optimizer.decompress_weights(found).save(str(plain))
    return compressed, plain
