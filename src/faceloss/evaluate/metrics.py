"""Verification and identification numbers as exact functions of scores; nothing random, nothing interpolated but the
EER.

Terms of ISO/IEC 19795-1 and 2382-37. A pair is accepted when ``score >= threshold``.

    FAR(t) = share of impostor scores >= t     (false match rate)
    TAR(t) = share of genuine scores >= t      (1 - false non-match rate)

A rate "at FAR <= f" obeys the step rule: the threshold is the smallest representable number whose *attained* FAR is at
most f. Tools that take the nearest point of the ROC may exceed f; this one cannot.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXPECTED_ERRORS = 30
"""The rule of 30: a rate is printed only where the data are expected to hold this many errors (ISO/IEC 19795-1)."""

FAR_GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)


class NotMeasurable(BadInput):
    """The data are too few to support the number that was asked for."""


class Roc(NamedTuple):
    """One point per distinct score and one above them all; ``far`` and ``tar`` rise from 0 to 1."""

    far: Floats  # [T]
    tar: Floats  # [T]
    threshold: Floats  # [T], falling; the first is inf


class Operating(NamedTuple):
    tar: float
    far: float  # asked for
    attained: float  # <= far
    threshold: float


class Eer(NamedTuple):
    value: float
    threshold: float


class TenFold(NamedTuple):
    mean: float
    error: float  # standard error of the mean of the folds; folds share subjects, so this is not the interval we report
    folds: Floats  # [K] accuracy
    thresholds: Floats  # [K] chosen on the other folds
    correct: NDArray[np.bool_]  # [M]


def measurable(far: float, impostors: int) -> bool:
    """Whether ``impostors`` comparisons are expected to hold at least 30 errors at this FAR."""
    return far * impostors >= EXPECTED_ERRORS * (1 - 1e-12)


def _scores(values: ArrayLike, what: str) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1:
        raise BadInput(f"The {what} scores have shape {scores.shape}; give one number per pair, a flat array.")
    if not scores.size:
        raise NotMeasurable(f"There are no {what} pairs, so nothing can be measured; give at least one of each kind.")
    if not np.isfinite(scores).all():
        raise BadInput(f"The {what} scores hold NaN or infinity; every score must be a finite number.")
    return scores


def roc(genuine: ArrayLike, impostor: ArrayLike) -> Roc:
    """The whole ROC, one point per distinct score."""
    g, x = np.sort(_scores(genuine, "genuine")), np.sort(_scores(impostor, "impostor"))
    threshold = np.append(np.unique(np.concatenate([g, x])), np.inf)[::-1]
    far = 1 - np.searchsorted(x, threshold, "left") / x.size
    tar = 1 - np.searchsorted(g, threshold, "left") / g.size
    return Roc(far, tar, threshold)


def allowed_errors(far: float, impostors: int) -> int:
    """The most impostor pairs that may be accepted at FAR <= far (0.1 of 30 pairs is 3, whatever binary fractions
    say)."""
    return min(int(np.floor(far * impostors * (1 + 1e-12))), impostors)


def far_threshold(impostor: Floats, far: float) -> float:
    """The smallest number t with share(impostor >= t) <= far."""
    k = allowed_errors(far, impostor.size)
    if k >= impostor.size:
        return float(impostor.min())
    place = impostor.size - k - 1  # of the largest score that must stay out
    return float(np.nextafter(np.partition(impostor, place)[place], np.inf))


def tar_at_far(genuine: ArrayLike, impostor: ArrayLike, far: float) -> Operating:
    """TAR at FAR <= far, with the FAR that was attained. Refuses (NotMeasurable) below 30 expected errors."""
    g, x = _scores(genuine, "genuine"), _scores(impostor, "impostor")
    if not 0 < far <= 1:
        raise BadInput(f"A FAR of {far} was asked for; it must lie in (0, 1].")
    if not measurable(far, x.size):
        raise NotMeasurable(
            f"FAR {far:g} needs {EXPECTED_ERRORS / far:,.0f} impostor pairs (30 expected errors), there are {x.size:,}."
        )
    threshold = far_threshold(x, far)
    return Operating(float(np.mean(g >= threshold)), far, float(np.mean(x >= threshold)), threshold)


def eer(genuine: ArrayLike, impostor: ArrayLike) -> Eer:
    """Where FAR = 1 - TAR, on the straight line between the two neighboring ROC points.

    The threshold is the smallest score at which FNMR >= FMR.
    """
    far, tar, threshold = (part[::-1] for part in roc(genuine, impostor))  # now rising thresholds
    return eer_on(far, 1 - tar, threshold)


def eer_on(fmr: Floats, fnmr: Floats, threshold: Floats) -> Eer:
    """EER of a curve given at rising thresholds, from (FMR 1, FNMR 0) to beyond the crossing."""
    gap = fnmr - fmr
    i = int(np.argmax(gap >= 0))
    if i == 0:
        return Eer(float(fmr[0]), float(threshold[0]))
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    return Eer(float(fmr[i - 1] + share * (fmr[i] - fmr[i - 1])), float(threshold[i]))


def placements(values: Floats, others: Floats) -> Floats:
    """For each value the share of ``others`` below it, a tie counting one half."""
    others = np.sort(others)
    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / (2 * others.size)


def auc(genuine: ArrayLike, impostor: ArrayLike) -> float:
    """P(genuine > impostor) + P(equal) / 2 over all combinations: the Mann-Whitney statistic, exact."""
    g, x = _scores(genuine, "genuine"), _scores(impostor, "impostor")
    x = np.sort(x)
    halves = (
        np.searchsorted(x, g, "left").sum() + np.searchsorted(x, g, "right").sum()
    )  # whole numbers: order is nothing
    return float(halves / (2 * g.size * x.size))


def best_threshold(score: Floats, same: NDArray[np.bool_]) -> float:
    """The threshold with most correct pairs; candidates lie midway between scores, among equals the middle one.

    To be used on pairs that are not the ones judged: the best threshold on the judged pairs adds 2.3 points to pure
    noise.
    """
    levels = np.unique(score)
    inner = (levels[1:] + levels[:-1]) / 2
    inner = np.where(inner > levels[:-1], inner, levels[1:])  # adjacent floats: the middle rounds down onto the lower
    candidates = np.concatenate([levels[:1], inner, [np.nextafter(levels[-1], np.inf)]])
    g, x = np.sort(score[same]), np.sort(score[~same])
    right = (g.size - np.searchsorted(g, candidates, "left")) + np.searchsorted(x, candidates, "left")
    best = np.flatnonzero(right == right.max())
    return float(candidates[best[(best.size - 1) // 2]])


def ten_folds(score: ArrayLike, same: ArrayLike, fold: ArrayLike) -> TenFold:
    """Accuracy by folds (LFW's rule, for any number of folds and pairs): each fold is judged at the threshold that is
    best on the *other* folds. Mean and standard error over folds.
    """
    scores, labels, folds = _scores(score, "pair"), np.asarray(same, dtype=bool), np.asarray(fold)
    if not scores.shape == labels.shape == folds.shape:
        raise BadInput(
            f"Scores {scores.shape}, same {labels.shape}, fold {folds.shape} differ in shape; give one each per pair."
        )
    names = np.unique(folds)
    if names.size < 2:
        raise NotMeasurable(
            "Accuracy by folds needs at least two folds: a threshold may not be chosen on its own pairs."
        )
    correct, thresholds, accuracy = np.zeros(scores.size, dtype=bool), [], []
    for name in names:
        own = folds == name
        threshold = best_threshold(scores[~own], labels[~own])
        correct[own] = (scores[own] >= threshold) == labels[own]
        thresholds.append(threshold)
        accuracy.append(correct[own].mean())
    error = float(np.std(accuracy, ddof=1) / np.sqrt(len(accuracy)))
    return TenFold(float(np.mean(accuracy)), error, np.array(accuracy), np.array(thresholds), correct)


def mate_ranks(scores: ArrayLike, probes: ArrayLike, gallery: ArrayLike) -> Ints:
    """Rank of each probe's first mate in the gallery: 1 + the number of non-mates that score at least as high.

    A tie counts against the mate, so an embedding that sends every face to one point earns nothing.
    ``scores`` [P,G], ``probes`` [P], ``gallery`` [G]; 0 where a probe has no mate.
    """
    values = np.asarray(scores)
    mates = np.asarray(probes)[:, None] == np.asarray(gallery)[None, :]  # [P,G]
    if values.shape != mates.shape:
        raise BadInput(
            f"Scores of shape {values.shape} do not fit {mates.shape[0]} probes and {mates.shape[1]} gallery images."
        )
    if not np.isfinite(values).all():
        raise BadInput("The scores hold NaN or infinity; every score must be a finite number.")
    best = np.where(mates, values, -np.inf).max(axis=1)
    ahead = np.count_nonzero(~mates & (values >= best[:, None]), axis=1)
    return np.where(mates.any(axis=1), 1 + ahead, 0)


def leave_one_out_ranks(embeddings: NDArray[np.float32], labels: Ints, progress: Any = None, rows: int = 256) -> Ints:
    """Each image in turn is the probe, all others are the gallery; ranks as in ``mate_ranks``, 0 without a mate.

    ``embeddings`` [N,D] unit length. Blocks of ``rows`` probes: rows * N scores in memory, never N * N.
    """
    order = np.argsort(labels, kind="stable")
    e, y = embeddings[order], labels[order]
    begin, end = np.searchsorted(y, y, "left"), np.searchsorted(y, y, "right")
    ranks = np.zeros(len(y), dtype=np.int64)
    for start in range(0, len(y), rows):
        stop = min(start + rows, len(y))
        scores = e[start:stop] @ e.T  # [rows,N]
        best = np.full(stop - start, np.inf, dtype=np.float32)
        ties = np.zeros(stop - start, dtype=np.int64)
        for r, i in enumerate(range(start, stop)):
            scores[r, i] = -np.inf
            mates = scores[r, begin[i] : end[i]]
            if mates.size > 1:
                best[r] = mates.max()
                ties[r] = np.count_nonzero(mates >= best[r])
        ahead = np.count_nonzero(scores >= best[:, None], axis=1) - ties
        ranks[start:stop] = np.where(np.isfinite(best), 1 + ahead, 0)
        if progress is not None:
            progress("rank", stop, len(y))
    back = np.empty_like(ranks)
    back[order] = ranks
    return back


def cmc(ranks: ArrayLike, at: Iterable[int]) -> Floats:
    """Share of mated probes whose first mate is at rank k or better, for every k. Probes without a mate (rank 0) are
    left out."""
    values = np.asarray(ranks)
    values = values[values > 0]
    if not values.size:
        raise NotMeasurable("No probe has a mate in the gallery, so no rank can be measured.")
    return np.array([float(np.mean(values <= k)) for k in at])
