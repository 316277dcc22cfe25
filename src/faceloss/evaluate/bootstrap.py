"""The subject bootstrap for small sets: draw subjects with replacement, carry all their pairs along.

The slow and plain way to an interval; influence vectors are tested against it. On a sparse pair list (each subject in
one impostor pair) it is conservative by construction, since a weight w_a w_b varies three times as much as one pair
does (Owen 2007).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.evaluate.metrics import Floats, Ints, allowed_errors
from faceloss.evaluate.statistics import LEVEL, pair_weights, subject_weights

Statistic = Callable[[Floats], float]


class Bootstrap(NamedTuple):
    values: Floats  # [replicates]
    error: float  # standard deviation over replicates
    low: float  # percentiles
    high: float


def subject_bootstrap(
    statistic: Statistic, first: Ints, second: Ints, subjects: int, replicates: int = 200, seed: int = 0
) -> Bootstrap:
    """``statistic(weights [M]) -> float`` is evaluated for every resampling of the subjects; NaN replicates are left
    out."""
    draws = subject_weights(subjects, replicates, seed)
    values = np.array([statistic(pair_weights(draw, first, second)) for draw in draws])
    kept = values[np.isfinite(values)]
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Bootstrap(values, float(np.std(kept, ddof=1)), float(low), float(high))


def weighted_mean(values: ArrayLike) -> Statistic:
    x = np.asarray(values, dtype=np.float64)
    return lambda weights: float(np.sum(weights * x) / np.sum(weights))


def _curve(score: Floats, same: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Weighted FAR and TAR at every distinct score, from the highest down, starting with (0, 0)."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # ties are accepted together
    far = np.cumsum(np.where(same, 0.0, weights)[order])[last]
    tar = np.cumsum(np.where(same, weights, 0.0)[order])[last]
    return np.append(0.0, far / far[-1]), np.append(0.0, tar / tar[-1])


def weighted_tar(score: Floats, same: NDArray[np.bool_], far: float) -> Statistic:
    """TAR at FAR <= far under weights, by the step rule."""

    def statistic(weights: Floats) -> float:
        attained, tar = _curve(score, same, weights)
        limit = allowed_errors(far, 10**12) / 10**12 + 1e-12
        return float(tar[np.searchsorted(attained, limit, "right") - 1])

    return statistic


def weighted_eer(score: Floats, same: NDArray[np.bool_]) -> Statistic:
    def statistic(weights: Floats) -> float:
        far, tar = _curve(score, same, weights)
        gap = far - (1 - tar)
        i = int(np.argmax(gap >= 0))
        share = -gap[i - 1] / (gap[i] - gap[i - 1])
        return float(far[i - 1] + share * (far[i] - far[i - 1]))

    return statistic


def weighted_auc(score: Floats, same: NDArray[np.bool_]) -> Statistic:
    def statistic(weights: Floats) -> float:
        far, tar = _curve(score, same, weights)
        return float(np.sum(np.diff(far) * (tar[1:] + tar[:-1]) / 2))

    return statistic
