"""The first step of every tower: what everything else is judged against, and what everything else is made from.

1. Build the unmodified PyTorch model, load its weights (or awaken seeded ones), eval mode, float32.
2. Write the parity samples and the calibration samples, which share none; embed the parity samples, stress samples too:
   the reference. Calibration samples of the user's own are compared with the built-in ones.
3. Rewrite a copy of the tower, prove it equal to the reference, trace it, and script it where it can be.
4. For the text tower, write its tokenizer as one file and prove that it cuts every caption into the same tokens.
"""

from __future__ import annotations

import dataclasses
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.errors import ParityError, WeightsError
from converter.files import hash_path
from converter.models.samples import (
    load_inputs,
    load_model_inputs,
    load_names,
    sample_set_name,
)
from converter.models.stress import count_stress
from converter.parity.compare import compare
from converter.parity.judge import MIN_SPREAD
from converter.pipeline.calibrating import Given, cautions_of, write_sample_sets
from converter.pipeline.job import Job, Outcome
from converter.pipeline.prove import CANDIDATE, TOP_K, save_embeddings
from converter.records import CAUTION, Artifact, ModelSpec, ParityReport, TensorSpec, Tower
from converter.torchscript_file import strip_source_positions

SAMPLES, CALIBRATION, REFERENCE = "samples.npz", "calibration.npz", "reference.npz"
SCRIPTED, TOKENIZER = "tower.scripted.pt", "tokenizer.json"
OPTIONAL_FILES = {"scripted": SCRIPTED, "tokenizer": TOKENIZER}
EMBED_BATCH = 2
REFERENCE_THREADS = 2
"""The same for every --jobs: seeded norm statistics depend, in their last bits, on how many threads sum them up."""


def make(job: Job) -> Outcome:
    """Do all of the above for one tower.

    Raises:
        WeightsError: the weights do not belong to this model.
        ParityError: the reference cannot tell the samples apart, so that comparing with it would prove nothing; or the
            tokenizer's file cuts a caption in another way than open_clip does.
    """
    import torch

    from converter.models.loading import load_model

    if job.spec is None or job.weights is None:
        message = "the reference step needs a model and weights"
        raise WeightsError(message)
    torch.set_num_threads(REFERENCE_THREADS)
    folder, tower, spec = Path(job.folder), job.step.tower, job.spec
    given = write_sample_sets(job, spec, folder / SAMPLES, folder / CALIBRATION)
    clip = load_model(spec, job.weights, [tower], folder)
    with torch.inference_mode():
        reference = _embed(_unmodified(clip, tower), load_model_inputs(folder / SAMPLES))
    save_embeddings(folder / REFERENCE, {"embedding": reference})
    report, artifact = _rewrite(job, spec, clip, load_inputs(folder / SAMPLES), reference, given)
    _refuse_sleeping(report, spec)
    captions = _write_tokenizer(spec, folder) if tower == "text" else {}
    return Outcome(
        artifact=artifact, vs_reference=report, facts=_logit_scale(clip) | captions,
        files={"samples": SAMPLES, "calibration": CALIBRATION, "reference": REFERENCE, "candidate": CANDIDATE}
        | {label: name for label, name in OPTIONAL_FILES.items() if (folder / name).exists()},
    )  # fmt: skip


def _write_tokenizer(spec: ModelSpec, folder: Path) -> dict[str, float]:
    """Step 4: how many captions the file was compared on, all that we have."""
    from converter.models.captions import calibration_captions, parity_captions
    from converter.models.tokenizer_file import check_tokenizer, write_tokenizer

    write_tokenizer(spec, folder / TOKENIZER)
    names = [*_ordinary(load_names(folder / SAMPLES)), *load_names(folder / CALIBRATION)]
    captions = tuple(dict.fromkeys((*parity_captions(), *calibration_captions(), *names)))
    return {"tokenizer_captions": check_tokenizer(folder / TOKENIZER, captions, spec)}


def _ordinary(names: Sequence[str]) -> Sequence[str]:
    """The names of all samples but the stress samples."""
    return names[: len(names) - count_stress(names)]


def _logit_scale(clip: Any) -> dict[str, float]:
    """From the weights as loaded; a model without a text tower has none."""
    from converter.models.checkpoint import logit_scale

    return {"logit_scale": logit_scale(clip)} if hasattr(clip, "logit_scale") else {}


def _unmodified(clip: Any, tower: Tower) -> Any:
    encode = clip.encode_image if tower == "image" else clip.encode_text
    return lambda batch: encode(batch, normalize=True)


def _embed(encode: Any, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """(n, embed_dim) float32 unit-length embeddings of the one input array."""
    import torch

    (array,) = inputs.values()
    chunks = [torch.from_numpy(array[i : i + EMBED_BATCH]) for i in range(0, len(array), EMBED_BATCH)]
    return np.concatenate([encode(chunk).float().numpy() for chunk in chunks])


def _rewrite(
    job: Job, spec: ModelSpec, clip: Any, inputs: Mapping[str, np.ndarray[Any, Any]], reference: np.ndarray[Any, Any],
    given: Given | None,
) -> tuple[ParityReport, Artifact]:  # fmt: skip
    import torch

    from converter.rewrites.tower import rewrite_tower

    folder, tower = Path(job.folder), job.step.tower
    images = Path(job.images) if job.images else None
    names = load_names(folder / SAMPLES)
    rewritten: Any = rewrite_tower(_converted(clip), tower, spec.preprocessing)
    with torch.inference_mode():
        candidate = _embed(rewritten, inputs)
    save_embeddings(folder / CANDIDATE, {"embedding": candidate})
    report = compare(
        {"embedding": reference}, {"embedding": candidate}, reference_name="PyTorch reference",
        candidate_name=job.step.id,
        sample_set=sample_set_name(tower, len(_ordinary(names)), images_dir=images, domain=spec.samples),
        executed_by=f"PyTorch {torch.__version__} eager, CPU", k=TOP_K, tie_margin=job.step.tie_margin,
        names=names, stress=count_stress(names),
    )  # fmt: skip
    (array,) = inputs.values()
    path = folder / job.step.file_name
    _trace(rewritten, torch.from_numpy(array[:1]), path, folder / SCRIPTED)
    sha256, size_bytes = hash_path(path)
    cautions = cautions_of(given, rewritten)
    report = dataclasses.replace(report, cautions=cautions)
    return report, Artifact(
        path=str(path), format="pytorch", target="pytorch", tower=tower, precision="fp32", sha256=sha256,
        size_bytes=size_bytes, inputs=(_input_spec(spec, tower),),
        notes=(*rewritten.applied, *(CAUTION + caution for caution in cautions)),
        outputs=(TensorSpec(name="embedding", shape=(1, reference.shape[1]), dtype="float32", layout="NC"),),
    )  # fmt: skip


def _converted(clip: Any) -> Any:
    """A model of another library gives the equal one of open_clip's blocks, which the rewrites know."""
    return clip.converted() if hasattr(clip, "converted") else clip


def _trace(module: Any, example: Any, path: Path, scripted: Path) -> None:
    """Trace, and script where the module allows it; a module that does not script is said in the log, not hidden."""
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        # the tracer's own check compares mangled names and fails on equal graphs (torch 2.14); parity is the check
        torch.jit.trace(module, (example,), check_trace=False).save(str(path))
        strip_source_positions(path)
        try:
            torch.jit.script(module).save(str(scripted))
            strip_source_positions(scripted)
        except Exception:
            traceback.print_exc()
            scripted.unlink(missing_ok=True)


def _input_spec(spec: ModelSpec, tower: Tower) -> TensorSpec:
    if tower == "text":
        return TensorSpec(name="tokens", shape=(1, spec.context_length), dtype="int32", layout="NL")
    pixels = spec.preprocessing
    return TensorSpec(
        name="image", shape=(1, 3, pixels.size, pixels.size), dtype="uint8" if pixels.inside_graph else "float32",
        layout="NCHW", value_range=pixels.value_range,
    )  # fmt: skip


def _refuse_sleeping(report: ParityReport, spec: ModelSpec) -> None:
    spread = report.outputs[0].spread
    if spread < MIN_SPREAD:
        message = (
            f"{spec.id}: the reference cannot tell the samples apart (spread {spread:.4f}, at least {MIN_SPREAD} is"
            " needed), so any file would look right; check the weights, or take images that differ"
        )
        raise ParityError(message)
