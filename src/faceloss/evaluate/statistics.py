"""How sure a number is when comparisons share subjects, and when two numbers may be called different.

Pairs are not independent: one odd face spoils hundreds of comparisons. Everything here counts *subjects*.

Variance of a mean over pairs p with residuals r_p = x_p - mean (dyadic cluster-robust; Aronow, Samii and Assenova 2015,
Cameron and Miller 2014):

    Var = 1/M^2 * sum over (p, q) that share a subject of r_p r_q
        = 1/M^2 * [ sum_s (sum_{p touches s} r_p)^2  -  sum_{a<b} (sum_{p between a and b} r_p)^2 ]

The second sum takes back what the first counts twice: products of pairs that share *both* subjects. A genuine pair
touches one subject and is counted once.

An influence vector psi [S] says what each subject contributes to a number, so that its variance is S/(S-1) * sum
psi^2. It is linear: the vector of a difference is the difference of the vectors, which is what makes a paired test
cheap. To carry the correction above in a vector, the impostor part of psi is shrunk by c = sqrt(1 - D/R) with R its
sum of squares and D the second sum (c^2 = 1/2 for disjoint pairs, near 1 for a fully crossed set; never below 1/2,
which is what independent pairs have).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from faceloss.errors import BadInput
from faceloss.evaluate.metrics import Floats, Ints

LEVEL = 0.95
SIGNIFICANCE = 0.05
SEEDS_FOR_A_CLAIM = 3


class Interval(NamedTuple):
    low: float
    high: float
    effective: float  # as many independent pairs would give this interval


class Difference(NamedTuple):
    value: float
    low: float
    high: float
    p: float
    seeds: int
    error: float = float("inf")  # standard error over subjects and seeds
    freedom: float = float("inf")  # degrees of freedom; both infinite where nothing can be estimated


class Summary(NamedTuple):
    mean: float
    low: float
    high: float
    spread: float  # standard deviation over seeds; nan for one seed
    seeds: int


def wilson(share: float, n: float, z: float | None = None) -> tuple[float, float]:
    """Wilson's score interval for a share of n independent trials (Wilson 1927); n need not be whole."""
    if n <= 0 or z == np.inf:
        return 0.0, 1.0
    z = float(ndtri(0.5 + LEVEL / 2)) if z is None else z
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At a share of exactly 0 or 1 the bound is exact, but rounding may miss it by one bit.
    return (
        0.0 if share == 0 else float(max(0.0, center - half)),
        1.0 if share == 1 else float(min(1.0, center + half)),
    )


def subject_wilson(share: float, variance: float, pairs: int, subjects: int) -> Interval:
    """Wilson's interval with the effective number of pairs, n = share (1 - share) / variance, and Student's t for few
    subjects.

    n never exceeds ``pairs``. A share of 0 or 1 shows no variance; then n is the number of subjects (at most pairs),
    since in the worst case all comparisons of a subject fall together. One subject says nothing about others: [0, 1].
    """
    if subjects < 2:
        return Interval(0.0, 1.0, float(min(pairs, 1)))
    if share <= 0 or share >= 1:
        effective = float(min(pairs, subjects))
    else:
        effective = min(share * (1 - share) / variance, float(pairs)) if variance > 0 else float(pairs)
    low, high = wilson(share, effective, float(stdtrit(subjects - 1, 0.5 + LEVEL / 2)))
    return Interval(low, high, effective)


def small_sample(subjects: int) -> float:
    return subjects / (subjects - 1) if subjects > 1 else 1.0


def vector_variance(influence: ArrayLike) -> float:
    """S/(S-1) * sum psi^2 of an influence vector [S]."""
    psi = np.asarray(influence, dtype=np.float64)
    return float(small_sample(psi.size) * np.sum(psi * psi))


def dyad_squares(first: Ints, second: Ints, residual: Floats, subjects: int) -> float:
    """sum_{a<b} (sum of the residuals of pairs between a and b)^2, over pairs of two different subjects."""
    apart = first != second
    low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
    _, place = np.unique(low * subjects + high, return_inverse=True)
    return float(np.sum(np.bincount(place, residual[apart]) ** 2)) if place.size else 0.0


def dyadic_variance(values: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Subject-level variance of the mean of ``values`` [M]; ``first``, ``second`` [M] name the two subjects of each
    pair.

    The formula on top of this module, with S/(S-1). The estimate may come out negative when pairs of a subject
    disagree more than chance; callers cap the effective number of pairs.
    """
    x, a, b, subjects = *_pairs(values, first, second), 0
    _, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    subjects, a, b = int(codes.max()) + 1, codes[: len(a)], codes[len(a) :]
    r = x - x.mean()
    touched = np.bincount(a, r, subjects) + np.bincount(b, np.where(a == b, 0.0, r), subjects)
    return small_sample(subjects) * float(np.sum(touched**2) - dyad_squares(a, b, r, subjects)) / max(1, x.size) ** 2


def subject_interval(values: ArrayLike, first: ArrayLike, second: ArrayLike) -> Interval:
    """95 % interval of a share over pairs (an FMR, FNMR or accuracy): Wilson with the effective n of
    ``dyadic_variance``."""
    x, a, b = _pairs(values, first, second)
    return subject_wilson(float(x.mean()), dyadic_variance(x, a, b), x.size, np.unique(np.concatenate([a, b])).size)


def _pairs(values: ArrayLike, first: ArrayLike, second: ArrayLike) -> tuple[Floats, Ints, Ints]:
    x, a, b = np.asarray(values, dtype=np.float64), np.asarray(first), np.asarray(second)
    if x.ndim != 1 or not x.size or not x.shape == a.shape == b.shape:
        raise BadInput(f"Values {x.shape} and subjects {a.shape}, {b.shape} must be flat, equally long and not empty.")
    return x, a, b


def sums(index: Ints, values: NDArray[Any], size: int) -> Floats:
    """[size]: the sum of the values that fall on each index."""
    return np.bincount(index, values, size).astype(np.float64, copy=False)


def impostor_scale(touched: Floats, dyads: float) -> float:
    """c of the module's head: how much the impostor part of an influence vector [S] is shrunk."""
    total = float(np.sum(touched * touched))
    return float(np.sqrt(np.clip(1 - dyads / total, 0.5, 1.0))) if total > 0 else 1.0


def pair_influence(residual: Floats, first: Ints, second: Ints, subjects: int) -> Floats:
    """Influence [S] of a sum over pairs whose centered, weighted terms are ``residual`` [M]."""
    own = first == second
    genuine = sums(first[own], residual[own], subjects)
    apart = residual[~own]
    touched = sums(first[~own], apart, subjects) + sums(second[~own], apart, subjects)
    return genuine + impostor_scale(touched, dyad_squares(first, second, residual, subjects)) * touched


def _vectors(influences: ArrayLike, seeds: int) -> Floats:
    vectors = np.asarray(influences, dtype=np.float64)
    if vectors.ndim != 2 or vectors.shape[0] != seeds:
        raise BadInput(
            f"Influences of shape {vectors.shape} were given for {seeds} seeds; give one vector [S] per seed."
        )
    return vectors


def _interval(value: float, values: Floats, vector: Floats) -> tuple[float, float, float]:
    """Half width, standard error and degrees of freedom from subjects (``vector``) and seeds (``values``).

    Satterthwaite (1946) over two parts. The subjects' degrees of freedom are their effective number, (sum psi^2)^2 /
    sum psi^4, less one: four subjects that differ are four, however many others agree.
    """
    squares = vector * vector
    part = vector_variance(vector)
    if part > 0:
        freedom = max(1.0, float(squares.sum() ** 2 / np.sum(squares * squares)) - 1)
    else:  # nothing differs: as if one subject had
        part, freedom = 1 / vector.size**2, max(1.0, vector.size - 1.0)
    seeds = values.size
    between = float(np.var(values, ddof=1)) / seeds if seeds > 1 else 0.0
    down = part**2 / freedom + (between**2 / (seeds - 1) if seeds > 1 else 0.0)
    freedom = (part + between) ** 2 / down
    error = float(np.sqrt(part + between))
    return float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error, error, freedom


def paired_difference(
    values_a: ArrayLike, values_b: ArrayLike, influences_a: ArrayLike, influences_b: ArrayLike
) -> Difference:
    """a - b on the same seeds and the same test subjects: mean difference, 95 % interval and two-sided p.

    ``values`` [R] one per seed, matched; ``influences`` [R,S]. Variance = subjects (from the mean over seeds of the
    influence differences) + seeds (variance of the differences / R); Student's t with Satterthwaite's degrees of
    freedom. With one seed the interval covers the subjects only, and ``verdict`` will not call it a claim. One
    subject: [-1, 1], p = 1.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise BadInput(
            f"Values of shape {a.shape} and {b.shape} cannot be paired; give the same seeds in the same order."
        )
    psi_a, psi_b = _vectors(influences_a, a.size), _vectors(influences_b, b.size)
    if psi_a.shape != psi_b.shape:
        raise BadInput(
            f"{psi_a.shape[1]} and {psi_b.shape[1]} test subjects cannot be paired; judge both on the same set."
        )
    value = float(np.mean(a - b))
    if psi_a.shape[1] < 2:
        return Difference(value, -1.0, 1.0, 1.0, a.size)
    half, error, freedom = _interval(value, a - b, (psi_a - psi_b).mean(axis=0))
    p = 2 * float(stdtr(freedom, -abs(value) / error))
    return Difference(value, max(-1.0, value - half), min(1.0, value + half), p, a.size, error, freedom)


def summary(values: ArrayLike, influences: ArrayLike) -> Summary:
    """Mean over seeds of a share, with a 95 % interval over subjects and seeds, and the spread (standard deviation)
    of seeds.

    The interval is Wilson's with an effective n and Student's t, so that it stays inside [0, 1] and does not collapse
    at 1.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size:
        raise BadInput(f"Values of shape {x.shape} cannot be summarized; give one number per seed.")
    vectors = _vectors(influences, x.size)
    mean = float(x.mean())
    spread = float(np.std(x, ddof=1)) if x.size > 1 else float("nan")
    if vectors.shape[1] < 2:
        return Summary(mean, 0.0, 1.0, spread, x.size)
    _, error, freedom = _interval(mean, x, vectors.mean(axis=0))
    inside = 0 < mean < 1
    effective = mean * (1 - mean) / error**2 if inside else float(vectors.shape[1])
    quantile = float(stdtrit(freedom, 0.5 + LEVEL / 2))
    return Summary(mean, *wilson(min(max(mean, 0.0), 1.0), effective, quantile), spread, x.size)


def mean_error(values: ArrayLike, influences: ArrayLike) -> tuple[float, float]:
    """Standard error and degrees of freedom, over subjects and seeds, of the mean of numbers of any kind.

    ``values`` [R] one per seed, ``influences`` [R,S]; see ``paired_difference``.
    """
    x = np.asarray(values, dtype=np.float64)
    _, error, freedom = _interval(float(x.mean()), x, _vectors(influences, x.size).mean(axis=0))
    return error, freedom


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: the k-th smallest of m times m - k + 1, never below an earlier one, at most
    1."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise BadInput("Holm's adjustment needs p-values in [0, 1]; leave out what could not be measured.")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(value) for value in adjusted]


def verdict(
    low: float,
    high: float,
    p_holm: float,
    seeds: int,
    measurable: bool = True,
    diverged: bool = False,
    larger_is_better: bool = True,
) -> str:
    """One of the phrases: "diverged", "not measurable", "better", "worse", "no difference found".

    A claim needs all three: the paired 95 % interval excludes 0, Holm-adjusted p < 0.05, and three seeds.
    ``larger_is_better`` is False for an error rate (EER).
    """
    if diverged:
        return "diverged"
    if not measurable or not np.isfinite([low, high, p_holm]).all():
        return "not measurable"
    if seeds < SEEDS_FOR_A_CLAIM or p_holm >= SIGNIFICANCE or low <= 0 <= high:
        return "no difference found"
    return "better" if (low > 0) == larger_is_better else "worse"


def subject_weights(subjects: int, replicates: int, seed: int = 0) -> NDArray[np.int64]:
    """[replicates,S]: how often each subject is drawn when S subjects are drawn with replacement."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=replicates)


def pair_weights(weights: NDArray[np.int64], first: Ints, second: Ints) -> Floats:
    """Weight of each pair under subject weights [S]: w_a w_b for two subjects, w_a for a genuine pair (its copies do
    not mix)."""
    return np.where(first == second, weights[first], weights[first] * weights[second]).astype(np.float64)
