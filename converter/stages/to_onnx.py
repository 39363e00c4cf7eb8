"""PyTorch -> ONNX: a graph that ONNX Runtime, and with it every browser and server, runs.

    before: traced module, parameters and constants of the trace
    after:  Conv, MatMul, Gelu, LayerNormalization ...; every weight an initializer under its module's path

Rules:

1. Exported from the trace by torch's TorchScript exporter. The newer one (`dynamo=True`) is not used: its graph of the
   S1 image tower ran 20 to 40 % slower in ONNX Runtime, and took five times as long to write.
2. `batch: static` fixes a batch of 1; `dynamic` names the first size of every input and output "batch".
3. `simplify` turns Constant nodes into initializers, shares equal ones and folds what is constant. No fusion into Gemm:
   it surrounds each linear layer with two reshapes, and ran no faster. No shape inference: the rewrites leave no
   runtime shape, and onnxslim's rounds of it take most of its time.
4. A weight that the exporter transposed is named after its layer, `<path>.weight_transposed`, not `onnx::MatMul_689`.
5. Weights of 2 GB or more lie in a file beside the graph; the artifact then is a folder (converter/onnx_file.py).
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from converter.errors import ConversionError
from converter.onnx_file import GRAPH_SLACK_BYTES, PROTOBUF_BYTES, load_model, save_model
from converter.records import Artifact, Recipe, TensorSpec
from converter.torchscript_file import deprecation_known, load_module

if TYPE_CHECKING:
    import torch

FORMAT = "onnx"
ACCEPTS = ("pytorch",)
REQUIRES = ("torch", "onnx", "onnxslim")

BATCH = "batch"
_EXPORTER_NAME = "onnx::"
_GEMM_FUSIONS = ("FusionGemm", "FusionGemmMul", "FusionGemmAdd")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the ONNX file is made."""

    opset: int = 20
    """ONNX's operator set, 17 to 20. From 20 GELU is one op; take an older one for an older runtime."""
    batch: Literal["static", "dynamic"] = "static"
    """One sample a call, as phones want, or any number, as servers want."""
    simplify: bool = True
    """Fold constants and drop what does nothing (onnxslim)."""
    external_data_bytes: int = PROTOBUF_BYTES - GRAPH_SLACK_BYTES
    """Weights of this size or more are written beside the graph, in a folder."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>.onnx`, a file or a folder, into `out_dir`.

    Raises:
        ConversionError: a recipe was given, the parent does not load, or an operator has no counterpart in the opset.
    """
    _refuse_recipe(recipe)
    model = _export(parent, options, out_dir)
    if options.simplify:
        model = _simplify(model)
    _name_weights(model.graph)
    path = out_dir / f"{parent.tower}.onnx"
    save_model(model, path, options.external_data_bytes)
    return Artifact(
        path=str(path.resolve()),
        format=FORMAT,
        target="onnx",
        tower=parent.tower,
        precision="fp32",
        inputs=tuple(_sized(spec, options.batch) for spec in parent.inputs),
        outputs=tuple(_sized(spec, options.batch) for spec in parent.outputs),
        notes=(f"opset {options.opset}", f"{options.batch} batch", *(("simplified",) if options.simplify else ())),
    )


def _refuse_recipe(recipe: Recipe | None) -> None:
    if recipe is not None and recipe.precision != "fp32":
        message = (
            f"recipe '{recipe.name}' asks for {recipe.precision}, but to_onnx writes float32; "
            "put the recipe on a row whose stage is to_onnx_fp16"
        )
        raise ConversionError(message)


def _export(parent: Artifact, options: Options, out_dir: Path) -> Any:
    """Rules 1 and 2."""
    import torch

    module = load_module(parent.path)
    with tempfile.TemporaryDirectory(dir=out_dir) as folder, _advice_silenced():
        file = Path(folder) / "exported.onnx"
        try:
            torch.onnx.export(
                module,
                tuple(_example(spec) for spec in parent.inputs),
                str(file),  # a Path is taken for a stream, which cannot hold weights of 2 GB or more
                dynamo=False,
                opset_version=options.opset,
                input_names=[spec.name for spec in parent.inputs],
                output_names=[spec.name for spec in parent.outputs],
                dynamic_axes=_dynamic_axes(parent) if options.batch == "dynamic" else None,
            )
        except (RuntimeError, ValueError, TypeError) as error:
            message = (
                f"{parent.path}: torch {torch.__version__} cannot export it to opset {options.opset}: {error}; "
                "opsets 17 to 20 are known to work"
            )
            raise ConversionError(message) from error
        return load_model(file)


@contextmanager
def _advice_silenced() -> Iterator[None]:
    """Torch advises the newer exporter on every call (rule 1)."""
    with deprecation_known(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.onnx|typing_extensions")
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.onnx")
        yield


def _example(spec: TensorSpec) -> torch.Tensor:
    import torch

    return torch.zeros([size if isinstance(size, int) else 1 for size in spec.shape], dtype=getattr(torch, spec.dtype))


def _dynamic_axes(parent: Artifact) -> dict[str, dict[int, str]]:
    return {spec.name: {0: BATCH} for spec in (*parent.inputs, *parent.outputs)}


def _simplify(model: Any) -> Any:
    """Rule 3."""
    import onnxslim

    return onnxslim.slim(model, no_shape_infer=True, skip_fusion_patterns=list(_GEMM_FUSIONS))


def _name_weights(graph: Any) -> None:
    """Rule 4."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    taken = {tensor.name for tensor in graph.initializer}
    for tensor in graph.initializer:
        users = readers.get(tensor.name, [])
        new = _name_after(users[0].name) if users else ""
        if tensor.name.startswith(_EXPORTER_NAME) and new and new not in taken:
            for node in users:
                node.input[:] = [new if name == tensor.name else name for name in node.input]
            tensor.name = new
            taken.add(new)


def _name_after(node_name: str) -> str:
    """`tower.attn.q.weight_transposed` for `/tower/attn/q/MatMul`."""
    path, _, kind = node_name.strip("/").replace("/", ".").rpartition(".")
    return f"{path}.weight_transposed" if path and kind.startswith("MatMul") else ""


def _sized(spec: TensorSpec, batch: str) -> TensorSpec:
    return replace(spec, shape=(1 if batch == "static" else BATCH, *spec.shape[1:]))
