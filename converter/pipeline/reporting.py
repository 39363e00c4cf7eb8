"""What a report needs of files that run: their embeddings of the stored samples, and SQNR along their depth.

Both are kept in `<cache>/report`, by the content that they were made from, so that a second report runs nothing. With
`quick` only what is kept already is taken. Running is left to `pipeline.verify` and `pipeline.explain`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from converter import __version__
from converter.agreement import Agreement
from converter.errors import McconvertError
from converter.explained import Explanation, Order
from converter.files import write_atomically
from converter.manifest import Manifest, ManifestEntry, ManifestReference
from converter.parity.strips import strips
from converter.parity.suspicion import bound_of
from converter.pipeline.cache import REPORT, key_of
from converter.pipeline.explain import choose, explain
from converter.pipeline.matrix import Folder, Ran, agreement_of, entrants_of
from converter.pipeline.prove import TOP_K
from converter.pipeline.verify import VerifySettings, kept, result_of, verify
from converter.records import TOWERS, StageResult, Tower, from_json, to_json
from converter.reported import Depth, Place, Strip

STRIPS: Mapping[Tower, int] = {"image": 6, "text": 3}
"""Queries shown of each tower."""
Said = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """`cache` is the root of the store of finished steps; `samples` how many inputs the drill-down takes a file."""

    cache: Path
    quick: bool = False
    jobs: int = 1
    threads: int = 2
    samples: int = 2
    said: Said = lambda _line: None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """`agreement` is None where not one file has embeddings; `absent` are the step ids of files without."""

    agreement: Agreement | None
    strips: tuple[Strip, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Depths:
    """`absent` are the step ids of files that nobody looked into yet, `failed` says why others cannot be."""

    depths: tuple[Depth, ...]
    absent: tuple[str, ...]
    failed: Mapping[str, str]


def keep_embeddings(cache: Path, manifest: Manifest, made: Mapping[str, Path]) -> None:
    """Store what files gave when they were proven, by step id: only where it is of the very file that is listed."""
    for entry in manifest.artifacts:
        source, place = made.get(entry.step_id), _embeddings(cache, manifest, entry)
        if source is not None and place is not None and source.is_file() and not place.exists():
            write_atomically(place, source.read_bytes())


def compare(folder: Path, manifest: Manifest, settings: ReportSettings) -> Compared:
    """The agreement of all files, and what they find for a few queries; runs the files that nobody ran yet.

    Raises:
        McconvertError: what is kept is not whole, or the reference's files are not.
    """
    if not settings.quick:
        _run(folder, manifest, settings)
    place = settings.cache / REPORT / f"{_compared_key(manifest, settings.cache)}.json"
    known = _read(place, Compared)
    if known is None:
        known = _compared(folder, manifest, settings.cache)
        write_atomically(place, to_json(known))
    return known


def _compared(folder: Path, manifest: Manifest, cache: Path) -> Compared:
    one = Folder(path=folder, manifest=manifest)
    ran = [
        Ran(folder=one, label=folder.name, entry=entry, embeddings=place,
            result=dataclasses.replace(_as_judged(entry), vs_reference=entry.parity))
        for entry in manifest.artifacts
        if (place := _embeddings(cache, manifest, entry)) is not None and place.is_file()
    ]  # fmt: skip
    present = {file.entry.step_id for file in ran}
    return Compared(
        agreement=_unplaced(agreement_of(ran, manifest.model), folder.name) if ran else None,
        strips=tuple(strip for tower in TOWERS for strip in _strips(tower, ran)),
        absent=tuple(entry.step_id for entry in manifest.artifacts if entry.step_id not in present),
    )


def measure_depths(folder: Path, manifest: Manifest, settings: ReportSettings) -> Depths:
    """SQNR along the depth of every file; looks into the files that nobody looked into yet, `jobs` side by side."""
    found: dict[str, Depth] = {}
    failed: dict[str, str] = {}

    def look(entry: ManifestEntry) -> None:
        place = _depth(settings.cache, manifest, entry, settings.samples)
        known = _read(place, Depth)
        if known is None and not settings.quick and place is not None:
            settings.said(f"looking into {entry.step_id}")
            try:
                known = _depth_of(_explained(folder, manifest, entry, settings))
            except (McconvertError, LookupError) as error:
                failed[entry.step_id] = str(error).partition("\n")[0] or type(error).__name__
                return
            write_atomically(place, to_json(known))
        if known is not None:
            found[entry.step_id] = known

    with ThreadPoolExecutor(max_workers=settings.jobs) as pool:
        list(pool.map(look, manifest.artifacts))
    order = [entry.step_id for entry in manifest.artifacts]
    return Depths(
        depths=tuple(found[one] for one in order if one in found), failed=failed,
        absent=tuple(one for one in order if one not in found and one not in failed),
    )  # fmt: skip


def _unplaced(agreement: Agreement, name: str) -> Agreement:
    """Without the path of this machine's folder, for reports travel."""
    towers = tuple(
        dataclasses.replace(one, sides=tuple(dataclasses.replace(side, folder=name) for side in one.sides))
        for one in agreement.towers
    )
    return dataclasses.replace(agreement, towers=towers)


def _run(folder: Path, manifest: Manifest, settings: ReportSettings) -> None:
    """Verify the files whose embeddings are not kept, and keep them. A file that fails to run stays without."""
    places = {entry.step_id: _embeddings(settings.cache, manifest, entry) for entry in manifest.artifacts}
    missing = [one for one in manifest.artifacts if (place := places[one.step_id]) is None or not place.is_file()]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="mcconvert-report-") as scratch:
        wanted = VerifySettings(
            jobs=settings.jobs, threads=settings.threads, keep=Path(scratch),
            finished=lambda result: settings.said(f"ran {result.step_id}: {result.status}"),
        )  # fmt: skip
        verify(folder, dataclasses.replace(manifest, artifacts=tuple(missing)), wanted)
        keep_embeddings(settings.cache, manifest, {one.step_id: kept(Path(scratch), one.step_id) for one in missing})


def _strips(tower: Tower, ran: Sequence[Ran]) -> tuple[Strip, ...]:
    found = entrants_of(tower, [one for one in ran if one.entry.tower == tower])
    if found is None:
        return ()
    return strips(tower, found.rows, found.names, TOP_K, STRIPS[tower])


def _as_judged(entry: ManifestEntry) -> StageResult:
    return result_of(entry, entry.status, entry.failures, 0)


def _explained(folder: Path, manifest: Manifest, entry: ManifestEntry, settings: ReportSettings) -> Explanation:
    bound_db, why = bound_of(entry.tolerances, entry.precision)
    chosen = choose(folder / entry.path, folder, manifest, entry.tower)
    order = Order(samples=settings.samples, bound_db=bound_db, bound_why=why)
    return explain(chosen, order, lambda _line: None, settings.threads)


def _depth_of(found: Explanation) -> Depth:
    """The last value of each module: what comes before it, inside the module, is for `mcconvert explain`."""
    named = {"first_below": found.first_below, "suspect": found.suspect}
    return Depth(
        step_id=found.entry, tower=found.tower, target=found.entry.split("/")[1], precision=found.precision,
        samples=len(found.samples), bound_db=found.bound_db, end_db=found.end_db,
        places=tuple(
            Place(module=one.module or one.name, sqnr_db=one.sqnr_db, own_db=one.own_db)
            for one in found.layers if one.ends_module
        ),
        **{name: "" if at is None else found.layers[at].module or found.layers[at].name for name, at in named.items()},
    )  # fmt: skip


def _read[T](place: Path | None, kind: type[T]) -> T | None:
    try:
        return from_json(place.read_bytes(), kind) if place else None
    except (OSError, msgspec.DecodeError):
        return None


def _embeddings(cache: Path, manifest: Manifest, entry: ManifestEntry) -> Path | None:
    """Where embeddings are kept; None for a file whose tower has no reference."""
    key = _key("embeddings", manifest, entry)
    return cache / REPORT / f"{key}.npz" if key else None


def _compared_key(manifest: Manifest, cache: Path) -> str:
    """Named after everything that is compared, with the verdicts that are told beside it."""
    facts = {"what": "compared", "source": _source(), "version": __version__, "model": manifest.model.id}
    for entry in manifest.artifacts:
        place = _embeddings(cache, manifest, entry)
        facts[entry.step_id] = f"{entry.status} {entry.tie_margin}" + (
            f" {place.name}" if place is not None and place.is_file() else ""
        )
    for one in manifest.references:
        facts[f"{one.tower} reference"] = f"{one.embeddings.sha256} {one.samples.sha256}"
    return key_of(facts)


def _depth(cache: Path, manifest: Manifest, entry: ManifestEntry, samples: int) -> Path | None:
    bound_db, _ = bound_of(entry.tolerances, entry.precision)
    key = _key(f"depth of {samples} samples, bound {bound_db:.6f}, {_source()}", manifest, entry)
    return cache / REPORT / f"{key}.json" if key else None


def _key(what: str, manifest: Manifest, entry: ManifestEntry) -> str:
    """Named after all that it was made from: the file, the samples, the reference, the version."""
    reference = next((one for one in manifest.references if one.tower == entry.tower), None)
    return key_of(dict(_facts(what, entry, reference))) if reference else ""


def _facts(what: str, entry: ManifestEntry, reference: ManifestReference) -> Iterator[tuple[str, str]]:
    yield from (("what", what), ("step", entry.step_id), ("file", entry.sha256), ("version", __version__))
    yield from (("samples", reference.samples.sha256), ("module", reference.module.sha256))


def _source() -> str:
    """Of what finds the layers: a change there looks again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].glob("parity/*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
