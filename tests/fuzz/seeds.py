"""Small real files that inputs are made from: configurations, pictures, checkpoints, converted toy towers."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from converter.config import configs_dir
from converter.records import Artifact, Tower
from tests.tiny import tiny_clip

RANDOM = np.random.default_rng(5)
SIDE = 24


def picture(side: int = SIDE) -> Any:
    """Noise in colour."""
    from PIL import Image

    return Image.fromarray(RANDOM.integers(0, 255, (side, side, 3), np.uint8))


def write_pictures(folder: Path) -> None:
    """Every format that photographs and drawings come in, with EXIF, palettes, transparency, frames, 16 bits."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    shot = picture()
    shot.save(folder / "shot.jpg", exif=exif, icc_profile=bytes(300))
    shot.save(folder / "progressive.jpg", progressive=True)
    shot.save(folder / "drawing.png")
    shot.convert("P").save(folder / "palette.png", transparency=0)
    shot.convert("RGBA").save(folder / "clear.webp", lossless=True)
    shot.save(folder / "moving.gif", save_all=True, append_images=[picture(), picture()])
    shot.save(folder / "page.tiff", compression="tiff_lzw")
    shot.save(folder / "old.bmp")
    shot.save(folder / "film.webp", save_all=True, append_images=[picture()])
    Image.fromarray(RANDOM.integers(0, 65535, (SIDE, SIDE), np.uint16)).save(folder / "deep.png")
    Image.fromarray(RANDOM.random((SIDE, SIDE), np.float32)).save(folder / "floats.tiff")


def encoded(kind: str = "PNG") -> bytes:
    """A picture's file."""
    buffer = io.BytesIO()
    picture().save(buffer, kind)
    return buffer.getvalue()


def write_archives(folder: Path) -> None:
    """A zip, a tar and a gzipped tar of two pictures and a caption."""
    members = {"a/one.png": encoded(), "a/two.jpg": encoded("JPEG"), "a/one.txt": b"a caption\n"}
    with zipfile.ZipFile(folder / "pictures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    for name, mode in (("pictures.tar", "w"), ("pictures.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as tar:
            for member, data in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def write_pixels(folder: Path) -> None:
    """Arrays of pixels."""
    pixels = RANDOM.integers(0, 255, (3, 8, 8, 3), np.uint8)
    np.save(folder / "pixels.npy", pixels)
    np.savez(folder / "pixels.npz", pixels=pixels)
    np.savez_compressed(folder / "packed.npz", pixels=pixels)


def write_parquet(folder: Path) -> None:
    """A shard with a column of pictures."""
    import pyarrow
    import pyarrow.parquet

    rows = [{"image": {"bytes": encoded(), "path": "x.png"}, "label": 1} for _ in range(3)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "shard.parquet")


def write_samples_file(folder: Path) -> None:
    """Sample sets as the reference step writes them."""
    tokens = np.ones((3, 77), np.int32)
    np.savez(folder / "texts.npz", tokens=tokens, names=np.asarray(["a", "b", "c"]))
    pixels, ones = RANDOM.integers(0, 255, (2, 8, 8, 3), np.uint8), np.ones(3)
    np.savez(folder / "images.npz", pixels=pixels, mean=ones, std=ones, names=np.asarray(["a", "b"]))


def write_captions(folder: Path) -> None:
    """Captions in every form."""
    rows = [{"caption": "a red bicycle", "id": 1}, {"caption": "two cats", "id": 2}]
    (folder / "lines.txt").write_text("a red bicycle\ntwo cats\n")
    (folder / "coco.json").write_text(json.dumps({"annotations": rows, "info": {"year": 2017}}))
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "table.csv").write_text('id,caption\n1,a red bicycle\n2,"two, cats"\n')
    (folder / "table.tsv").write_text("id\tcaption\n1\ta red bicycle\n")


def write_configs(room: str) -> Any:
    """The YAML files of a room as they ship; the three longest and the shortest."""

    def write(folder: Path) -> None:
        found = sorted((configs_dir() / room).glob("*.yaml"), key=lambda path: path.stat().st_size)
        for path in {*found[-3:], found[0]}:
            shutil.copyfile(path, folder / path.name)

    return write


def write_settings(folder: Path) -> None:
    """What may follow --set."""
    texts = (
        "onnx.fp32.options.opset=17", "limits.minutes=3", "rows.onnx/fp32.required=false", "towers=[image]",
        "targets.tflite.rows.int8.tolerances=int8", "recipes.fp16.weight_bits=16",
    )  # fmt: skip
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)


def state() -> dict[str, Any]:
    """A state dict of few numbers, among them every dtype that checkpoints have."""
    import torch

    generator = torch.Generator().manual_seed(1)
    named = {f"visual.{i}.weight": torch.rand(4, 3, generator=generator) for i in range(6)}
    kinds = (torch.float16, torch.bfloat16, torch.int64, torch.bool)
    return named | {f"text.{kind}": torch.ones(2, dtype=kind) for kind in kinds}


def write_checkpoints(folder: Path) -> None:
    """A zip and a pickle of torch.save, with a trainer's wrapping."""
    import torch

    wrapped = {"state_dict": {f"module.{name}": one for name, one in state().items()}, "epoch": 3}
    torch.save(wrapped, folder / "wrapped.pt")
    torch.save(state(), folder / "plain.pth")
    torch.save(state(), folder / "legacy.bin", _use_new_zipfile_serialization=False)


def write_safetensors(folder: Path) -> None:
    """A .safetensors file with metadata, and one of a few rows of an embedding."""
    import torch
    from safetensors.torch import save_file

    from converter.models.token_rows import IDS, ROWS

    save_file(state(), folder / "plain.safetensors", {"format": "pt", "by": "a trainer"})
    rows = {IDS: torch.arange(3), ROWS: torch.rand(3, 8)}
    save_file(rows | state(), folder / "rows.safetensors")


def write_torchscript(folder: Path) -> None:
    """A small traced module."""
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten()).eval()
    torch.jit.trace(module, torch.rand(1, 3, 8, 8)).save(str(folder / "module.pt"))


def write_openai(folder: Path) -> None:
    """A module with the names of OpenAI's archives, which are read for their tensors."""
    import torch

    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_final = torch.nn.LayerNorm(4)
            self.token_embedding = torch.nn.Embedding(5, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.ln_final(x)

    torch.jit.trace(Named().eval(), torch.rand(1, 4)).save(str(folder / "openai.pt"))


def toy(folder: Path, tower: Tower = "image") -> Artifact:
    """The toy model's tower as stages take it."""
    from tests.conftest import save_tower

    folder.mkdir(parents=True, exist_ok=True)
    return save_tower(tiny_clip(), tower, folder)


def write_onnx(folder: Path) -> None:
    """The toy image tower."""
    from tests.converted import onnx_of

    made = onnx_of(toy(folder / "made"), folder / "made")
    Path(made.path).rename(folder / "image.onnx")
    shutil.rmtree(folder / "made")


def write_tflite(folder: Path) -> None:
    """The toy image tower, and its INT8 twin's kind of ops where weights are stored in 8 bits."""
    from tests.converted import tflite_of

    made = tflite_of(toy(folder / "made"), folder / "made" / "more")
    Path(made.path).rename(folder / "image.tflite")
    shutil.rmtree(folder / "made")


def write_package(folder: Path) -> None:
    """The toy image tower as an .mlpackage of float16."""
    from converter.records import Recipe
    from converter.stages import to_coreml

    half = Recipe(name="fp16", summary="half", precision="fp16", weight_bits=16)
    made = to_coreml.convert(toy(folder / "made"), to_coreml.Options(), half, folder / "made")
    Path(made.path).rename(folder / "image.mlpackage")
    shutil.rmtree(folder / "made")


def write_tokenizer(folder: Path) -> None:
    """A tokenizer of few words in the same format: the real one has 3 MB of vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4, "c</w>": 5}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")], end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence([normalizers.Replace("x", "y"), normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    made.enable_truncation(8)
    made.enable_padding(length=8)
    (folder / "tokenizer.json").write_text(made.to_str())


def write_benchmark(folder: Path) -> None:
    """A run with two files and one that was not measured."""
    from converter.bench.ratios import ratio, timing
    from converter.benchmarked import BenchMachine, Benchmark, Measured, Throughput
    from converter.records import to_json

    rounds = (1.0, 1.25, 1.5)
    row = Measured(
        step_id="image/onnx/fp32", path="onnx/image_fp32.onnx", sha256="0" * 64, target="onnx", tower="image",
        precision="fp32", size_bytes=9, executed_by="x", latency_ms=timing([[one] for one in rounds]), load_ms=1.0,
        peak_rss_bytes=9, throughput=(Throughput(batch=4, per_second=2.0),), vs_pytorch=ratio(rounds, rounds),
        rounds_ms=rounds,
    )  # fmt: skip
    other = replace(row, step_id="image/tflite/fp32", vs_pytorch=None, sha256="1" * 64)
    blank = replace(other, step_id="image/coreml/fp32", latency_ms=None, rounds_ms=(), why_not="needs a Mac")
    machine = BenchMachine(
        name="a phone", processor="x", instructions=("i8mm",), cores=8, memory_bytes=9, system="Android 14", python="",
        libraries=("benchmark_model",), load_before=None, notes=("warm",),
    )  # fmt: skip
    run = Benchmark(
        schema_version=1, model="m", weights_sha256="2" * 64, created="2026-01-31T12:00:00Z", created_by="x",
        machine=machine, threads=2, rounds=3, calls=1, warmup=1, rows=(row, other, blank),
    )  # fmt: skip
    (folder / "run.json").write_bytes(to_json(run))


def write_phone_output(folder: Path) -> None:
    """What the tool prints on a phone, of a new build and of an old one."""
    from tests.bench.phone_outputs import NEW, OLD

    for name, text in (("new", NEW), ("old", OLD)):
        (folder / f"{name}.txt").write_text(text)


def write_manifest_file(folder: Path) -> None:
    """A manifest whose one file is there."""
    from converter.config import load_models
    from converter.files import hash_path
    from converter.manifest import FileRef, Manifest, ManifestEntry, ManifestReference, TokenizerFile
    from converter.publishing.manifest import model_part, write_manifest
    from converter.records import Tolerance, Weights

    made = _artifact(folder)
    sha256, size = hash_path(Path(made.path))
    entry = ManifestEntry(
        step_id="image/onnx/fp32", target="onnx", tower="image", precision="fp32", format="onnx", path="image.onnx",
        sha256=sha256, size_bytes=size, inputs=made.inputs, outputs=made.outputs, recipe=None, parent_sha256="",
        status="PASSED", required=True, not_required_because="", failures=(), notes=(),
        tolerances=(Tolerance(metric="max_abs", limit=1e-5, why="x"),), tie_margin=0.0, size_ratio=1.0, parity=None,
        parity_with_parent=None, tool_versions={"onnx": "1"},
    )  # fmt: skip
    cut = TokenizerFile(path="tokenizer.json", sha256="0" * 64, size_bytes=3, context_length=77, start_token=1,
                        end_token=2, pad_token=0, captions=3)  # fmt: skip
    weights = Weights(kind="seeded", path=None, sha256="0" * 64, trained=False)
    ref = FileRef(path="reference/samples.npz", sha256="0" * 64, size_bytes=1)
    reference = ManifestReference(tower="image", sample_set="parity", samples=ref, embeddings=ref,
                                  module=replace(made, path="reference/image.pt"))  # fmt: skip
    manifest = Manifest(
        schema_version=1, created_by="x", model=model_part(load_models()["mobileclip_nano"], weights, 10.0, cut),
        references=(reference,), artifacts=(entry,), environment={"python": "3"},
    )  # fmt: skip
    write_manifest(folder / "manifest.json", manifest)


def write_entry(folder: Path) -> None:
    """A finished step of the cache: its record, as `Cache.load` finds it."""
    from converter.files import hash_path, stamps
    from converter.pipeline.cache import Entry, Proof
    from converter.records import to_json

    made = replace(_artifact(folder), path="image.onnx")
    made = replace(made, sha256=hash_path(folder / "image.onnx")[0])
    proof = Proof(key="p", vs_reference=None, vs_parent=None)
    entry = Entry(key="k", ingredients={"a": "b"}, artifact=made, proof=proof, stamps=stamps(folder / "image.onnx"),
                  files={}, file_hashes={}, facts={"f": 1.0}, seconds=1.0)  # fmt: skip
    (folder / "entry.json").write_bytes(to_json(entry))


def write_outcome(folder: Path) -> None:
    """What a step's process says at its end."""
    from converter.pipeline.job import Outcome
    from converter.records import to_json

    outcome = Outcome(artifact=_artifact(folder), files={"samples": "samples.npz"}, facts={"logit_scale": 1.0})
    (folder / "outcome.json").write_bytes(to_json(outcome))
    (folder / "image.onnx").unlink()


def _artifact(folder: Path) -> Artifact:
    from converter.records import TensorSpec

    (folder / "image.onnx").write_bytes(b"x")
    one = TensorSpec(name="image", shape=(1, 3, 8, 8), dtype="float32", layout="NCHW", value_range=(0.0, 1.0))
    out = TensorSpec(name="embedding", shape=(1, 4), dtype="float32", layout="NC")
    return Artifact(path=str(folder / "image.onnx"), format="onnx", target="onnx", tower="image", precision="fp32",
                    inputs=(one,), outputs=(out,))  # fmt: skip
