"""A classifier whose accuracy is known, as a file: which of four colours prevails in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIZE = 32
COLOURS = {"blue": (30, 40, 220), "green": (40, 200, 60), "red": (220, 40, 30), "yellow": (230, 210, 40)}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(count: int, seed: int, light: float = 1.0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(n, SIZE, SIZE, 3) uint8 patchworks, most squares of one colour; and which, in the order of `COLOURS`."""
    generator = np.random.default_rng(seed)
    palette = np.array(list(COLOURS.values()), np.float64)
    labels = np.arange(count) % len(palette)
    squares = palette[generator.integers(0, len(palette), (count, 4, 4))]
    prevails = generator.random((count, 4, 4, 1)) < 0.6
    squares = np.where(prevails, palette[labels][:, None, None], squares) * generator.uniform(
        0.7, 1.0, (count, 1, 1, 1)
    )
    pixels = np.repeat(np.repeat(squares * light, SIZE // 4, 1), SIZE // 4, 2)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), labels


def write_folder(folder: Path, count: int, seed: int, *, classes: bool, light: float = 1.0) -> Path:
    """Pictures as .png files: in a folder for each class, or all in one."""
    from PIL import Image

    for index, (pixels, label) in enumerate(zip(*pictures(count, seed, light), strict=True)):
        place = folder / list(COLOURS)[label] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index:03}.png")
    return folder


def classifier() -> Any:
    """Two convolutions and a layer of random weights, and a linear layer fitted to other pictures than tests draw."""
    import torch
    from torch import nn

    from converter.models.preprocessing import normalise

    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 64), nn.ReLU(),
    )  # fmt: skip
    head = nn.Linear(64, len(COLOURS))
    pixels, labels = pictures(400, seed=100)
    with torch.no_grad():
        features = body(torch.from_numpy(normalise(pixels, MEAN, STD)))
        augmented = torch.cat([features, torch.ones(len(features), 1)], dim=1)
        wanted = nn.functional.one_hot(torch.from_numpy(labels), len(COLOURS)).float()
        fitted = torch.linalg.lstsq(augmented, wanted, driver="gelsd").solution
        head.weight.copy_(fitted[:-1].T)
        head.bias.copy_(fitted[-1])
    return nn.Sequential(body, head).eval()


def write_classifier(path: Path) -> Path:
    """As ONNX, with names of its own and any batch."""
    import torch

    from converter.torchscript_file import deprecation_known

    with deprecation_known(), torch.no_grad():
        traced = torch.jit.trace(classifier(), torch.rand(1, 3, SIZE, SIZE))
        torch.onnx.export(
            traced, (torch.rand(1, 3, SIZE, SIZE),), str(path), dynamo=False, opset_version=17,
            input_names=["pixels"], output_names=["logits"], dynamic_axes={"pixels": {0: "n"}, "logits": {0: "n"}},
        )  # fmt: skip
    return path
