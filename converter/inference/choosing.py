"""Which file is meant: an artifact, a model's folder, or a row inside it, found through the manifest beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.errors import MissingDependencyError, ParityError, UsageError, nearest
from converter.files import hash_path, inside
from converter.inference import RuntimeOf, Say
from converter.manifest import Manifest, ManifestEntry
from converter.publishing.manifest import read_manifest
from converter.records import Tower

MANIFEST = "manifest.json"
FORMAT_ORDER = ("onnx", "torchscript", "tflite")
"""Which runtime a folder's files are taken for, the quickest on a CPU first; formats that are not here come last."""
EVERY = "all"
"""In place of a row: every one."""
LEVELS_ABOVE = 3
"""How far above an artifact its manifest is looked for."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Files of one model to use, at most one for a tower. `row` is what they are called: "onnx/fp32"."""

    folder: Path
    manifest: Manifest
    row: str
    entries: tuple[ManifestEntry, ...]

    @property
    def name(self) -> str:
        """What tables call it: "mobileclip_s1/onnx/fp32"."""
        return f"{self.manifest.model.id}/{self.row}"


def choose(named: str, towers: Sequence[Tower], runtime_of: RuntimeOf, say: Say) -> Choice:
    """The files that `named` means: an artifact's path, a model's folder, or `FOLDER:ROW`.

    A row is `onnx/fp16`, a target (`onnx`) or what follows it (`fp16`). Of several, and of a whole folder, the first is
    taken: PASSED and able to run here, float32, by `FORMAT_ORDER`, any batch before batch 1. A tower that the row
    lacks comes from another row of the same manifest, and `say` is told.

    Raises:
        UsageError: there is no such file or row, or no file of a tower in `towers`.
        MissingDependencyError: what a named file needs is not installed.
        ParityError: a file is not the one that was proven.
    """
    folder, select, file = _located(named)
    manifest = read_manifest(folder)
    if file is not None:
        first = _entry_of(folder, manifest, file)
    else:
        first = _best(_selected(manifest, select, named), towers, runtime_of, named)
    runtime_of(first.format)  # refuses a file that was named and has no runtime here
    entries = [first, *_partners(manifest, first, towers, runtime_of, say, named)]
    used = tuple(entry for entry in entries if entry.tower in towers)
    for entry in used:
        _warn_of_failure(entry, say)
        _require_unchanged(folder, entry)
    return Choice(folder=folder, manifest=manifest, row=row_of(first), entries=used)


def every_row(named: str, runtime_of: RuntimeOf) -> list[str]:
    """`FOLDER:all` as one `FOLDER:ROW` for each row whose image file PASSED and can run here; else what was named.

    Raises:
        UsageError: no row can.
    """
    folder, colon, select = named.rpartition(":")
    if not colon or select != EVERY or not (Path(folder).expanduser() / MANIFEST).is_file():
        return [named]
    manifest = read_manifest(Path(folder).expanduser())
    usable = [one for one in manifest.artifacts if one.tower == "image" and one.status == "PASSED"]
    rows = dict.fromkeys(row_of(one) for one in usable if not _why_not(one, runtime_of))
    if not rows:
        message = f"--with {named}: no image file there PASSED its proof and can be used here"
        raise UsageError(message)
    return [f"{folder}:{row}" for row in rows]


def row_of(entry: ManifestEntry) -> str:
    """What follows the tower in a step's id: "onnx/fp32" of "image/onnx/fp32"."""
    return entry.step_id.partition("/")[2]


def _located(named: str) -> tuple[Path, str, Path | None]:
    """(folder of the manifest, row asked for, artifact asked for)."""
    path = Path(named).expanduser()
    if path.name == MANIFEST and path.is_file():
        return path.parent, "", None
    if (path / MANIFEST).is_file():
        return path, "", None
    if path.exists():
        return _manifest_above(path), "", path
    head, colon, select = named.rpartition(":")
    if colon and (Path(head).expanduser() / MANIFEST).is_file():
        return Path(head).expanduser(), select, None
    message = (
        f"--with {named}: nothing is there; expected an exported file, a model's folder (artifacts/mobileclip_s1), or "
        "FOLDER:ROW (artifacts/mobileclip_s1:onnx/fp16)"
    )
    raise UsageError(message)


def _manifest_above(path: Path) -> Path:
    for folder in list(path.absolute().parents)[:LEVELS_ABOVE]:
        if (folder / MANIFEST).is_file():
            return folder
    message = (
        f"--with {path}: there is no {MANIFEST} above it, which says how images and texts become its input; use the "
        "file where the export put it (artifacts/MODEL/...)"
    )
    raise UsageError(message)


def _entry_of(folder: Path, manifest: Manifest, file: Path) -> ManifestEntry:
    wanted = file.resolve()
    for entry in manifest.artifacts:
        if inside(folder, entry.path) == wanted:
            return entry
    listed = nearest(file.name, [Path(entry.path).name for entry in manifest.artifacts])
    message = f"--with {file}: {folder / MANIFEST} does not list it; {listed}"
    raise UsageError(message)


def _selected(manifest: Manifest, select: str, named: str) -> list[ManifestEntry]:
    found = [
        entry
        for entry in manifest.artifacts
        if select in ("", row_of(entry), entry.target, row_of(entry).partition("/")[2], entry.step_id)
    ]
    if found:
        return found
    message = f"--with {named}: no such row; {nearest(select, {row_of(entry) for entry in manifest.artifacts})}"
    raise UsageError(message)


def _best(
    entries: Iterable[ManifestEntry], towers: Sequence[Tower], runtime_of: RuntimeOf, where: str
) -> ManifestEntry:
    """The first by the order that `choose` states; a row that has every tower goes before one that has not."""
    candidates = list(entries)
    rows = [(row_of(entry), entry.tower) for entry in candidates]

    def order(entry: ManifestEntry) -> tuple[bool, bool, bool, int, bool, str]:
        place = FORMAT_ORDER.index(entry.format) if entry.format in FORMAT_ORDER else len(FORMAT_ORDER)
        lacking = any((row_of(entry), tower) not in rows for tower in towers)
        return (entry.tower not in towers, entry.precision != "fp32", lacking, place, _is_static(entry), entry.step_id)

    passed = [entry for entry in candidates if entry.status == "PASSED"]
    usable = sorted((entry for entry in passed if not _why_not(entry, runtime_of)), key=order)
    if usable and usable[0].tower in towers:
        return usable[0]
    reasons = {f"{entry.step_id}: {_why_not(entry, runtime_of) or 'another tower'}" for entry in passed}
    seen = "; ".join(sorted(reasons)) or "none PASSED its proof"
    message = f"--with {where}: no file of the {' or '.join(towers)} tower can be used here ({seen})"
    raise UsageError(message)


def _is_static(entry: ManifestEntry) -> bool:
    return all(isinstance(spec.shape[0], int) for spec in entry.inputs)


def _why_not(entry: ManifestEntry, runtime_of: RuntimeOf) -> str:
    """Why its format has no runtime here; empty where it has one."""
    try:
        runtime_of(entry.format)
    except (MissingDependencyError, UsageError) as error:
        return str(error)
    return ""


def _partners(
    manifest: Manifest, first: ManifestEntry, towers: Sequence[Tower], runtime_of: RuntimeOf, say: Say, named: str
) -> list[ManifestEntry]:
    """For every other tower that is needed: the same row, else the best other one."""
    found = []
    for tower in towers:
        if tower == first.tower:
            continue
        others = [entry for entry in manifest.artifacts if entry.tower == tower]
        same = [entry for entry in others if row_of(entry) == row_of(first)]
        if not others:
            message = (
                f"--with {named}: {manifest.model.id} has no {tower} tower there, and this needs one; export it: "
                f"mcconvert --model {manifest.model.id} --tower {tower} --target {first.target}"
            )
            raise UsageError(message)
        partner = same[0] if same else _best(others, [tower], runtime_of, named)
        if not same:
            say(f"{row_of(first)} has no {tower} tower: {partner.path} of the same model is used with it")
        found.append(partner)
    return found


def _warn_of_failure(entry: ManifestEntry, say: Say) -> None:
    if entry.status != "PASSED":
        why = f": {entry.failures[0]}" if entry.failures else ""
        say(f"{entry.path} {entry.status} its proof{why}")


def _require_unchanged(folder: Path, entry: ManifestEntry) -> None:
    path = folder / entry.path
    if inside(folder, entry.path) is None:
        message = f"{entry.path} lies outside {folder}; a manifest may name only what is beside it"
        raise ParityError(message)
    if not path.exists():
        message = f"{path} is missing; export it again, or choose another file"
        raise UsageError(message)
    sha256, _ = hash_path(path)
    if sha256 != entry.sha256:
        message = (
            f"{path} is not the file that was proven: sha256 {sha256[:12]}..., the manifest says "
            f"{entry.sha256[:12]}...; export it again, or copy it again whole"
        )
        raise ParityError(message)
