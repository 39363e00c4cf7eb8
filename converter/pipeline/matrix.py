"""Verify the files of one model, and compare with each other all that ran: `mcconvert verify --matrix`.

Files are run by `pipeline.verify`, a process each; figures are taken by `parity.matrix`. This module decides what may
be compared with what, and keeps the names apart.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.agreement import REFERENCE, Agreement, LeftOut, Side, TowerMatrix, ZeroShotMatrix, ZeroShotSide
from converter.errors import UsageError
from converter.manifest import Manifest, ManifestEntry, ManifestModel, ManifestReference
from converter.models.samples import load_names, stress_count
from converter.models.scenes import FULL_PHRASINGS, caption, parity_scenes
from converter.parity.matrix import right_shares, tower_pairs, zero_shot_pairs
from converter.parity.scores import finite, gallery, scores_of
from converter.pipeline.prove import TOP_K, load_embeddings
from converter.pipeline.verify import VerifySettings, kept, verify
from converter.records import TOWERS, StageResult, Tower

Embedded = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A model's folder with its manifest."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A file after its run: its verdict, and where its embeddings are. `label` tells its folder from the others."""

    folder: Folder
    label: str
    entry: ManifestEntry
    result: StageResult
    embeddings: Path


@dataclass(frozen=True, kw_only=True)
class Entrants:
    """What takes part of one tower: sides in order, their (n, d) embeddings by name, and the samples' names."""

    sample_set: str
    names: Sequence[str]
    sides: Sequence[Side]
    rows: Mapping[str, Embedded]


def compare_folders(
    folders: Sequence[Folder], settings: VerifySettings
) -> tuple[list[tuple[Folder, list[StageResult]]], Agreement]:
    """The verdict on every file of every folder, and the agreement of all files that ran.

    Raises:
        UsageError: the folders do not hold one model judged on the same samples, or only hashes are wanted.
    """
    if settings.hashes_only:
        message = "a matrix is made from what the files give, so they must run: leave --hashes-only out"
        raise UsageError(message)
    refuse_strangers(folders)
    ran: list[Ran] = []
    verified = []
    with tempfile.TemporaryDirectory(prefix="mcconvert-matrix-") as scratch:
        for folder, label in zip(folders, _labels(folders), strict=True):
            place = Path(tempfile.mkdtemp(dir=scratch))
            results = verify(folder.path.resolve(), folder.manifest, dataclasses.replace(settings, keep=place))
            verified.append((folder, results))
            ran += [
                Ran(folder=folder, label=label, entry=entry, result=result, embeddings=kept(place, entry.step_id))
                for entry, result in zip(folder.manifest.artifacts, results, strict=True)
            ]
        return verified, agreement_of(ran, folders[0].manifest.model)


def refuse_strangers(folders: Sequence[Folder]) -> None:
    """Files are compared only where they are of one model and saw the same samples.

    The reference's own embeddings may differ in their last bits from machine to machine; then both are shown.

    Raises:
        UsageError: weights or samples differ, or a folder is given twice.
    """
    for one, other in combinations(folders, 2):
        why = _difference(one, other)
        if why:
            message = f"{other.path} cannot be compared with {one.path}: {why}"
            raise UsageError(message)


def right_captions(images: Sequence[str], captions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(images, captions): which captions say what an image shows. Known of drawn scenes, whose names are captions."""
    phrasings = range(len(FULL_PHRASINGS))
    shown = {caption(scene, phrasing): caption(scene) for scene in parity_scenes() for phrasing in phrasings}
    return np.array([[shown.get(said) == name for said in captions] for name in images])


def _difference(one: Folder, other: Folder) -> str:
    if one.path.resolve() == other.path.resolve():
        return "they are the same folder"
    ours, theirs = one.manifest.model, other.manifest.model
    if ours.weights.sha256 != theirs.weights.sha256:
        return (
            f"it was exported from other weights ({theirs.id}, sha256 {theirs.weights.sha256[:12]}... instead of "
            f"{ours.id}, {ours.weights.sha256[:12]}...); a matrix compares files of one model"
        )
    samples = {reference.tower: reference.samples.sha256 for reference in one.manifest.references}
    for reference in other.manifest.references:
        expected = samples.get(reference.tower, reference.samples.sha256)
        if reference.samples.sha256 != expected:
            return (
                f"its {reference.tower} files were judged on other samples (sha256 {reference.samples.sha256[:12]}... "
                f"instead of {expected[:12]}...); export both with the same --images and --input"
            )
    return ""


def _labels(folders: Sequence[Folder]) -> list[str]:
    """The folders' names, or their whole paths where names are alike."""
    names = [folder.path.name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder.path) for folder in folders]


def agreement_of(files: Sequence[Ran], model: ManifestModel) -> Agreement:
    """How far all files that ran agree; those without embeddings are named with the reason."""
    ran = [one for one in files if one.embeddings.exists()]
    found = {tower: entrants_of(tower, [one for one in ran if one.entry.tower == tower]) for tower in TOWERS}
    present = {tower: one for tower, one in found.items() if one is not None}
    return Agreement(
        model=model.id, trained=model.trained, k=TOP_K,
        left_out=tuple(_left_out(one) for one in files if one not in ran),
        towers=tuple(
            TowerMatrix(
                tower=tower, sample_set=one.sample_set, sides=tuple(one.sides),
                pairs=tower_pairs(one.sides, one.rows, one.names, TOP_K),
            )
            for tower, one in present.items()
        ),
        zero_shot=_zero_shot(present["image"], present["text"], model.logit_scale) if len(present) > 1 else None,
    )  # fmt: skip


def _left_out(file: Ran) -> LeftOut:
    why = next(iter(file.result.failures), file.result.reason)
    return LeftOut(step_id=file.entry.step_id, folder=str(file.folder.path), why=why)


def entrants_of(tower: Tower, ran: Sequence[Ran]) -> Entrants | None:
    """The references first, then what ran, without the stress rows; None where nothing ran."""
    if not ran:
        return None
    source = _reference(ran[0].folder, tower)
    samples = ran[0].folder.path / source.samples.path
    names = load_names(samples)
    names = names[: len(names) - stress_count(samples)]
    sides = [*_reference_sides(tower, ran), *_file_sides(ran)]
    rows = {side.name: embedded[: len(names)] for side, embedded in sides}
    counted = [dataclasses.replace(side, nonfinite=_nonfinite(rows[side.name])) for side, _ in sides]
    return Entrants(sample_set=source.sample_set, names=names, sides=counted, rows=rows)


def _reference_sides(tower: Tower, ran: Sequence[Ran]) -> list[tuple[Side, Embedded]]:
    """Each folder's reference, once where they are equal."""
    first: dict[str, Ran] = {}
    for one in ran:
        first.setdefault(_reference(one.folder, tower).embeddings.sha256, one)
    return [
        (
            Side(
                name=REFERENCE if one is ran[0] else f"{REFERENCE} @ {one.label}", target=REFERENCE,
                folder=str(one.folder.path), executed_by="PyTorch, float32, when it was exported",
            ),
            _embedded(one.folder.path / _reference(one.folder, tower).embeddings.path),
        )
        for one in first.values()
    ]  # fmt: skip


def _file_sides(ran: Sequence[Ran]) -> list[tuple[Side, Embedded]]:
    rows = Counter(_row(one) for one in ran)
    return [
        (
            Side(
                name=_row(one) if rows[_row(one)] == 1 else f"{_row(one)} @ {one.label}", target=one.entry.target,
                folder=str(one.folder.path), tie_margin=one.entry.tie_margin, status=one.result.status,
                executed_by=one.result.vs_reference.executed_by if one.result.vs_reference else "",
            ),
            _embedded(one.embeddings),
        )
        for one in ran
    ]  # fmt: skip


def _zero_shot(image: Entrants, text: Entrants, logit_scale: float | None) -> ZeroShotMatrix:
    """Rows that have both towers; a file that gives other than finite numbers counts them as 0."""
    texts = {side.name: side for side in text.sides}
    both = [side for side in image.sides if side.name in texts]
    scores = {side.name: scores_of(finite(image.rows[side.name]), gallery(text.rows[side.name])) for side in both}
    right = right_captions(image.names, text.names)
    sides = []
    for side in both:
        right_caption, right_image = right_shares(scores[side.name], right)
        margin = max(side.tie_margin, texts[side.name].tie_margin)
        sides.append(
            ZeroShotSide(
                name=side.name,
                target=side.target,
                tie_margin=margin,
                right_caption=right_caption,
                right_image=right_image,
            )
        )
    alone = {side.name for side in (*image.sides, *text.sides)} - set(scores)
    return ZeroShotMatrix(
        images=len(image.names), captions=len(text.names), sides=tuple(sides), alone=tuple(sorted(alone)),
        pairs=zero_shot_pairs(sides, scores, TOP_K, logit_scale),
    )  # fmt: skip


def _embedded(path: Path) -> Embedded:
    """The first output, as rankings are."""
    return next(iter(load_embeddings(path).values()))


def _nonfinite(rows: Embedded) -> int:
    return int((~np.isfinite(rows)).sum())


def _reference(folder: Folder, tower: Tower) -> ManifestReference:
    return next(one for one in folder.manifest.references if one.tower == tower)


def _row(file: Ran) -> str:
    return file.entry.step_id.partition("/")[2]
