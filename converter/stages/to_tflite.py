"""ONNX -> TFLite: one float32 file of LiteRT's own ops, no Flex op and no custom op.

    before: ONNX graph, batch 1, images NCHW
    after:  TFLite graph, batch 1, images NHWC; the layout is settled once, in the weights, not in ops that transpose

Rules:

1. onnx2tf's direct writer, which needs no TensorFlow. Its way through TensorFlow's converter took 140 s where the
   direct one takes 7, and left Flex ops (Erf).
2. The graph goes in as an object: given a path, onnx2tf rewrites that file in place, and here it is the parent. Its
   three runs of onnxsim are off (they took more than the conversion, and found nothing after onnxslim), and so is the
   naming of nodes that have names. Of what it writes, the float32 file alone is kept: its float16 file does not load.
3. The graph is then tidied (converter/stages/tflite_tidying.py), large depthwise kernels are split
   (converter/stages/tflite_depthwise.py), and every buffer is aligned as the schema asks.
4. Inputs and outputs keep their names, "image" or "tokens" and "embedding", also in the signature "serving_default".
5. A flatbuffer's offsets are signed 32-bit numbers: a tower whose weights take 2 GB or more is refused before anything
   is converted. No tower is split.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converter.errors import ConversionError
from converter.onnx_file import load_model, weight_bytes
from converter.records import Artifact, Recipe, TensorSpec
from converter.stages.tflite_depthwise import split_depthwise
from converter.stages.tflite_tidying import tidy
from converter.tflite_file import read_model, write_model
from converter.tflite_graph import Graph, foreign_ops

FORMAT = "tflite"
ACCEPTS = ("onnx",)
REQUIRES = ("onnx2tf", "onnx", "ai-edge-litert", "flatbuffers")

LARGEST_BYTES = 2**31 - 1
"""Rule 5."""
_FLOAT32_SUFFIX = "_float32.tflite"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the TFLite file is made."""

    tidy: bool = True
    """Write linear layers and the token embedding as the ops that quantize and run best."""
    split_depthwise: bool = True
    """Split depthwise kernels of more than 25 taps, for which XNNPACK has no fast kernel. Turn it off for a file that
    runs on a GPU or an accelerator, where one large kernel may be faster."""


def convert(parent: Artifact, options: Options, recipe: Recipe | None, out_dir: Path) -> Artifact:
    """Write `<tower>.tflite` into `out_dir`.

    Raises:
        ConversionError: a recipe was given, the parent's batch is dynamic or it is not float32, its weights do not
            fit into a flatbuffer, or an operator has no counterpart in LiteRT.
    """
    _refuse(parent, recipe)
    model = _converted(parent, out_dir)
    if options.tidy:
        tidy(model)
    split = split_depthwise(Graph(model)) if options.split_depthwise else 0
    _check(model, parent)
    path = out_dir / f"{parent.tower}.tflite"
    write_model(model, path)
    return Artifact(
        path=str(path.resolve()),
        format=FORMAT,
        target="tflite",
        tower=parent.tower,
        precision="fp32",
        inputs=tuple(_channels_last(spec) for spec in parent.inputs),
        outputs=parent.outputs,
        notes=_notes(options, split),
    )


def _notes(options: Options, split: int) -> tuple[str, ...]:
    tidied = ("graph tidied",) if options.tidy else ()
    halved = (f"{split} depthwise kernels split for XNNPACK",) if split else ()
    return ("LiteRT builtin ops only", *tidied, *halved)


def _refuse(parent: Artifact, recipe: Recipe | None) -> None:
    if recipe is not None and recipe.precision != "fp32":
        message = (
            f"recipe '{recipe.name}' asks for {recipe.precision}, but to_tflite writes float32; "
            "put the recipe on a row whose stage is to_tflite_quantized"
        )
        raise ConversionError(message)
    dynamic = [spec for spec in parent.inputs if any(isinstance(size, str) for size in spec.shape)]
    if dynamic:
        message = (
            f"{parent.path}: input '{dynamic[0].name}' has the shape {list(dynamic[0].shape)}; a TFLite file for "
            "phones has a fixed batch: take a row of to_onnx with batch: static as parent"
        )
        raise ConversionError(message)
    if parent.precision != "fp32":
        message = f"{parent.path}: it is {parent.precision}; to_tflite takes float32, quantize the TFLite file instead"
        raise ConversionError(message)


def _refuse_too_large(graph: Any, parent: Artifact) -> None:
    """Rule 5."""
    weights = weight_bytes(graph)
    if weights > LARGEST_BYTES:
        message = (
            f"{parent.path}: the weights of the {parent.tower} tower take {weights} bytes, and a TFLite file holds at "
            f"most {LARGEST_BYTES}, because a flatbuffer counts in signed 32-bit numbers; take ONNX or Core ML for it"
        )
        raise ConversionError(message)


def _converted(parent: Artifact, out_dir: Path) -> Any:
    """Rules 1 and 2."""
    import onnx2tf

    graph = load_model(parent.path)
    _refuse_too_large(graph, parent)
    with tempfile.TemporaryDirectory(dir=out_dir) as folder:
        try:
            onnx2tf.convert(
                onnx_graph=graph,
                output_folder_path=folder,
                copy_onnx_input_output_names_to_tflite=True,
                not_use_onnxsim=True,
                not_use_opname_auto_generate=True,
                verbosity="error",
            )
        except (SystemExit, RuntimeError, ValueError, NotImplementedError, KeyError) as error:
            raise ConversionError(_unconvertible(parent, error)) from error
        written = sorted(Path(folder).glob(f"*{_FLOAT32_SUFFIX}"))
        if not written:
            raise ConversionError(_unconvertible(parent, "it wrote no float32 file"))
        return read_model(written[0])


def _unconvertible(parent: Artifact, why: object) -> str:
    import onnx2tf

    return (
        f"{parent.path}: onnx2tf {onnx2tf.__version__} cannot convert the {parent.tower} tower: {why}. "
        "If it names an operator, rewrite that part of the module; the log holds the whole report"
    )


def _check(model: Any, parent: Artifact) -> None:
    """Rule 4, and builtin ops only."""
    foreign = foreign_ops(model)
    if foreign:
        message = (
            f"{parent.path}: the TFLite graph needs {', '.join(foreign)}, which a plain LiteRT interpreter lacks; "
            "rewrite that part of the module"
        )
        raise ConversionError(message)
    graph = Graph(model).subgraph
    seen = [graph.tensors[index].name.decode() for index in (*graph.inputs, *graph.outputs)]
    expected = [spec.name for spec in (*parent.inputs, *parent.outputs)]
    if seen != expected:
        message = f"{parent.path}: the TFLite graph's inputs and outputs are named {seen}, expected {expected}"
        raise ConversionError(message)


def _channels_last(spec: TensorSpec) -> TensorSpec:
    if spec.layout != "NCHW":
        return spec
    batch, channels, height, width = spec.shape
    return replace(spec, shape=(batch, height, width, channels), layout="NHWC")
