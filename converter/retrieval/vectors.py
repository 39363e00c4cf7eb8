"""faiss: every vector of one index, searched exactly.

`IndexFlatIP` compares with all of them. An approximate index would add differences of its own to those between
formats, which are what is looked for; 10,000 vectors of 512 floats are 20 MB and take a millisecond.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converter.errors import MissingDependencyError
from converter.files import write_atomically
from converter.inference import Say
from converter.retrieval.ledger import Ledger

NAME = "vectors.faiss"
MISSING = "image search needs faiss: pip install 'mcconvert[search]'"


class Vectors:
    """The vectors of one index, ready to be asked."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def best(self, query: npt.NDArray[np.float32], count: int) -> list[tuple[int, float]]:
        """(id, inner product) of the nearest, the best first; fewer where there are fewer."""
        scores, ids = self._index.search(query[None], min(count, len(self)))
        return [(int(one), float(score)) for one, score in zip(ids[0], scores[0], strict=True)]

    def score(self, query: npt.NDArray[np.float32], one: int) -> float:
        """The inner product of the query and the vector of that id."""
        return float(self._index.reconstruct(one) @ query)


def open_vectors(folder: Path, ledger: Ledger, dimensions: int, say: Say, threads: int = 1) -> Vectors:
    """The faiss file if it is what the ledger's vectors of today gave, else built from them and written.

    Its bytes are hashed before faiss sees them, and those very bytes are read.

    Raises:
        MissingDependencyError: faiss is not installed.
    """
    faiss = import_faiss()
    faiss.omp_set_num_threads(threads)  # torch and ONNX Runtime have pools of their own
    generation = f"{ledger.fact('generation')}/{dimensions}"
    path = folder / NAME
    if ledger.fact("faiss_generation") == generation:
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() == ledger.fact("faiss_sha256"):
            return Vectors(faiss.deserialize_index(np.frombuffer(data, np.uint8)))
        say(f"{path} is {'damaged' if data else 'missing'}: built anew from the ledger's vectors")
    return Vectors(_build(faiss, path, ledger, dimensions, generation))


def import_faiss() -> Any:
    """The library.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(MISSING) from error
    return faiss


def _build(faiss: Any, path: Path, ledger: Ledger, dimensions: int, generation: str) -> Any:
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))
    ids, rows = ledger.vectors(dimensions)
    index.add_with_ids(rows, ids)
    data = faiss.serialize_index(index).tobytes()
    write_atomically(path, data)
    with ledger.together():
        ledger.set_fact("faiss_generation", generation)
        ledger.set_fact("faiss_sha256", hashlib.sha256(data).hexdigest())
    return index
