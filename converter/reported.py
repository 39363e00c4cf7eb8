"""The frozen records of `mcconvert report`: all that is said of one exported model, gathered before anything is drawn.

Beside `converter.records`, whose rules hold here too. Gathering is left to `session_report`, running files to
`pipeline.reporting`, drawing to `report.html` and `report.markdown_report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from converter.agreement import Agreement
from converter.benchmarked import BenchMachine
from converter.build import Material
from converter.manifest import ManifestEntry, ManifestModel, MissingFile, Waiver
from converter.records import Precision, Tower

SCHEMA_VERSION = 1
PROVING = "while it was proven"
"""The machine of latencies that come from the manifest alone: taken while files were judged, beside other work."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Code that opens one file and runs it; `language` as Markdown names it, `title` says language and library."""

    title: str
    language: str
    code: str


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one call with one input, the median, on one of `Reported.machines`."""

    machine: str
    median_ms: float
    p95_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReportedFile:
    """One file: its entry in the manifest, its time on each machine, and how it is opened.

    `changed` says why it is not the file that was judged; empty where it is, or nobody looked (`Reported.hashed`).
    """

    entry: ManifestEntry
    latencies: tuple[Latency, ...] = ()
    lines: Lines | None = None
    changed: str = ""

    @property
    def verdict(self) -> str:
        """What the manifest says, unless the bytes are others now."""
        return "CHANGED" if self.changed else self.entry.status


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where latencies were measured; `facts` and `created` are None and empty for `PROVING`."""

    name: str
    created: str = ""
    threads: int | None = None
    facts: BenchMachine | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """One layer on the way through a file: SQNR in dB against PyTorch there, and of the layer by itself."""

    module: str
    sqnr_db: float
    own_db: float | None


@dataclass(frozen=True, kw_only=True)
class Depth:
    """SQNR along the depth of one file, in the order of computation; as `mcconvert explain` finds it on `samples`.

    `first_below` is the module where it first falls below `bound_db`, `suspect` the module at fault; empty for none.
    """

    step_id: str
    tower: Tower
    target: str
    precision: Precision
    samples: int
    bound_db: float
    end_db: float | None
    places: tuple[Place, ...]
    first_below: str = ""
    suspect: str = ""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One result of a query. `in_reference` is its place among the reference's own, from 1; 0 where it is not there."""

    sample: int
    name: str
    in_reference: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The best results, the best first, that all these sides give for one query."""

    sides: tuple[str, ...]
    shown: tuple[Shown, ...]

    @property
    def agrees(self) -> bool:
        """Whether these are the reference's own results, in its order."""
        return all(one.in_reference == place for place, one in enumerate(self.shown, 1))


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One query and what each side finds for it; the first answer is the reference's."""

    tower: Tower
    sample: int
    name: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A part that is not in the report: what is missing, why, and the command that adds it."""

    part: str
    why: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file beside the manifest that tells of the others."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Which run made the files, from what; times in UTC."""

    invocation: str
    started: str
    finished: str
    tools: Mapping[str, str]
    materials: tuple[Material, ...]


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Everything. `folder` is the name of the model's folder; `hashed` whether every file's bytes were looked at.

    `pictures` are JPEG files in base64, by the number of their sample of the image tower. `digest` tells this report
    from one of other inputs, `quick` whether parts that take long were left out where nobody had made them yet.
    """

    schema_version: int
    created_by: str
    folder: str
    digest: str
    quick: bool
    hashed: bool
    model: ManifestModel
    files: tuple[ReportedFile, ...]
    missing: tuple[MissingFile, ...]
    waivers: tuple[Waiver, ...]
    machines: tuple[Machine, ...]
    agreement: Agreement | None
    depths: tuple[Depth, ...]
    strips: tuple[Strip, ...]
    gaps: tuple[Gap, ...]
    documents: tuple[Document, ...]
    origin: Origin | None
    environment: Mapping[str, str]
    pictures: Mapping[int, str] = field(default_factory=dict)
