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
    FAR_GRID,
    Eer,
    Floats,
    Ints,
    NotMeasurable,
    allowed_errors,
    eer_on,
    measurable,
    placements,
)
from faceloss.evaluate.statistics import impostor_scale, sums
from faceloss.evaluate.verification import (
    SCORE_BINS,
    Counts,
    Point,
    Verification,
    det_bands,
    det_fars,
    histogram,
    residuals,
    slope,
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


def matrix_dyads(codes: Ints, far: float, sizes: Ints, impostor: int) -> float:
    """sum_{a<b} (accepted_ab - far n_a n_b)^2 / I^2 from the codes of the accepted pairs."""
    pair, count = np.unique(codes, return_counts=True)
    product = (sizes[pair // sizes.size] * sizes[pair % sizes.size]).astype(np.float64)
    square = sizes.astype(np.float64) ** 2
    everywhere = (square.sum() ** 2 - np.sum(square**2)) / 2
    return float(np.sum(count.astype(np.float64) ** 2 - 2 * far * count * product) + far**2 * everywhere) / impostor**2


def verify_matrix(embeddings: Scores, subject: Ints, subjects: int, progress: Progress | None = None) -> Verification:
    """All verification numbers over every pair of images.

    ``embeddings`` [N,D] float32 of unit length, ``subject`` [N] in 0..subjects-1. Raises NotMeasurable without a
    genuine or an impostor pair. 13,233 x 128 (87.5 million pairs): seconds on one core; memory: the embeddings, the
    genuine scores, the accepted impostor pairs up to 2 million, and 50 MiB.
    """
    faces = labelled_set(embeddings, subject, subjects)
    if not faces.genuine or not faces.impostor:
        raise NotMeasurable(
            f"{len(subject)} images of {np.unique(subject).size} identities hold {faces.genuine} genuine and "
            f"{faces.impostor} impostor pairs; at least one of each is needed."
        )
    sizes = np.bincount(faces.subject, minlength=subjects)
    first = first_pass(faces, progress)
    g = first.genuine

    def bin_at(rank: int) -> int:  # of the rank-th largest impostor score, rank from 0
        return int(np.searchsorted(-first.above, -rank, "left")) - 1

    def edge_at(far: float) -> int:  # the bin edge from which on scores are accepted
        allowed = allowed_errors(far, faces.impostor)
        return bin_at(allowed) + 1 if allowed < faces.impostor else 0

    def tar_at(far: float) -> float:  # to within a bin
        return 1 - float(first.genuine_below[edge_at(far)]) / g.size

    fars = [far for far in FAR_GRID if measurable(far, faces.impostor)]
    ranks = [allowed_errors(far, faces.impostor) for far in fars]
    cross = crossing_bin(first, faces)
    inside = second_pass(faces, {cross, *(bin_at(rank) for rank in ranks)}, progress)
    exact = []
    for rank in ranks:
        place = bin_at(rank)
        kept_out = inside[place][inside[place].size - 1 - (rank - int(first.above[place + 1]))]
        exact.append(float(np.nextafter(kept_out, np.float32(np.inf))))
    rate = exact_eer(first, faces, cross, inside[cross])

    # DET thresholds at bin edges; their attained FARs are counted exactly in the third pass.
    wanted = det_fars(faces.impostor, rate.value)
    edges = np.unique([bin_at(allowed_errors(far, faces.impostor)) + 1 for far in wanted]).astype(np.int64)
    det_thresholds = ((edges - MARGIN) / (BINS / 2) - 1).astype(np.float32).astype(np.float64)
    thresholds = np.unique(np.concatenate([exact, [rate.threshold], det_thresholds]))

    genuine_counts = np.diff(first.genuine_below)
    ahead = 1 - (first.genuine_below[:-1] + genuine_counts / 2) / g.size  # [bins] P(genuine > bin), ties one half
    scarce = min((float(t) for t in thresholds if accepted_at_most(first, t) <= DYADS), default=np.inf)
    last = third_pass(faces, thresholds, scarce, ahead.astype(np.float32), progress)

    own = Counts(
        tally(first.genuine_subject, np.searchsorted(thresholds, g, "right"), thresholds.size, subjects),
        sizes * (sizes - 1) // 2,
        g.size,
    )
    apart = Counts(last.accepted, sizes * (len(subject) - sizes), faces.impostor)

    def parts(threshold: float) -> tuple[float, float, Floats, Floats]:
        t = int(np.searchsorted(thresholds, threshold))
        tar, far = own.accepted[:, t].sum() / g.size, apart.accepted[:, t].sum() / 2 / faces.impostor
        psi = residuals(apart, t)
        if threshold >= scarce:
            psi = psi * impostor_scale(psi, matrix_dyads(last.dyads[last.level > t], far, sizes, faces.impostor))
        return float(tar), float(far), residuals(own, t), psi

    # The same with every mated identity counted once, however many images it has.
    mates = own.total > 0
    mated = int(np.count_nonzero(mates))
    weight = 1 / (mated * own.total[first.genuine_subject])  # of each genuine pair
    even_below = np.concatenate([[0], np.bincount(bins_of(g), weight, first.histogram.size).cumsum()])

    def even_at(far: float) -> float:
        return 1 - float(even_below[edge_at(far)])

    points, even = [], []
    for far, threshold in zip(fars, exact, strict=True):
        tar, attained, genuine_part, impostor_part = parts(threshold)
        psi = genuine_part - slope(tar_at, attained) * impostor_part
        points.append(Point(far, tar, attained, threshold, psi))
        share = own.accepted[:, int(np.searchsorted(thresholds, threshold))] / np.maximum(own.total, 1)  # [S]
        mean = float(share[mates].mean())
        psi = np.where(mates, share - mean, 0.0) / mated - slope(even_at, attained) * impostor_part
        even.append(Point(far, mean, attained, threshold, psi))

    _, _, genuine_part, impostor_part = parts(rate.threshold)
    steep = slope(tar_at, rate.value)
    equal = Point(None, rate.value, None, rate.threshold, (steep * impostor_part - genuine_part) / (1 + steep))

    bound = 0.0
    if first.kept is not None:
        placed = placements(g.astype(np.float64), first.kept.astype(np.float64))
    else:
        below = faces.impostor - first.above[1:] - first.histogram / 2  # [bins]
        placed = below[bins_of(g)] / faces.impostor
        bound = float(np.sum(genuine_counts * first.histogram) / (2 * g.size * faces.impostor))
    area = float(placed.mean())
    psi = sums(first.genuine_subject, (placed - area) / g.size, subjects)
    psi = psi + (last.placement - area * apart.total) / faces.impostor
    under = Point(None, area, None, None, psi)

    at = np.searchsorted(thresholds, det_thresholds)
    det = det_bands(
        apart.accepted[:, at].sum(axis=0) / 2 / faces.impostor,
        own.accepted[:, at].sum(axis=0) / g.size,
        Counts(own.accepted[:, at], own.total, own.pairs),
        Counts(apart.accepted[:, at], apart.total, apart.pairs),
        np.array([slope(tar_at, far) for far in apart.accepted[:, at].sum(axis=0) / 2 / faces.impostor]),
    )
    mids = np.clip((np.arange(first.histogram.size) - MARGIN + 0.5) / (BINS / 2) - 1, -1, 1)
    shown_edges = np.linspace(-1, 1, SCORE_BINS + 1)
    coarse = np.histogram(mids, shown_edges, weights=first.histogram.astype(np.float64))[0]
    shown = histogram(g, coarse, shown_edges)
    return Verification(
        g.size, faces.impostor, subjects, mated, tuple(points), tuple(even), equal, under, bound, det, shown
    )


def accepted_at_most(first: Passes, threshold: float) -> int:
    """An upper bound of the impostor pairs accepted at a threshold: its whole bin counts."""
    return int(first.above[bins_of(np.array([threshold], dtype=np.float32))[0]])
