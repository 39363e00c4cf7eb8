"""The same files by bare library calls in one script: what the benchmark compares with.

`python -m converter.bench.bare_calls OUT [--check]` writes the S1 image tower in every format and precision of the
main job, the way one writes it by hand: one process, calls in sequence, no cache, no hashes, no manifest, no isolation.
With --check it also runs every file on the same number of samples, one by one, and compares cosines: the least that
someone who wants to know whether the files are right would do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch  # here, not inside functions: torch.jit.script reads the annotations of `Tower.forward`

SAMPLES = 64
CALIBRATION = 64
SIZE = 256


def main(out: Path, *, check: bool) -> None:
    """Write all files into `out`."""
    torch.set_num_threads(2)
    out.mkdir(parents=True, exist_ok=True)
    module = build()
    samples = torch.rand(SAMPLES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        reference = torch.cat([module(one[None]) for one in samples]).numpy() if check else None
        traced = torch.jit.trace(module, (samples[:1],), check_trace=False)
        scripted = torch.jit.script(module)
    runs = [*torchscript(traced, scripted, out), *onnx(traced, samples[:1], out), *tflite(out, samples.numpy())]
    coreml(traced, out)
    for run in runs if check else ():
        compare(reference, run(), samples.numpy())


def build() -> Any:
    """The image tower, reparameterized, with unit-length output."""
    import open_clip
    from timm.utils import reparameterize_model
    from torch import nn
    from torch.nn import functional

    class Tower(nn.Module):  # type: ignore[misc]  # torch is not typed here
        def __init__(self, trunk: nn.Module) -> None:
            super().__init__()
            self.trunk = trunk

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return functional.normalize(self.trunk(image), dim=-1)

    clip = open_clip.create_model("MobileCLIP-S1").eval()
    return Tower(reparameterize_model(clip.visual.trunk)).eval().requires_grad_(False)


def torchscript(traced: Any, scripted: Any, out: Path) -> list[Any]:
    """`.pt` traced and scripted, and `.ptl`."""
    from torch.jit.mobile import _load_for_lite_interpreter

    frozen = torch.jit.freeze(traced)
    frozen.save(str(out / "image.pt"))
    torch.jit.freeze(scripted).save(str(out / "image.scripted.pt"))
    frozen._save_for_lite_interpreter(str(out / "image.ptl"))

    def opened(load: Any, name: str) -> Any:
        def run() -> Any:
            module = load(str(out / name))
            return lambda x: module(torch.from_numpy(x)).numpy()

        return run

    loads = [(torch.jit.load, "image.pt"), (torch.jit.load, "image.scripted.pt"),
             (_load_for_lite_interpreter, "image.ptl")]  # fmt: skip
    return [opened(load, name) for load, name in loads]


def onnx(traced: Any, example: Any, out: Path) -> list[Any]:
    """fp32 and fp16, static and dynamic batch, simplified and checked."""
    import onnx as onnx_library
    import onnxslim
    from onnxruntime.transformers.float16 import convert_float_to_float16

    runs = []
    for name, axes in (("image", None), ("image_dynamic", {"image": {0: "batch"}, "embedding": {0: "batch"}})):
        path = out / f"{name}.onnx"
        torch.onnx.export(
            traced, (example,), str(path), dynamo=False, opset_version=20, input_names=["image"],
            output_names=["embedding"], dynamic_axes=axes,
        )  # fmt: skip
        model = onnxslim.slim(onnx_library.load(str(path)))
        onnx_library.checker.check_model(model, full_check=True)
        onnx_library.save(model, str(path))
        half = out / f"{name}_fp16.onnx"
        onnx_library.save(convert_float_to_float16(model, keep_io_types=True), str(half))
        runs += [_onnx_run(path), _onnx_run(half)]
    return runs


def _onnx_run(path: Path) -> Any:
    def run() -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"image": x})[0]

    return run


def tflite(out: Path, samples: Any) -> list[Any]:
    """fp32 by onnx2tf; fp16, dynamic int8 and W8A8 by ai-edge-quantizer."""
    import onnx2tf
    from ai_edge_quantizer import qtyping, quantizer, recipe

    onnx2tf.convert(
        input_onnx_file_path=str(out / "image.onnx"), output_folder_path=str(out / "tf"),
        copy_onnx_input_output_names_to_tflite=True, verbosity="error",
    )  # fmt: skip
    source = str(out / "tf" / "image_float32.tflite")
    half = quantizer.Quantizer(source)
    for op in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"):
        half.update_quantization_recipe(
            regex=".*", operation_name=qtyping.TFLOperationName(op), algorithm_key="float_casting",
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True,
            ),
        )  # fmt: skip
    half.quantize().export_model(str(out / "image_fp16.tflite"), overwrite=True)
    dynamic = quantizer.Quantizer(source, recipe.dynamic_wi8_afp32())
    dynamic.quantize().export_model(str(out / "image_dynamic.tflite"), overwrite=True)
    static = quantizer.Quantizer(source, recipe.static_wi8_ai8())
    images = samples[:CALIBRATION].transpose(0, 2, 3, 1)
    ranges = static.calibrate({"serving_default": [{"image": one[None].copy()} for one in images]})
    static.quantize(ranges).export_model(str(out / "image_int8.tflite"), overwrite=True)
    names = ("tf/image_float32.tflite", "image_fp16.tflite", "image_dynamic.tflite", "image_int8.tflite")
    return [_tflite_run(out / name) for name in names]


def _tflite_run(path: Path) -> Any:
    def run() -> Any:
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(path), num_threads=2).get_signature_runner()
        source, target = runner.get_input_details()["image"], runner.get_output_details()["embedding"]

        def infer(x: Any) -> Any:
            found = runner(image=_quantized(x.transpose(0, 2, 3, 1), source))["embedding"]
            scale, zero = target["quantization"]
            return (found.astype("f4") - zero) * scale if scale else found

        return infer

    return run


def _quantized(x: Any, details: Any) -> Any:
    import numpy as np

    scale, zero = details["quantization"]
    return np.clip(np.round(x / scale + zero), -128, 127).astype("i1") if scale else np.ascontiguousarray(x)


def coreml(traced: Any, out: Path) -> None:
    """fp32 and fp16 ML programs for iOS 16."""
    import coremltools

    for name in ("FLOAT32", "FLOAT16"):
        model = coremltools.convert(
            traced, inputs=[coremltools.TensorType("image", shape=(1, 3, SIZE, SIZE))],
            outputs=[coremltools.TensorType("embedding")], convert_to="mlprogram", skip_model_load=True,
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=getattr(coremltools.precision, name),
        )  # fmt: skip
        model.save(str(out / f"image_{name.lower()}.mlpackage"))


def compare(reference: Any, infer: Any, samples: Any) -> None:
    """Print the smallest cosine over the samples."""
    import numpy as np

    found = np.concatenate([infer(one[None]) for one in samples])
    print(f"cosine {float((reference * found).sum(1).min()):.6f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), check="--check" in sys.argv)
