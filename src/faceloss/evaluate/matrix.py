"""Verification over every pair of a labelled set: operating points, EER, AUC, DET, each with its influences.

The pairs themselves are gone through in ``passes``; here their counts become numbers.
"""

import numpy as np

from faceloss.evaluate.metrics import FAR_GRID, Floats, Ints, NotMeasurable, allowed_errors, measurable, placements
from faceloss.evaluate.passes import (
    BINS,
    DYADS,
    MARGIN,
    Progress,
    Scores,
    accepted_at_most,
    bins_of,
    crossing_bin,
    exact_eer,
    first_pass,
    labelled_set,
    second_pass,
    third_pass,
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


def matrix_dyads(codes: Ints, far: float, sizes: Ints, impostor: int, ways: int = 1) -> float:
    """sum_{a<b} (accepted_ab - far n_a n_b)^2 / I^2 from the codes of the accepted pairs; with two ``ways`` each pair
    is compared both ways, and I counts them both."""
    pair, count = np.unique(codes, return_counts=True)
    product = (ways * sizes[pair // sizes.size] * sizes[pair % sizes.size]).astype(np.float64)
    square = sizes.astype(np.float64) ** 2
    everywhere = ways**2 * (square.sum() ** 2 - np.sum(square**2)) / 2
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

    # The same with every mated identity counted once, however many images it has (not given where all have as many).
    mates = own.total > 0
    mated = int(np.count_nonzero(mates))
    weight = 1 / (mated * own.total[first.genuine_subject])  # of each genuine pair
    even_below = np.concatenate([[0], np.bincount(bins_of(g), weight, first.histogram.size).cumsum()])

    def even_at(far: float) -> float:
        return 1 - float(even_below[edge_at(far)])

    balanced = np.unique(own.total[mates]).size == 1
    points, even = [], []
    for far, threshold in zip(fars, exact, strict=True):
        tar, attained, genuine_part, impostor_part = parts(threshold)
        psi = genuine_part - slope(tar_at, attained) * impostor_part
        points.append(Point(far, tar, attained, threshold, psi))
        if balanced:
            continue
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
