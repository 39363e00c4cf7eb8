"""The readers of foreign files, each with small real files to spoil, ways to spoil them, and what reads them.

A reader ends in a value or in a `McconvertError`; all else is a finding. A reader whose `own_process` says why may die
of a signal too, because mcconvert opens that file only in a process of its own, whose death is told in our words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converter.errors import McconvertError
from converter.records import Artifact, TensorSpec
from tests.fuzz import seeds
from tests.fuzz.mutators import (
    Mutator,
    json_tree,
    npy_header,
    one_of,
    pickled,
    safetensors_header,
    spoiled,
    yaml_tree,
)
from tests.fuzz.structures import protobuf, tar_members, tflite_objects, zip_members


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One way in. `mutators` are by the seed's suffix; other files are spoiled blindly."""

    name: str
    seeds: Callable[[Path], None]
    read: Callable[[Path], object]
    mutators: Mapping[str, Mutator] = field(default_factory=dict)
    share: float = 1.0
    """How many inputs it gets, beside the others."""
    refusals: tuple[type[Exception], ...] = (McconvertError,)
    own_process: str = ""
    batch: int = 400
    """Inputs after which its process is made anew."""
    seconds: float = 20.0


def _checkpoint(path: Path) -> object:
    from converter.models.checkpoint import read_state_dict

    return read_state_dict(path)


def _steps(**options: Any) -> object:
    """As far as a plan goes: configuration, selection, steps."""
    from converter.config import load_config, load_models
    from converter.pipeline.plugins import extra_targets
    from converter.pipeline.steps import Selection, build_steps, option_mistakes

    targets = dict(extra_targets()) | options.pop("extra_targets", {})
    config = load_config(extra_targets=targets, check_options=option_mistakes, **options)
    return build_steps(config, load_models()[NANO], Selection(from_pipeline=True), trained=True)


def _target(path: Path) -> object:
    return _steps(extra_targets={path.stem: path})


def _setting(path: Path) -> object:
    return _steps(settings=[path.read_bytes().decode("utf-8", "replace")])


def _model(path: Path) -> object:
    from converter.config import load_config, read_model
    from converter.pipeline.steps import Selection, build_steps

    return build_steps(load_config(), read_model(path), Selection(from_pipeline=True), trained=True)


def _manifest(path: Path) -> object:
    """As `embed --with` and `verify --hashes-only` take it."""
    from converter.inference.choosing import choose
    from converter.inference.files import spec_of
    from converter.pipeline.plugins import load_runtime
    from converter.pipeline.verify import VerifySettings, verify
    from converter.publishing.manifest import listed_files, read_manifest

    folder = path.parent
    manifest = read_manifest(folder)
    spec_of(manifest.model)
    listed_files(folder.parent)
    verify(folder, manifest, VerifySettings(hashes_only=True))
    return choose(str(folder), ("image",), load_runtime, lambda _line: None)


def _entry(path: Path) -> object:
    """A cache takes an entry or makes the step anew; whatever lies there, nobody is told."""
    from converter.pipeline.cache import Cache

    place = path.parent / "steps" / "k"
    place.mkdir(parents=True, exist_ok=True)
    (place / "entry.json").write_bytes(path.read_bytes())
    (place / "image.onnx").write_bytes(b"x")
    cache = Cache(path.parent)
    found = cache.load("k")
    return cache.path(found) if found else None


def _outcome(path: Path) -> object:
    from converter.pipeline.dispatch import read_outcome

    return read_outcome(path)


def _package(path: Path) -> object:
    from converter.runtimes.coreml import open_interpreter

    with open_interpreter(_image(path, "coreml"), 1) as runner:
        return runner.inputs


def _tflite(path: Path) -> object:
    """What looks into the file before LiteRT does."""
    from converter.tflite_file import read_model
    from converter.tflite_graph import count_ops

    return count_ops(read_model(path))


def _onnx(path: Path) -> object:
    from converter.onnx_file import load_model, weight_bytes

    return weight_bytes(load_model(path))


def _given(path: Path) -> object:
    from converter.pipeline.given_file import open_given

    return open_given(path, path.parent / "copy", None)


def _run(fmt: str) -> Callable[[Path], object]:
    """Open and run once, as a step's process does."""

    def read(path: Path) -> object:
        import numpy as np

        from converter.pipeline.plugins import load_runtime

        runtime = load_runtime(fmt)
        with runtime.open_runner(_image(path, fmt), 1) as runner:
            sizes = {
                one.name: [n if isinstance(n, int) and 0 < n < 100 else 1 for n in one.shape] for one in runner.inputs
            }
            return runner.infer({one.name: np.zeros(sizes[one.name], one.dtype) for one in runner.inputs})

    return read


def _image(path: Path, fmt: str) -> Artifact:
    shape = (1, 3, 8, 8)
    entry = TensorSpec(name="image", shape=shape, dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
    out = TensorSpec(name="embedding", shape=(1, 144), dtype="float32", layout="NC")
    return Artifact(path=str(path), format=fmt, target=fmt, tower="image", precision="fp32", inputs=(entry,),
                    outputs=(out,))  # fmt: skip


def _open_image(path: Path) -> object:
    from converter.models.images import open_image

    return open_image(path).size


def _calibration(path: Path) -> object:
    from converter.models.calibration_sources import calibration_images

    return [name for _, name, _ in calibration_images(path)]


def _captions(path: Path) -> object:
    from converter.models.calibration_texts import read_captions

    return read_captions(path)


def _samples(path: Path) -> object:
    from converter.models.samples import load_inputs, load_names, stress_count
    from converter.quantization.calibration import load_calibration

    load_inputs(path), load_names(path), stress_count(path)
    return list(load_calibration(path))


def _tokenizer(path: Path) -> object:
    from converter.models.tokenizer_file import encode

    return encode(path, ["ab x c"])


def _lines(path: Path) -> object:
    from converter.inference.reading import read_lines

    return read_lines(str(path))


def _benchmark(path: Path) -> object:
    """A run of another machine, as --import, a comparison and advice take it."""
    from converter.bench.comparing import compare_runs
    from converter.bench.history import read_run
    from converter.report.benchmark import closing_line, machine_words

    run = read_run(path).benchmark
    machine_words(run.machine, run.threads)
    return closing_line(compare_runs(run, run, "one", "other"))


def _phone_output(path: Path) -> object:
    from converter.bench.benchmark_model import read_output

    return read_output(path.read_bytes().decode("utf-8", "replace"))


def _onnx_message() -> Any:
    import onnx

    return onnx.ModelProto()


def _coreml_message() -> Any:
    from converter.coreml_package import import_coremltools

    return import_coremltools().proto.Model_pb2.Model()


NANO = "mobileclip_nano"
IN_STEPS = "runtimes open files in a step's process, and embed and classify run in a watched one"
_ARRAYS: Mapping[str, Mutator] = {
    ".npy": one_of(npy_header, spoiled),
    ".npz": one_of(zip_members(one_of(npy_header, spoiled)), spoiled),
}
_TREES: Mapping[str, Mutator] = {".yaml": one_of(yaml_tree, yaml_tree, yaml_tree, spoiled)}
_JSON: Mapping[str, Mutator] = {".json": one_of(json_tree, json_tree, spoiled), ".jsonl": spoiled}
_TAR: Mapping[str, Mutator] = {
    ".zip": one_of(zip_members(), spoiled),
    ".tar": tar_members(),
    ".gz": one_of(tar_members(packed=True), spoiled),
}
_TORCH: Mapping[str, Mutator] = dict.fromkeys(
    (".pt", ".pth"), one_of(zip_members(spoiled, pickled), zip_members(), spoiled)
)
_PACKAGE: Mapping[str, Mutator] = _JSON | {
    ".mlmodel": one_of(protobuf(_coreml_message), protobuf(_coreml_message), spoiled)
}

READERS: tuple[Reader, ...] = (
    Reader(
        name="checkpoint (torch.save)",
        seeds=seeds.write_checkpoints,
        read=_checkpoint,
        mutators=_TORCH | {".bin": one_of(pickled, spoiled)},
        share=2,
    ),
    Reader(
        name="checkpoint (safetensors)",
        seeds=seeds.write_safetensors,
        read=_checkpoint,
        mutators={".safetensors": one_of(safetensors_header, spoiled)},
    ),
    Reader(name="checkpoint (TorchScript)", seeds=seeds.write_openai, read=_checkpoint, mutators=_TORCH),
    Reader(
        name="pipeline YAML",
        seeds=seeds.write_configs("pipelines"),
        read=lambda path: _steps(pipeline=path),
        mutators=_TREES,
        share=0.4,
    ),
    Reader(name="target YAML", seeds=seeds.write_configs("targets"), read=_target, mutators=_TREES, share=0.4),
    Reader(
        name="recipe YAML",
        seeds=seeds.write_configs("recipes"),
        read=lambda path: _steps(recipe_files=[str(path.rename(path.with_name(f"given_{path.name}")))]),
        mutators=_TREES,
        share=0.4,
    ),
    Reader(name="model YAML", seeds=seeds.write_configs("models"), read=_model, mutators=_TREES, share=0.4),
    Reader(name="--set", seeds=seeds.write_settings, read=_setting, share=0.4),
    Reader(name="manifest.json", seeds=seeds.write_manifest_file, read=_manifest, mutators=_JSON, share=2),
    Reader(
        name="benchmark of another machine", seeds=seeds.write_benchmark, read=_benchmark, mutators=_JSON, share=0.5
    ),
    Reader(name="benchmark_model's output", seeds=seeds.write_phone_output, read=_phone_output, share=0.3),
    Reader(name="cache entry", seeds=seeds.write_entry, read=_entry, mutators=_JSON),
    Reader(name="step's outcome", seeds=seeds.write_outcome, read=_outcome, mutators=_JSON),
    Reader(name="mlpackage", seeds=seeds.write_package, read=_package, mutators=_PACKAGE, share=0.4),
    Reader(
        name="tflite",
        seeds=seeds.write_tflite,
        read=_tflite,
        mutators={".tflite": one_of(tflite_objects, spoiled, spoiled)},
        share=0.4,
    ),
    Reader(
        name="tflite, run by LiteRT",
        seeds=seeds.write_tflite,
        read=_run("tflite"),
        mutators={".tflite": one_of(tflite_objects, spoiled)},
        share=0.3,
        own_process=IN_STEPS,
    ),
    Reader(
        name="onnx", seeds=seeds.write_onnx, read=_onnx, mutators={".onnx": one_of(protobuf(_onnx_message), spoiled)}
    ),
    Reader(
        name="onnx, run by ONNX Runtime",
        seeds=seeds.write_onnx,
        read=_run("onnx"),
        mutators={".onnx": one_of(protobuf(_onnx_message), protobuf(_onnx_message), spoiled)},
        share=0.3,
        own_process=IN_STEPS,
    ),
    Reader(
        name="onnx, to be quantized",
        seeds=seeds.write_onnx,
        read=_given,
        mutators={".onnx": one_of(protobuf(_onnx_message), spoiled)},
        share=0.3,
    ),
    Reader(
        name="tflite, to be quantized",
        seeds=seeds.write_tflite,
        read=_given,
        mutators={".tflite": one_of(tflite_objects, spoiled)},
        share=0.2,
    ),
    Reader(
        name="torchscript, run by torch",
        seeds=seeds.write_torchscript,
        read=_run("torchscript"),
        mutators=_TORCH,
        own_process=IN_STEPS,
        share=0.5,
    ),
    Reader(name="image", seeds=seeds.write_pictures, read=_open_image, share=4),
    Reader(name="archive of pictures", seeds=seeds.write_archives, read=_calibration, mutators=_TAR, share=2),
    Reader(name="arrays of pixels", seeds=seeds.write_pixels, read=_calibration, mutators=_ARRAYS),
    Reader(name="parquet of pictures", seeds=seeds.write_parquet, read=_calibration),
    Reader(name="captions", seeds=seeds.write_captions, read=_captions, mutators=_JSON),
    Reader(name="captions in archives", seeds=seeds.write_archives, read=_captions, mutators=_TAR, share=0.5),
    Reader(name="sample set", seeds=seeds.write_samples_file, read=_samples, mutators=_ARRAYS),
    Reader(name="tokenizer.json", seeds=seeds.write_tokenizer, read=_tokenizer, mutators=_JSON, own_process=IN_STEPS),
    Reader(name="lines of text", seeds=seeds.write_captions, read=_lines, share=0.3),
)
