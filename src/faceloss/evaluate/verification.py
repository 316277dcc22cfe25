"""Genuine against impostor, whole: operating points, EER, AUC, DET with bands, score histograms, each with its
influences.

``verify_pairs`` does it for a list of pairs; ``matrix.verify_matrix`` for all pairs of a set. Both fill the same
``Verification``.

Influence of subject s (indicator residuals summed over the pairs that touch s; G genuine, I impostor pairs, lambda
the slope dTAR/dFAR of the ROC = ratio of the two score densities at the threshold, from a finite difference between
FAR / 2 and 2 FAR):

    TAR at FAR f   1/G sum (1[g >= t] - TAR)  -  lambda / I sum (1[x >= t] - FAR)      the threshold is estimated, too
    EER            (-psi_TAR + lambda psi_FAR) / (1 + lambda)                          at the EER threshold
    TAR by identity at FAR f   (TAR_s - mean TAR) / mated identities  -  lambda / I sum (1[x >= t] - FAR)
    AUC            1/G sum (P(x < g) - AUC)  +  1/I sum (P(g > x) - AUC)               placement values, ties one half
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.evaluate.metrics import (
    EXPECTED_ERRORS,
    FAR_GRID,
    Floats,
    Ints,
    auc,
    eer,
    far_threshold,
    measurable,
    placements,
)
from faceloss.evaluate.statistics import dyad_squares, impostor_scale, pair_influence, small_sample, subject_wilson

DET_POINTS = 60
SCORE_BINS = 100
COUNTED = 2**24  # accepted pairs of that many subjects x thresholds are held at a time


class Point(NamedTuple):
    """A number with what its uncertainty needs. ``far`` is the nominal FAR, None for EER and AUC."""

    far: float | None
    value: float
    attained: float | None
    threshold: float | None
    influence: Floats  # [S]


class Det(NamedTuple):
    """FRR at falling thresholds; ``low`` and ``high`` are 95 % at fixed FAR, by subjects."""

    far: Floats  # [T] attained
    frr: Floats  # [T]
    low: Floats  # [T]
    high: Floats  # [T]


class ScoreHistogram(NamedTuple):
    edges: Floats  # [B+1] cosines
    genuine: Floats  # [B] densities: each integrates to 1
    impostor: Floats  # [B]


class Verification(NamedTuple):
    genuine: int
    impostor: int
    subjects: int
    mated: int  # subjects with a genuine pair
    points: tuple[Point, ...]  # TAR at each measurable FAR of the grid
    even: tuple[Point, ...]  # the same as a mean over identities, in labelled sets where that differs
    eer: Point | None  # None here and below: left out, because it takes every score of a very large set
    auc: Point | None
    auc_error: float  # bound on the error of AUC from binning; 0 where exact
    det: Det
    scores: ScoreHistogram | None


class Counts(NamedTuple):
    """Accepted pairs per subject at T thresholds, and all pairs per subject."""

    accepted: Ints  # [S,T]
    total: Ints  # [S]
    pairs: int


def tally(subject: Ints, level: Ints, thresholds: int, subjects: int) -> Ints:
    """[S,T]: per subject the number of scores >= each of the rising thresholds; ``level`` thresholds lie at or below
    a score."""
    width = thresholds + 1
    counts = np.bincount(subject * width + level, minlength=subjects * width).reshape(subjects, width)
    return counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]


def det_fars(impostors: int, equal: float) -> Floats:
    """60 FARs, evenly on the log axis, from the smallest measurable one to 0.1, or to twice the EER where that is
    more."""
    low, high = EXPECTED_ERRORS / impostors, min(0.5, max(0.1, 2 * equal))
    return np.geomspace(low, high, DET_POINTS) if low < high else np.array([])


def slope(tar_at: Callable[[float], float], far: float) -> float:
    """dTAR / dFAR of the ROC at ``far``: a finite difference on the log axis between far / 2 and 2 far."""
    if far <= 0:
        return 0.0
    wide = min(2 * far, 1.0)
    return float((tar_at(wide) - tar_at(far / 2)) / (np.log(wide / (far / 2)) * far))


def residuals(counts: Counts, column: int) -> Floats:
    """[S]: accepted minus expected pairs of each subject, over all pairs: the influence on the share of accepted
    pairs."""
    share = float(counts.accepted[:, column].sum()) / max(1, counts.total.sum())
    return np.asarray((counts.accepted[:, column] - share * counts.total) / counts.pairs, dtype=np.float64)


def det_bands(far: Floats, tar: Floats, genuine: Counts, impostor: Counts, slopes: Floats) -> Det:
    """Bands of the DET at its thresholds (columns of the counts); impostor parts unshrunk, hence a little wide at low
    FAR."""
    subjects, mated = genuine.total.size, int(np.count_nonzero(genuine.total))
    low, high = np.empty(far.size), np.empty(far.size)
    for t in range(far.size):
        psi = residuals(genuine, t) - slopes[t] * residuals(impostor, t)
        variance = small_sample(subjects) * float(psi @ psi)
        low[t], high[t], _ = subject_wilson(1 - tar[t], variance, genuine.pairs, mated)
    return Det(far, 1 - tar, low, high)


def histogram(genuine: NDArray[np.floating], impostor_counts: Floats, edges: Floats) -> ScoreHistogram:
    width = np.diff(edges)
    counts = np.histogram(np.clip(genuine, -1, 1), edges)[0]
    return ScoreHistogram(edges, counts / (counts.sum() * width), impostor_counts / (impostor_counts.sum() * width))


def verify_pairs(score: Floats, same: NDArray[np.bool_], first: Ints, second: Ints, subjects: int) -> Verification:
    """All verification numbers of a pair list. ``score`` [M] cosines, ``same`` [M], ``first``/``second`` [M] subjects
    0..S-1."""
    g, x = score[same], score[~same]
    a, b = first[~same], second[~same]
    ordered = np.sort(x)

    def tar_at(far: float) -> float:
        return float(np.mean(g >= far_threshold(ordered, far)))

    def counts(thresholds: Floats) -> tuple[Counts, Counts]:
        n = thresholds.size
        own = tally(first[same], np.searchsorted(thresholds, g, "right"), n, subjects)
        level = np.searchsorted(thresholds, x, "right")
        apart = tally(a, level, n, subjects) + tally(b, level, n, subjects)
        ends = np.bincount(np.concatenate([a, b]), minlength=subjects)
        return Counts(own, np.bincount(first[same], minlength=subjects), g.size), Counts(apart, ends, x.size)

    def shrunk(psi: Floats, residual: Floats) -> Floats:
        return impostor_scale(psi, dyad_squares(a, b, residual / x.size, subjects)) * psi

    def parts(threshold: float) -> tuple[float, float, Floats, Floats]:
        tar, far = float(np.mean(g >= threshold)), float(np.mean(x >= threshold))
        own, apart = counts(np.array([threshold]))
        return tar, far, residuals(own, 0), shrunk(residuals(apart, 0), (x >= threshold).astype(np.float64) - far)

    points = []
    for far in FAR_GRID:
        if measurable(far, x.size):
            threshold = far_threshold(ordered, far)
            tar, attained, own, apart = parts(threshold)
            points.append(Point(far, tar, attained, threshold, own - slope(tar_at, attained) * apart))

    rate = eer(g, x)
    _, _, own, apart = parts(rate.threshold)
    steep = slope(tar_at, rate.value)
    equal = Point(None, rate.value, None, rate.threshold, (steep * apart - own) / (1 + steep))

    area = auc(g, x)
    terms = np.empty(score.size)
    terms[same] = (placements(g, x) - area) / g.size
    terms[~same] = (1 - placements(x, g) - area) / x.size
    under = Point(None, area, None, None, pair_influence(terms, first, second, subjects))

    fars = det_fars(x.size, rate.value)
    thresholds = np.unique([far_threshold(ordered, far) for far in fars])
    fars = 1 - np.searchsorted(ordered, thresholds, "left") / x.size
    tars = np.array([np.mean(g >= t) for t in thresholds])
    slopes = np.array([slope(tar_at, far) for far in fars])
    some = max(1, COUNTED // subjects)
    parts_of_det = [
        det_bands(fars[t : t + some], tars[t : t + some], *counts(thresholds[t : t + some]), slopes[t : t + some])
        for t in range(0, max(1, fars.size), some)
    ]
    det = Det(*(np.concatenate(column) for column in zip(*parts_of_det, strict=True)))

    edges = np.linspace(-1, 1, SCORE_BINS + 1)
    shown = histogram(g, np.histogram(np.clip(x, -1, 1), edges)[0].astype(np.float64), edges)
    mated = np.unique(first[same]).size
    return Verification(g.size, x.size, subjects, mated, tuple(points), (), equal, under, 0.0, det, shown)
