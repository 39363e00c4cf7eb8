"""mobileclip_nano's image tower as a folder that an export leaves, made by the stages alone, and runtimes that fail."""

from __future__ import annotations

import tempfile
from pathlib import Path

from converter.files import hash_path
from converter.manifest import FileRef, Manifest, ManifestReference
from converter.models.catalog import find
from converter.models.loading import load_model
from converter.models.samples import write_samples
from converter.models.weights import resolve
from converter.publishing.manifest import merge, model_part, write_manifest
from converter.records import Artifact, TensorSpec
from converter.rewrites.tower import rewrite_tower
from converter.stages import to_torchscript
from converter.torchscript_file import deprecation_known
from tests.converted import onnx_of
from tests.inference.conftest import listed

MODEL = "mobileclip_nano"
TROUBLE = "MCCONVERT_TEST_TROUBLE"
"""In the environment of workers: "FILE NAME=sleep" or "FILE NAME=crash", with commas between."""

TROUBLED_RUNTIME = f'''
"""The built-in runtime, which sleeps or dies with the files that the environment names."""
import os, signal, time
from contextlib import contextmanager
from pathlib import Path
from converter.runtimes.BUILT_IN import FORMAT, REQUIRES
from converter.runtimes import BUILT_IN as built_in

class Troubled:
    def __init__(self, runner, trouble):
        self.runner, self.trouble, self.calls = runner, trouble, 0
        self.executed_by, self.inputs, self.outputs = runner.executed_by, runner.inputs, runner.outputs
    def infer(self, arrays):
        self.calls += 1
        if self.trouble == "sleep":
            time.sleep(0.5)
        if self.trouble == "crash" and self.calls > 5:
            os.kill(os.getpid(), signal.SIGSEGV)
        return self.runner.infer(arrays)

@contextmanager
def open_runner(artifact, threads):
    known = dict(pair.split("=") for pair in os.environ.get("{TROUBLE}", "").split(",") if pair)
    with built_in.open_runner(artifact, threads) as runner:
        yield Troubled(runner, known.get(Path(artifact.path).name, ""))
'''


def make_nano(folder: Path) -> Manifest:
    """ONNX of batch 1 and of any batch, and TorchScript, with samples and a manifest. Nothing is judged."""
    spec = find(MODEL)
    weights = resolve(spec, "auto")
    with tempfile.TemporaryDirectory() as scratch:
        parent = _traced(load_model(spec, weights, ["image"], Path(scratch)), Path(scratch))
        made = {
            "onnx/fp32": onnx_of(parent, Path(scratch) / "one"),
            "onnx/fp32_dynamic": onnx_of(parent, Path(scratch) / "any", batch="dynamic"),
            "torchscript/fp32": to_torchscript.convert(parent, to_torchscript.Options(), None, Path(scratch)),
        }
        entries = [listed(folder, row, artifact) for row, artifact in made.items()]
    samples = folder / "reference" / "image_samples.npz"
    samples.parent.mkdir()
    write_samples(spec, "image", "parity", samples)
    sha256, size_bytes = hash_path(samples)
    ref = FileRef(path="reference/image_samples.npz", sha256=sha256, size_bytes=size_bytes)
    reference = ManifestReference(tower="image", sample_set="scenes", samples=ref, embeddings=ref, module=parent)
    manifest = merge(folder, model_part(spec, weights, None), [reference], entries, {})
    write_manifest(folder / "manifest.json", manifest)
    return manifest


def install_trouble(folder: Path) -> Path:
    """A folder for PYTHONPATH whose distribution takes the place of two built-in runtimes."""
    folder.mkdir()
    for name in ("onnx", "torchscript"):
        (folder / f"troubled_{name}.py").write_text(TROUBLED_RUNTIME.replace("BUILT_IN", name))
    facts = folder / "troubled-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: troubled\nVersion: 1.0\n")
    points = "".join(f"{name} = troubled_{name}\n" for name in ("onnx", "torchscript"))
    (facts / "entry_points.txt").write_text(f"[mcconvert.runtimes]\n{points}")
    return folder


def _traced(clip: object, folder: Path) -> Artifact:
    import torch

    spec = find(MODEL)
    size = spec.preprocessing.size
    with deprecation_known():
        example = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(3))
        torch.jit.trace(rewrite_tower(clip, "image"), example, check_trace=False).save(str(folder / "tower.pt"))
    return Artifact(
        path=str(folder / "tower.pt"), format="pytorch", target="pytorch", tower="image", precision="fp32",
        inputs=(TensorSpec(name="image", shape=(1, 3, size, size), dtype="float32", layout="NCHW"),),
        outputs=(TensorSpec(name="embedding", shape=(1, spec.embed_dim), dtype="float32", layout="NC"),),
    )  # fmt: skip
