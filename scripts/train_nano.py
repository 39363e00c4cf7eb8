"""Train a MobileCLIP on drawn scenes, with open_clip's loss; made for the small one that comes with mcconvert.

    .venv/bin/python scripts/train_nano.py --minutes 25 --out converter/models/bundled/mobileclip_nano.safetensors
    .venv/bin/python scripts/train_nano.py --evaluate converter/models/bundled/mobileclip_nano.safetensors

A run that was stopped goes on from its last checkpoint in --work. Progress is on stderr, the scores on stdout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from open_clip.loss import ClipLoss
from safetensors.torch import save as to_bytes
from torch import nn

from converter.config import load_models
from converter.files import write_atomically
from converter.models import scenes
from converter.models.building import build
from converter.models.checkpoint import read_state_dict
from converter.models.drawing import draw
from converter.models.preprocessing import normalise, prepare
from converter.models.token_rows import compact
from converter.models.tokenizer import tokenize
from converter.records import ModelSpec

MODELS = ("mobileclip_nano", "mobileclip_s0")
CHANNELS_LAST = ("mobileclip_nano",)
"""Models that train in that memory format, which is faster. Not S0: the backward pass of its image tower then ends in a
segmentation fault (torch 2.14.1 on x86)."""
WARM_UP = 0.04
"""Share of the training in which the learning rate rises; the rest falls along a cosine."""
SHORT_CONTEXT = 24
SHORT_SHARE = 0.75
"""Share of the training in which texts are cut to SHORT_CONTEXT tokens, which is longer than any caption: three times
faster, and the end of the training gets used to the padding."""
WEIGHT_DECAY = 0.05
LARGEST_GRADIENT = 1.0
LARGEST_SCALE = math.log(100.0)
SETTLING_SCENES = 2048
ZERO_SHOT_SCENES = 576
GALLERY = 256
STEPS_BETWEEN_LINES = 20
STEPS_BETWEEN_CHECKPOINTS = 100


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One training run. It ends after `steps` or after `minutes` of training, whichever comes first."""

    spec: ModelSpec
    work: Path
    device: str
    steps: int
    minutes: float
    batch: int
    scenes: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Data:
    """Drawn scenes: `pixels` (n, size, size, 3) uint8, in families of neighbours."""

    scenes: list[scenes.Scene]
    pixels: npt.NDArray[np.uint8]


def main() -> None:
    """Train and evaluate, or only evaluate."""
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    spec = load_models()[arguments.model]
    weights = arguments.evaluate or arguments.out
    if not arguments.evaluate:
        plan = Plan(
            spec=spec, work=arguments.work, device=arguments.device, steps=arguments.steps, minutes=arguments.minutes,
            batch=arguments.batch, scenes=arguments.scenes, learning_rate=arguments.learning_rate, seed=arguments.seed,
        )  # fmt: skip
        _tell(f"wrote {weights}, sha256 {save(train(plan), spec, weights)}")
    scores = evaluate(load(weights, spec).to(arguments.device), spec)
    print(json.dumps(scores, indent=2) if arguments.json else _table(scores))


def train(plan: Plan) -> nn.Module:
    """The trained model in eval mode, its batch-norm statistics those of its final weights."""
    torch.manual_seed(plan.seed)
    plan.work.mkdir(parents=True, exist_ok=True)
    data = _draw_data(plan)
    model = build(plan.spec).to(plan.device, memory_format=_memory_format(plan)).train()
    optimizer = _optimizer(model, plan.learning_rate)
    step, seconds = _resume(plan, model, optimizer)
    started = time.monotonic() - seconds
    while (progress := max(step / plan.steps, (time.monotonic() - started) / 60 / plan.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _schedule(progress)
        loss = _learn(model, optimizer, *_batch(plan, data, step, progress))
        step += 1
        if step == 1 or step % STEPS_BETWEEN_LINES == 0:
            _tell(f"step {step}  {progress:6.1%}  loss {loss:.3f}  scale {model.logit_scale.exp().item():.1f}")
        if step % STEPS_BETWEEN_CHECKPOINTS == 0:
            _save_checkpoint(plan, model, optimizer, step, time.monotonic() - started)
    _save_checkpoint(plan, model, optimizer, step, time.monotonic() - started)
    _settle_norms(plan, model, data)
    return model.eval()


def save(model: nn.Module, spec: ModelSpec, path: Path) -> str:
    """Write the weights as float16 with the token embeddings that captions use; returns the file's sha256."""
    ids = tokenize(scenes.words(), spec).ravel().tolist()
    write_atomically(path, to_bytes({name: t.cpu() for name, t in compact(model.state_dict(), ids).items()}))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(path: Path, spec: ModelSpec) -> nn.Module:
    """The model with the weights that `save` wrote, as float32."""
    model = build(spec)
    model.load_state_dict(read_state_dict(path))
    return model


@torch.inference_mode()
def evaluate(model: nn.Module, spec: ModelSpec) -> dict[str, float]:
    """Scores on kinds that training never drew, as shares from 0 to 1, each with its chance level."""
    kinds = scenes.kinds(held_out=True)
    shown = list(islice(scenes.held_out_scenes(), ZERO_SHOT_SCENES))
    images = _embed_images(model, spec, shown)
    classes = torch.stack([_embed_texts(model, spec, scenes.prompts(kind)).mean(dim=0) for kind in kinds])
    answers = torch.tensor([kinds.index(scene.kind) for scene in shown])
    captions = [scenes.caption(scene, index) for index, scene in enumerate(shown[:GALLERY])]
    similarity = images[:GALLERY] @ _embed_texts(model, spec, captions).T
    own = torch.arange(GALLERY)
    return {
        "zero_shot": _share((images @ nn.functional.normalize(classes, dim=-1).T).argmax(1) == answers),
        "zero_shot_chance": 1 / len(kinds),
        "image_to_text_recall_at_1": _share(similarity.argmax(1) == own),
        "text_to_image_recall_at_1": _share(similarity.argmax(0) == own),
        "recall_at_1_chance": 1 / GALLERY,
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--minutes", type=float, default=25.0, help="stop after so many minutes of training; 25")
    parser.add_argument("--steps", type=int, default=10000, help="stop after so many steps; 10000")
    parser.add_argument("--batch", type=int, default=160, help="scenes a step; 160")
    parser.add_argument("--scenes", type=int, default=40000, help="scenes drawn to train on; 40000")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the highest; 0.002")
    parser.add_argument(
        "--threads", type=int, default=1, help="of the processor; 1, for two hardly help such small layers"
    )
    parser.add_argument("--seed", type=int, default=0, help="of scenes, batches and first weights; 0")
    parser.add_argument("--work", type=Path, default=Path("artifacts/training"), help="drawn scenes and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("artifacts/training/weights.safetensors"), help="the result")
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="only print the scores of these weights")
    parser.add_argument("--json", action="store_true", help="scores for programs")
    return parser.parse_args()


def _draw_data(plan: Plan) -> Data:
    drawn = list(islice(scenes.training_scenes(plan.seed), plan.scenes))
    path = plan.work / f"scenes-{plan.seed}-{plan.scenes}-{plan.spec.preprocessing.size}.npy"
    if not path.exists():
        _tell(f"drawing {plan.scenes} scenes")
        pixels = prepare(map(draw, drawn), plan.spec.preprocessing)
        sibling = path.with_suffix(".partial.npy")
        np.save(sibling, pixels)
        sibling.replace(path)
    return Data(scenes=drawn, pixels=np.load(path, mmap_mode="r"))


def _optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW without decay of norms, biases, scales and embeddings."""
    named = list(model.named_parameters())
    kept = [p for name, p in named if p.squeeze().ndim < 2 or "embedding" in name]
    decayed = [p for name, p in named if p.squeeze().ndim >= 2 and "embedding" not in name]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))


def _learn(model: Any, optimizer: torch.optim.Optimizer, images: torch.Tensor, tokens: torch.Tensor) -> float:
    """One step; returns the loss before it."""
    loss = ClipLoss()(*model(images, tokens))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, LARGEST_SCALE)
    return float(loss.item())


def _schedule(progress: float) -> float:
    if progress < WARM_UP:
        return (progress + 1e-3) / (WARM_UP + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def _batch(plan: Plan, data: Data, step: int, progress: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole families, so that each scene has neighbours to be told from; depends on the seed and the step only."""
    generator = np.random.default_rng([plan.seed, step])
    families = generator.choice(len(data.scenes) // scenes.FAMILY, plan.batch // scenes.FAMILY, replace=False)
    rows = np.sort(families)[:, None] * scenes.FAMILY + np.arange(scenes.FAMILY)
    captions = [scenes.training_caption(data.scenes[row], generator) for row in rows.ravel()]
    tokens = torch.from_numpy(tokenize(captions, plan.spec)).long()
    if progress < SHORT_SHARE:
        tokens = tokens[:, :SHORT_CONTEXT]
    images = _floats_of(plan.spec, data.pixels[rows.ravel()])
    return images.to(plan.device, memory_format=_memory_format(plan)), tokens.to(plan.device)


def _memory_format(plan: Plan) -> torch.memory_format:
    """Never channels_last on a CPU with AVX2 and no AVX-512: there oneDNN (torch 2.14.1) writes past a buffer
    on its way back through this model's convolutions (`mkldnn_convolution_backward_weights`), and the process ends in
    a segmentation fault. It can go when `tests/scripts` passes without it on such a CPU.
    """
    sound = plan.device != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX2"
    return torch.channels_last if plan.spec.id in CHANNELS_LAST and sound else torch.contiguous_format


def _floats_of(spec: ModelSpec, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(normalise(pixels, spec.preprocessing.mean, spec.preprocessing.std))


def _checkpoint(plan: Plan) -> Path:
    return plan.work / f"{plan.spec.id}-{plan.seed}.checkpoint.pt"


def _save_checkpoint(plan: Plan, model: nn.Module, optimizer: Any, step: int, seconds: float) -> None:
    sibling = _checkpoint(plan).with_suffix(".partial")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, sibling)
    sibling.replace(_checkpoint(plan))


def _resume(plan: Plan, model: nn.Module, optimizer: Any) -> tuple[int, float]:
    if not _checkpoint(plan).exists():
        return 0, 0.0
    state = torch.load(_checkpoint(plan), map_location=plan.device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    _tell(f"going on from step {state['step']} of {_checkpoint(plan)}")
    return state["step"], state["seconds"]


@torch.no_grad()
def _settle_norms(plan: Plan, model: nn.Module, data: Data) -> None:
    """Batch-norm statistics of the final weights, as the mean over many batches of whole-length texts."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    for step in range(-(-min(SETTLING_SCENES, plan.scenes) // plan.batch)):
        model(*_batch(plan, data, 10**6 + step, 1.0))


def _embed_images(model: nn.Module, spec: ModelSpec, shown: list[scenes.Scene]) -> torch.Tensor:
    pixels = _floats_of(spec, prepare(map(draw, shown), spec.preprocessing))
    return torch.cat([model.encode_image(rows.to(_device(model)), normalize=True).cpu() for rows in pixels.split(64)])


def _embed_texts(model: nn.Module, spec: ModelSpec, texts: Any) -> torch.Tensor:
    tokens = torch.from_numpy(tokenize(texts, spec)).long()
    return torch.cat([model.encode_text(rows.to(_device(model)), normalize=True).cpu() for rows in tokens.split(64)])


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _share(right: torch.Tensor) -> float:
    return right.float().mean().item()


def _table(scores: dict[str, float]) -> str:
    return "\n".join(f"{name.replace('_', ' '):28} {score:7.2%}" for name, score in scores.items())


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
