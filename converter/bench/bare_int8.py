"""INT8 by plain library calls: what `converter.bench.int8` compares with.

    python -m converter.bench.bare_int8 artifacts/mobileclip_s1 image samples.npz OUT

Same weights, same calibration samples; every library is called as its documentation's first example does, defaults
untouched:

1. The image tower is the library's own module, reparameterized as the library offers, exported by torch.onnx.export and
   simplified. The text tower is our float32 ONNX file, to the advantage of what follows: exported plainly, its
   attention becomes an op that no TFLite file can hold.
2. TFLite: onnx2tf's direct writer, then ai-edge-quantizer's own recipes.
3. ONNX: ONNX Runtime's quantize_static and quantize_dynamic.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.manifest import Manifest
from converter.models.catalog import find
from converter.models.samples import load_inputs
from converter.publishing.manifest import read_manifest
from converter.records import Tower

Rows = npt.NDArray[Any]
Result = Path | Exception
LIST = "made.json"
OURS = "onnx/fp32"
OPSET = 20
TFLITE_RECIPES = {
    "dynamic_w8": "dynamic_wi8_afp32",
    "weight_only_w8": "weight_only_wi8_afp32",
    "static_w8a8": "static_wi8_ai8",
}
"""Our name of a recipe, and ai-edge-quantizer's."""


def make(folder: Path, tower: Tower, samples: Path, out: Path) -> dict[str, Path]:
    """Every file that could be made, by "<format> <recipe>", in a process of its own, whose noise goes to a log.

    `samples` is a sample file of the calibration set. A library that refuses the graph leaves its file out; why is
    printed.
    """
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "converter.bench.bare_int8", str(folder), tower, str(samples), str(out)]
    with (out / "log").open("w", encoding="utf-8") as log:
        ended = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT)
    if ended.returncode:
        sys.exit((out / "log").read_text(encoding="utf-8", errors="replace")[-2000:])
    listed = json.loads((out / LIST).read_text(encoding="utf-8"))
    for name, why in listed["refused"].items():
        print(f"{tower}: plain {name} cannot be made: {why}", file=sys.stderr)
    return {name: Path(path) for name, path in listed["made"].items()}


def main(folder: Path, tower: Tower, samples: Path, out: Path) -> None:
    """Write the files and their list."""
    manifest = read_manifest(folder)
    source = _export(manifest, out) if tower == "image" else _ours(manifest, folder, tower)
    (rows,) = load_inputs(samples).values()
    made, refused = {"onnx fp32": str(source)}, {}
    for name, result in (*_tflite(source, rows, out), *_onnx(source, rows, out)):
        if isinstance(result, Path):
            made[name] = str(result)
        else:
            refused[name] = " ".join(str(result).split())[:300]
    (out / LIST).write_text(json.dumps({"made": made, "refused": refused}), encoding="utf-8")


def weights_wanted(manifest: Manifest) -> str:
    """What --weights takes to have the manifest's own again."""
    weights = manifest.model.weights
    return (
        weights.path if weights.kind == "file" and weights.path else {"bundled": "auto"}.get(weights.kind, weights.kind)
    )


def _export(manifest: Manifest, out: Path) -> Path:
    """Rule 1."""
    import onnx
    import onnxslim
    import torch
    from timm.utils import reparameterize_model
    from torch.nn import functional

    from converter.models.loading import load_model
    from converter.models.weights import resolve

    spec = find(manifest.model.id)
    weights = resolve(spec, weights_wanted(manifest))
    with tempfile.TemporaryDirectory() as scratch:
        visual: Any = load_model(spec, weights, ["image"], Path(scratch)).visual
    visual = reparameterize_model(visual).eval().requires_grad_(False)

    class Tower(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here
        def forward(self, image: Any) -> Any:
            return functional.normalize(visual(image), dim=-1)

    size, path = spec.preprocessing.size, out / "image.onnx"
    torch.onnx.export(
        torch.jit.trace(Tower(), torch.rand(1, 3, size, size), check_trace=False), (torch.rand(1, 3, size, size),),
        str(path), dynamo=False, opset_version=OPSET, input_names=["image"], output_names=["embedding"],
    )  # fmt: skip
    onnx.save(onnxslim.slim(onnx.load(path)), path)
    return path


def _ours(manifest: Manifest, folder: Path, tower: Tower) -> Path:
    entry = next(one for one in manifest.artifacts if one.step_id == f"{tower}/{OURS}")
    return (folder / entry.path).resolve()


def _tflite(source: Path, samples: Rows, out: Path) -> Iterator[tuple[str, Result]]:
    """Rule 2. onnx2tf rewrites the file that it is given: it gets a copy."""
    import onnx2tf
    from ai_edge_quantizer import quantizer, recipe

    copy = Path(shutil.copy(source, out / "plain.onnx"))
    onnx2tf.convert(
        input_onnx_file_path=str(copy), output_folder_path=str(out / "tf"),
        copy_onnx_input_output_names_to_tflite=True, verbosity="error",
    )  # fmt: skip
    plain = out / "tf" / "plain_float32.tflite"
    yield "tflite fp32", plain
    feeds = [{_input_name(source): one} for one in _channels_last(samples)]
    for name, theirs in TFLITE_RECIPES.items():
        path = out / f"{name}.tflite"
        try:
            making = quantizer.Quantizer(str(plain), getattr(recipe, theirs)())
            ranges = making.calibrate({"serving_default": feeds}) if making.need_calibration else None
            making.quantize(ranges).export_model(str(path), overwrite=True)
            yield f"tflite {name}", path
        except (RuntimeError, ValueError, KeyError) as error:
            yield f"tflite {name}", error


def _onnx(source: Path, samples: Rows, out: Path) -> Iterator[tuple[str, Result]]:
    """Rule 3."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is not typed here
        rows = iter([{_input_name(source): samples[i : i + 1]} for i in range(len(samples))])

        def get_next(self) -> Any:
            return next(self.rows, None)

    static: Any = quantize_static
    makers: dict[str, Callable[[Path], Any]] = {
        "static_w8a8": lambda path: static(str(source), str(path), Reader()),
        "dynamic_w8": lambda path: quantize_dynamic(str(source), str(path)),
    }
    for name, make_file in makers.items():
        path = out / f"{name}.onnx"
        try:
            make_file(path)
            yield f"onnx {name}", path
        except Exception as error:  # onnx and onnxruntime share no class of errors
            yield f"onnx {name}", error


def _input_name(source: Path) -> str:
    import onnx

    return str(onnx.load(source, load_external_data=False).graph.input[0].name)


def _channels_last(samples: Rows) -> Sequence[Rows]:
    moved = samples.transpose(0, 2, 3, 1) if samples.ndim == 4 else samples
    return [np.ascontiguousarray(one[None]) for one in moved]


if __name__ == "__main__":
    main(Path(sys.argv[1]), "image" if sys.argv[2] == "image" else "text", Path(sys.argv[3]), Path(sys.argv[4]))
