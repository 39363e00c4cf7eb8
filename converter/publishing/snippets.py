"""Lines that run a release's files: a few for each format that is there, with the names and shapes of its tensors.

They are texts for a reader's app, in the language of that app; tests execute those in Python as they are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from converter.manifest import Manifest, ManifestEntry, ManifestModel
from converter.records import TensorSpec, Tower
from converter.reported import Lines

Writer = Callable[[ManifestModel, Mapping[Tower, ManifestEntry]], list[str]]

_PILLOW = {"nearest": "NEAREST", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}


def snippets(manifest: Manifest) -> Iterator[str]:
    """A heading and code for each format, the plainest file of each."""
    by_format: dict[str, dict[Tower, ManifestEntry]] = {}
    for entry in sorted(manifest.artifacts, key=_plainness):
        by_format.setdefault(entry.format, {}).setdefault(entry.tower, entry)
    for fmt, title, language, written in _writers():
        towers = by_format.get(fmt)
        if towers:
            code = "\n".join(written(manifest.model, towers))
            yield f"### {title}\n\n```{language}\n{code}\n```"


def lines_of(model: ManifestModel, entry: ManifestEntry) -> Lines | None:
    """The code that runs one file, in the language of its usual app; None for a format of another package."""
    for fmt, title, language, written in _writers():
        if fmt == entry.format:
            return Lines(title=title, language=language, code="\n".join(written(model, {entry.tower: entry})))
    return None


def _writers() -> tuple[tuple[str, str, str, Writer], ...]:
    """(format, title, language as Markdown names it, what writes the code); the usual one of a format first."""
    return (
        ("onnx", "Python, ONNX Runtime", "python", _onnx),
        ("onnx", "JavaScript, ONNX Runtime Web", "js", _web),
        ("coreml", "Swift, Core ML", "swift", _swift),
        ("tflite", "Kotlin, LiteRT", "kotlin", _kotlin),
        ("torchscript", "Python, TorchScript", "python", _torch),
    )


def _plainness(entry: ManifestEntry) -> tuple[bool, bool, bool, str]:
    """Images first; of a tower, float32 files of a fixed batch; a scripted or lite file only without a traced one."""
    dynamic = any(isinstance(size, str) for spec in entry.inputs for size in spec.shape)
    special = PurePosixPath(entry.path).stem not in (f"{entry.tower}_fp32", f"{entry.tower}_{entry.precision}")
    return (entry.tower != "image", entry.precision != "fp32", dynamic or special, entry.path)


def _prepared(model: ManifestModel, spec: TensorSpec) -> list[str]:
    """A picture as the array that the file takes, in Python."""
    pre, size = model.preprocessing, model.preprocessing.size
    side = pre.resize_size or size
    shape = {
        "shortest": f"[{side} * length // min(picture.size) for length in picture.size]",
        "longest": f"[max(1, round({side} * length / max(picture.size))) for length in picture.size]",
        "squash": f"({side}, {side})",
    }[pre.resize]
    margin = f"-(({size} - length) // 2)" if pre.resize == "longest" else f"round((length - {size}) / 2)"
    lines = [
        'picture = Image.open("cat.jpg").convert("RGB")',
        f"shape = {shape}",
        f"picture = picture.resize(shape, Image.Resampling.{_PILLOW[pre.interpolation]})",
        f"left, top = [{margin} for length in picture.size]",
        f"pixels = np.asarray(picture.crop((left, top, left + {size}, top + {size})))",
    ]
    if spec.dtype != "uint8":
        lines.append(f"pixels = ((pixels / 255 - {list(pre.mean)}) / {list(pre.std)}).astype(np.{spec.dtype})")
    axes = "" if spec.layout == "NHWC" else ".transpose(2, 0, 1)"
    return [*lines, f"image = np.ascontiguousarray(pixels{axes}[None])"]


def _tokens(model: ManifestModel) -> list[str]:
    cut = model.tokenizer
    path, length = (cut.path, cut.context_length) if cut else ("tokenizer.json", model.context_length)
    return [
        f'tokenizer = Tokenizer.from_file("{path}")',
        f'tokens = np.array([tokenizer.encode("a photo of a cat").ids], np.int32)  # (1, {length})',
    ]


def _python(
    model: ManifestModel, towers: Mapping[Tower, ManifestEntry], imports: Sequence[str], opened: str, ran: str
) -> list[str]:
    """Prepare, open, run, for each tower; `opened` and `ran` have the file's and the tensors' names put in."""
    needed = ["import numpy as np", *imports]
    needed += ["from PIL import Image"] * ("image" in towers) + ["from tokenizers import Tokenizer"] * (
        "text" in towers
    )
    plain = sorted(line for line in needed if line.startswith("import"))
    lines = [*plain, *sorted(line for line in needed if not line.startswith("import"))]
    values: dict[Tower, str] = {"image": "image", "text": "tokens"}
    for tower, value in values.items():
        entry = towers.get(tower)
        if entry is not None:
            names = {"path": entry.path, "input": entry.inputs[0].name, "value": value, "tower": tower}
            prepared = _prepared(model, entry.inputs[0]) if tower == "image" else _tokens(model)
            lines += ["", *prepared, opened.format(**names), ran.format(**names)]
    if len(towers) == 2:
        lines += ["", "print((image_embedding @ text_embedding.T).item())  # the cosine"]
    return lines


def _onnx(model: ManifestModel, towers: Mapping[Tower, ManifestEntry]) -> list[str]:
    opened = 'session = onnxruntime.InferenceSession("{path}")'
    ran = '({tower}_embedding,) = session.run(None, {{"{input}": {value}}})'
    return _python(model, towers, ["import onnxruntime"], opened, ran)


def _torch(model: ManifestModel, towers: Mapping[Tower, ManifestEntry]) -> list[str]:
    if any(entry.path.endswith(".ptl") for entry in towers.values()):
        imports, call = (
            ["import torch", "from torch.jit.mobile import _load_for_lite_interpreter"],
            ("_load_for_lite_interpreter"),
        )
    else:
        imports, call = ["import torch"], "torch.jit.load"
    ran = "{tower}_embedding = module(torch.from_numpy({value})).detach().numpy()"
    return _python(model, towers, imports, f'module = {call}("{{path}}")', ran)


def _web(model: ManifestModel, towers: Mapping[Tower, ManifestEntry]) -> list[str]:
    tower, entry = next(iter(towers.items()))
    given, made = entry.inputs[0], entry.outputs[0]
    shape = ", ".join(str(size) if isinstance(size, int) else "1" for size in given.shape)
    array = {"float32": "Float32Array", "uint8": "Uint8Array", "int32": "Int32Array"}.get(given.dtype, "Float32Array")
    words = "prepared as above" if tower == "image" else "of tokenizer.json"
    return [
        'import * as ort from "onnxruntime-web";',
        "",
        f"// values: {array}, {words}, laid out as {given.layout}",
        f'const session = await ort.InferenceSession.create("{entry.path}");',
        f'const tensor = new ort.Tensor("{given.dtype}", values, [{shape}]);',
        f"const outputs = await session.run({{ {given.name}: tensor }});",
        f"const embedding = outputs.{made.name}.data;  // {model.embed_dim} numbers of length 1",
    ]


def _swift(model: ManifestModel, towers: Mapping[Tower, ManifestEntry]) -> list[str]:
    tower, entry = next(iter(towers.items()))
    given, made = entry.inputs[0], entry.outputs[0]
    stem = PurePosixPath(entry.path).stem
    lines = [
        "import CoreML",
        "",
        f"// {entry.path}, added to the app's target, is compiled to {stem}.mlmodelc",
        f'let url = Bundle.main.url(forResource: "{stem}", withExtension: "mlmodelc")!',
        "let model = try MLModel(contentsOf: url)",
    ]
    if tower == "image" and given.dtype == "uint8":
        value, words = "MLFeatureValue(pixelBuffer: pixels)", f"// pixels: a CVPixelBuffer of {_sides(given)}"
    else:
        value, words = (
            "MLFeatureValue(multiArray: values)",
            f"// values: an MLMultiArray {list(given.shape)}, {given.dtype}",
        )
    return [
        *lines, words,
        f'let input = try MLDictionaryFeatureProvider(dictionary: ["{given.name}": {value}])',
        f'let embedding = try model.prediction(from: input).featureValue(for: "{made.name}")!.multiArrayValue!',
        f"// {model.embed_dim} numbers of length 1",
    ]  # fmt: skip


def _sides(spec: TensorSpec) -> str:
    sizes = [str(size) for size in spec.shape if isinstance(size, int) and size > 4]
    return " x ".join(sizes[:2])


def _kotlin(model: ManifestModel, towers: Mapping[Tower, ManifestEntry]) -> list[str]:
    _, entry = next(iter(towers.items()))
    given = entry.inputs[0]
    kind = {"int32": "Int", "uint8": "Int8"}.get(given.dtype, "Float")
    return [
        "import com.google.ai.edge.litert.Accelerator",
        "import com.google.ai.edge.litert.CompiledModel",
        "",
        f'val model = CompiledModel.create(context.assets, "{PurePosixPath(entry.path).name}",',
        "    CompiledModel.Options(Accelerator.CPU))",
        "val inputs = model.createInputBuffers()",
        "val outputs = model.createOutputBuffers()",
        f"inputs[0].write{kind}(values)  // {given.name}: {list(given.shape)}, {given.dtype}, {given.layout}",
        "model.run(inputs, outputs)",
        f"val embedding = outputs[0].readFloat()  // {model.embed_dim} numbers of length 1",
    ]
