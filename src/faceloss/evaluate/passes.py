"""Every pair of a labelled set, in tiles: never N x N scores in memory, exact where it counts.

Three passes over the upper triangle; the product of a tile is recomputed in each, which is cheaper than storing it:

    1  all genuine scores; a histogram of the impostor scores (2^18 bins of 7.6e-6)
    2  the impostor scores inside the few bins that hold a threshold, so that thresholds at a FAR and the EER are exact
    3  accepted pairs per subject at all thresholds, and the impostor placement values of the AUC

The scores are float32 cosines; the passes run the same products in the same order, so they see the same numbers. Up to
``KEPT`` impostor pairs AUC is exact; above, impostors inside one bin count as tied with the genuine scores of that
bin, and the bound of that error, half the share of (genuine, impostor) combinations that share a bin, is handed out.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.metrics import (
    Eer,
    Floats,
    Ints,
    eer_on,
)
from faceloss.evaluate.statistics import sums
from faceloss.evaluate.verification import (
    tally,
)

Progress = Callable[[str, int, int], None]
Scores = NDArray[np.float32]

BINS = 2**18
MARGIN = 4  # bins beyond -1 and 1, where rounding may put a cosine
ROWS, COLUMNS = 256, 4096  # 4 MiB of scores a tile
KEPT = 5_000_000  # impostor scores kept whole for an exact AUC
DYADS = 2_000_000  # accepted impostor pairs up to which the doubly counted share is taken back
GENUINE_LIMIT = 200_000_000


class Tile(NamedTuple):
    rows: slice
    columns: slice
    scores: Scores  # [r,c]
    impostor: NDArray[np.bool_] | None  # [r,c]; None: all of them
    genuine: NDArray[np.bool_] | None  # [r,c]; None: none


class LabelledSet(NamedTuple):
    """Unit embeddings sorted by identity."""

    embeddings: Scores  # [N,D]
    subject: Ints  # [N] rising
    end: Ints  # [N] first index of the next identity
    subjects: int
    genuine: int
    impostor: int


def labelled_set(embeddings: Scores, subject: Ints, subjects: int) -> LabelledSet:
    order = np.argsort(subject, kind="stable")
    e, s = np.ascontiguousarray(embeddings[order]), subject[order]
    sizes = np.bincount(s, minlength=subjects)
    n, genuine = len(s), int(np.sum(sizes * (sizes - 1) // 2))
    if genuine > GENUINE_LIMIT:
        raise BadInput(
            f"The set holds {genuine:,} genuine pairs, at most {GENUINE_LIMIT:,} fit; judge fewer images per identity."
        )
    return LabelledSet(e, s, np.searchsorted(s, s, "right"), subjects, genuine, n * (n - 1) // 2 - genuine)


def tiles(faces: LabelledSet, what: str, progress: Progress | None) -> Iterator[Tile]:
    """Tiles that cover every unordered pair of two images once."""
    n = len(faces.subject)
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        rows, end = np.arange(start, stop)[:, None], faces.end[start:stop, None]
        for left in range(start, n, COLUMNS):
            right = min(left + COLUMNS, n)
            scores = faces.embeddings[start:stop] @ faces.embeddings[left:right].T
            if left >= faces.end[stop - 1]:
                yield Tile(slice(start, stop), slice(left, right), scores, None, None)
            else:
                columns = np.arange(left, right)[None, :]
                yield Tile(
                    slice(start, stop),
                    slice(left, right),
                    scores,
                    columns >= end,
                    (columns > rows) & (columns < end),
                )
        if progress is not None:
            progress(what, stop, n)


def bins_of(scores: Scores) -> NDArray[np.intp]:
    """Bin of each cosine; rising with the score (float32 rounding is monotone), -1 - 3e-5 .. 1 + 3e-5 fit."""
    return (scores * np.float32(BINS / 2) + np.float32(BINS / 2 + MARGIN)).astype(np.intp)


class Passes(NamedTuple):
    """What the first pass leaves."""

    genuine: Scores  # [G] sorted
    genuine_subject: Ints  # [G]
    histogram: Ints  # [B] impostor scores
    above: Ints  # [B+1] impostor scores in this bin or higher
    genuine_below: Ints  # [B+1] genuine scores in lower bins
    kept: Scores | None  # all impostor scores, where few


def first_pass(faces: LabelledSet, progress: Progress | None) -> Passes:
    size = BINS + 2 * MARGIN
    counts = np.zeros(size, dtype=np.int64)
    genuine, subjects, kept = [], [], []
    for tile in tiles(faces, "scores", progress):
        if tile.genuine is not None:
            row, column = np.nonzero(tile.genuine)
            genuine.append(tile.scores[row, column])
            subjects.append(faces.subject[tile.rows][row])
        scores = tile.scores.ravel() if tile.impostor is None else tile.scores[tile.impostor]
        counts += np.bincount(bins_of(scores), minlength=size)
        if faces.impostor <= KEPT:
            kept.append(scores)
    g, s = np.concatenate(genuine), np.concatenate(subjects)
    order = np.argsort(g, kind="stable")
    g, s = g[order], s[order]
    above = np.append(counts[::-1].cumsum()[::-1], 0)
    below = np.append(0, np.bincount(bins_of(g), minlength=size).cumsum())
    return Passes(g, s, counts, above, below, np.concatenate(kept) if kept else None)


def second_pass(faces: LabelledSet, wanted: set[int], progress: Progress | None) -> dict[int, Scores]:
    """The impostor scores, sorted, inside each wanted bin."""
    flags = np.zeros(BINS + 2 * MARGIN, dtype=bool)
    flags[list(wanted)] = True
    found = []
    for tile in tiles(faces, "thresholds", progress):
        hit = flags[bins_of(tile.scores)]
        if tile.impostor is not None:
            hit &= tile.impostor
        found.append(tile.scores[hit])
    scores = np.sort(np.concatenate(found))
    place = bins_of(scores)
    return {b: scores[np.searchsorted(place, b, "left") : np.searchsorted(place, b, "right")] for b in wanted}


def crossing_bin(first: Passes, faces: LabelledSet) -> int:
    """The bin whose scores hold the EER: FNMR < FMR below it, FNMR >= FMR above it."""
    gap = first.genuine_below / faces.genuine - first.above / faces.impostor
    return int(np.argmax(gap >= 0)) - 1


def exact_eer(first: Passes, faces: LabelledSet, place: int, impostor: Scores) -> Eer:
    """EER from all scores inside the crossing bin, and the point just beyond them."""
    g = first.genuine[first.genuine_below[place] : first.genuine_below[place + 1]]
    levels = np.unique(np.concatenate([g, impostor]))
    fmr = first.above[place + 1] + impostor.size - np.searchsorted(impostor, levels, "left")
    fnmr = first.genuine_below[place] + np.searchsorted(g, levels, "left")
    beyond = np.nextafter(levels[-1], np.float32(np.inf))
    return eer_on(
        np.append(fmr, first.above[place + 1]) / faces.impostor,
        np.append(fnmr, first.genuine_below[place + 1]) / faces.genuine,
        np.append(levels, beyond).astype(np.float64),
    )


class Tally(NamedTuple):
    """What the third pass leaves."""

    accepted: Ints  # [S,T] impostor pairs per subject
    placement: Floats  # [S] sum of P(genuine > score) over the subject's impostor pairs
    dyads: Ints  # [K] code a * S + b of accepted pairs at the thresholds that are scarce
    level: Ints  # [K] how many thresholds lie at or below the pair's score


def third_pass(
    faces: LabelledSet, thresholds: Floats, scarce: float, ahead: NDArray[np.float32], progress: Progress | None
) -> Tally:
    """``ahead`` [bins] is P(genuine > score), a tie one half; pairs at or above ``scarce`` are remembered one by
    one."""
    subjects, n = faces.subjects, len(faces.subject)
    accepted = np.zeros((subjects, thresholds.size), dtype=np.int64)
    placement = np.zeros(n, dtype=np.float64)
    codes, levels = [], []
    for tile in tiles(faces, "subjects", progress):
        value = ahead[bins_of(tile.scores)]  # [r,c]
        hit = tile.scores >= np.float32(thresholds[0]) if thresholds.size else np.zeros(tile.scores.shape, dtype=bool)
        if tile.impostor is not None:
            value *= tile.impostor
            hit &= tile.impostor
        placement[tile.rows] += value.sum(axis=1, dtype=np.float64)
        placement[tile.columns] += np.ones(len(value), dtype=np.float32) @ value
        flat = np.flatnonzero(hit)
        row, column = np.divmod(flat, tile.scores.shape[1])
        score = tile.scores.ravel()[flat].astype(np.float64)
        a, b = faces.subject[tile.rows][row], faces.subject[tile.columns][column]
        level = np.searchsorted(thresholds, score, "right")
        for ends, part in ((a, tile.rows), (b, tile.columns)):
            low, high = faces.subject[part.start], faces.subject[part.stop - 1] + 1
            accepted[low:high] += tally(ends - low, level, thresholds.size, high - low)
        rare = score >= scarce
        codes.append(a[rare] * subjects + b[rare])
        levels.append(level[rare])
    per_subject = sums(faces.subject, placement, subjects)
    return Tally(accepted, per_subject, np.concatenate(codes), np.concatenate(levels))


def accepted_at_most(first: Passes, threshold: float) -> int:
    """An upper bound of the impostor pairs accepted at a threshold: its whole bin counts."""
    return int(first.above[bins_of(np.array([threshold], dtype=np.float32))[0]])
