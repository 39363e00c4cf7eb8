"""The libraries' own inference transforms, which our preprocessing is compared with bit for bit."""

from __future__ import annotations

from typing import Any

from converter.records import Preprocessing


def open_clip_transform(preprocessing: Preprocessing) -> Any:
    """open_clip's, with these settings; it knows neither `resize_size` nor other filters than two."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    settings = PreprocessCfg(
        size=preprocessing.size,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=preprocessing.interpolation,
        resize_mode=preprocessing.resize,
    )
    return image_transform_v2(settings, is_train=False)


def timm_transform(preprocessing: Preprocessing, crop_pct: float) -> Any:
    """timm's, with these settings; `crop_pct` says how much of the resized picture is cropped."""
    from timm.data import create_transform

    return create_transform(
        input_size=(3, preprocessing.size, preprocessing.size),
        is_training=False,
        crop_pct=crop_pct,
        crop_mode="squash" if preprocessing.resize == "squash" else "center",
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
    )
