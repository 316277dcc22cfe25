"""Exact order statistics of more scores than fit into memory, and the best scores of probes against a gallery.

The scores come in blocks from a function that can be called again and gives the same blocks: once for a histogram of
2^18 bins, once for the scores inside the few bins that hold a wanted rank.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from faceloss.evaluate.cells import Progress, Unit
from faceloss.evaluate.metrics import Ints

BINS = 2**18
MARGIN = 4  # bins beyond -1 and 1, where rounding may put a cosine
ROWS, COLUMNS = 256, 8192  # 8 MiB of scores a block

Scores = NDArray[np.float32]
Blocks = Callable[[], Iterator[Scores]]


def bins(scores: Scores) -> NDArray[np.intp]:
    """Bin of each cosine, rising with the score."""
    return (scores * np.float32(BINS / 2) + np.float32(BINS / 2 + MARGIN)).astype(np.intp)


def largest(blocks: Blocks, ranks: Sequence[int]) -> list[float]:
    """The ``ranks``-th largest cosines (0 is the largest) of all blocks together, exactly as they came."""
    size = BINS + 2 * MARGIN
    counts = np.zeros(size, dtype=np.int64)
    for scores in blocks():
        counts += np.bincount(bins(scores), minlength=size)
    above = np.append(counts[::-1].cumsum()[::-1], 0)  # [B+1] scores in this bin or higher
    places = [int(np.searchsorted(-above, -rank, "left")) - 1 for rank in ranks]
    wanted = np.zeros(size, dtype=bool)
    wanted[places] = True
    kept = np.sort(np.concatenate([scores[wanted[bins(scores)]] for scores in blocks()]))
    place = bins(kept)
    found = []
    for rank, b in zip(ranks, places, strict=True):
        inside = kept[np.searchsorted(place, b, "left") : np.searchsorted(place, b, "right")]
        found.append(float(inside[inside.size - 1 - (rank - int(above[b + 1]))]))
    return found


def above(score: float) -> float:
    """The smallest float32 that keeps ``score`` out."""
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))


def best(
    probes: Unit, probe_code: Ints, gallery: Unit, gallery_code: Ints, ends: Sequence[int], progress: Progress | None
) -> tuple[Scores, Scores]:
    """Of each probe the best mate and the best other among the first ``ends[k]`` gallery rows: two arrays [P,K].

    A mate has the same code; -inf where there is none. ``ends`` rises.
    """
    mate = np.full((len(probes), len(ends)), -np.inf, dtype=np.float32)
    other = mate.copy()
    starts = [0, *ends[:-1]]
    for row in range(0, len(probes), ROWS):
        rows = slice(row, row + ROWS)
        code = probe_code[rows, None]
        for k, (begin, end) in enumerate(zip(starts, ends, strict=True)):
            for left in range(begin, end, COLUMNS):
                columns = slice(left, min(left + COLUMNS, end))
                scores = probes[rows] @ gallery[columns].T  # [r,c]
                own = code == gallery_code[columns]
                np.maximum(mate[rows, k], np.where(own, scores, -np.inf).max(axis=1), out=mate[rows, k])
                np.maximum(other[rows, k], np.where(own, -np.inf, scores).max(axis=1), out=other[rows, k])
        if progress is not None:
            progress("search", min(row + ROWS, len(probes)), len(probes))
    return np.maximum.accumulate(mate, axis=1), np.maximum.accumulate(other, axis=1)
