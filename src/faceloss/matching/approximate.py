"""Neighbors through an approximate index of faiss (extra ``faiss``): sooner in very large galleries, and not all found.

    ivf    the gallery is cut into 4 sqrt(N) cells around k-means centers; a probe looks into the 16 nearest cells
    hnsw   a graph of 32 links a vector (Malkov and Yashunin, 2018), built with 200 candidates, searched with 128

Scores are those of ``exact``; only which vectors are looked at is approximate. What an index misses depends on the
vectors, so it is measured on them (:func:`faceloss.evaluate.index.judge_index`), never assumed. No threshold at a
small FAR may rest on such an index: those need the largest of all scores.
"""

import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from faceloss.errors import BadInput, unknown
from faceloss.matching.exact import pair_scores
from faceloss.matching.nearest import Nearest
from faceloss.matching.vectors import unit

Progress = Callable[[str, int, int], None]

KINDS = ("ivf", "hnsw")
CELLS, PROBED = 4, 16  # of ivf: cells per root of N, and cells that a probe looks into
LINKS, BUILT, SEARCHED = 32, 200, 128  # of hnsw
ROWS = 4096  # vectors that are added or searched at a time


class Approximate(NamedTuple):
    nearest: Nearest
    settings: str  # of the index
    build_seconds: float
    search_seconds: float


def approximate(
    probes: ArrayLike, others: ArrayLike, k: int = 1, *, index: str = "hnsw", progress: Progress | None = None
) -> Approximate:
    """About the ``k`` largest scores of each probe [P,D] with ``others`` [G,D], and where they are; by one thread, so
    that the same vectors give the same index.

    Raises:
        BadInput: no such index, or faiss is not installed.
    """
    if index not in KINDS:
        raise BadInput(unknown("index", index, KINDS))
    if importlib.util.find_spec("faiss") is None:
        raise BadInput("An approximate index needs faiss; install it: pip install 'faceloss[faiss]'.")
    import faiss

    x, y = unit(probes, "probes"), unit(others, "gallery vectors")
    if x.shape[1] != y.shape[1]:
        raise BadInput(f"The probes have {x.shape[1]} dimensions, the gallery {y.shape[1]}; use one network for both.")
    faiss.omp_set_num_threads(1)
    started = time.perf_counter()
    made, settings = _ivf(faiss, y.numpy()) if index == "ivf" else _hnsw(faiss, y.shape[1])
    for start in range(0, len(y), ROWS):
        made.add(y[start : start + ROWS].numpy())
        if progress is not None:
            progress(f"building the {index} index", min(start + ROWS, len(y)), len(y))
    built = time.perf_counter()
    rows = np.empty((len(x), k), dtype=np.int64)
    for start in range(0, len(x), ROWS):
        rows[start : start + ROWS] = made.search(x[start : start + ROWS].numpy(), k)[1]
        if progress is not None:
            progress(f"searching the {index} index", min(start + ROWS, len(x)), len(x))
    ended = time.perf_counter()
    return Approximate(_scored(x, y, rows), settings, built - started, ended - built)


def _ivf(faiss: Any, vectors: Any) -> tuple[Any, str]:
    cells = max(1, min(round(CELLS * math.sqrt(len(vectors))), len(vectors) // 39))  # k-means wants 39 vectors each
    coarse = faiss.IndexFlatIP(vectors.shape[1])
    made = faiss.IndexIVFFlat(coarse, vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    made.train(vectors)
    made.nprobe = min(PROBED, cells)
    return made, f"{cells:,} cells, {made.nprobe} of them looked into"


def _hnsw(faiss: Any, dim: int) -> tuple[Any, str]:
    made = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
    made.hnsw.efConstruction, made.hnsw.efSearch = BUILT, SEARCHED
    return made, f"{LINKS} links, {BUILT} candidates building, {SEARCHED} searching"


def _scored(x: torch.Tensor, y: torch.Tensor, rows: Any) -> Nearest:
    """Exact scores of the found pairs, falling; among equals the first row first; -1 and -inf where none was found."""
    found = torch.from_numpy(rows.clip(min=0))
    each = torch.arange(len(x)).repeat_interleave(rows.shape[1])
    scores = pair_scores(x, each, y, found.ravel()).view(rows.shape).numpy()
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)
    return Nearest(np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1))
