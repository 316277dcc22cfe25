"""Losses over several benchmarks: do they differ at all, and which from which?

Rows are benchmarks (or data sets), columns are losses; each row is ranked, 1 = best, ties share the mean rank.

    Friedman       are all equal?  chi^2 = 12 N / (k (k + 1)) (sum R_j^2 - k (k + 1)^2 / 4), corrected for ties, in the
                   form of Iman and Davenport (1980):  F = (N - 1) chi^2 / (N (k - 1) - chi^2)
    Wilcoxon-Holm  which differ?  exact two-sided signed-rank test of every pair, Holm over the pairs
    Nemenyi        CD = q_0.05 sqrt(k (k + 1) / (6 N)): mean ranks further apart than CD differ

Verdicts are those of Wilcoxon-Holm: whether two losses differ must not depend on which others are in the table, as it
does with mean ranks (Benavoli, Corani and Mangili, 2016). Nemenyi's CD is given beside them for the usual diagram
(Demsar, 2006). Benchmarks count as independent, which those over the same people are not.

With N benchmarks the smallest two-sided p is 2 / 2^N, and Holm asks for 0.05 / pairs: where even N benchmarks that all
agree would not do (below six for one pair, below nine for ten), the verdict is "not measurable".
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtrc  # type: ignore[import-untyped]

from faceloss.errors import BadInput, unknown
from faceloss.evaluate.metrics import Floats
from faceloss.evaluate.statistics import SIGNIFICANCE, holm


class PairOfLosses(NamedTuple):
    one: str
    two: str
    p: float
    p_holm: float
    verdict: str  # of one against two: better | worse | no difference found | not measurable


class Ranking(NamedTuple):
    labels: tuple[str, ...]  # from the best mean rank to the worst
    mean_ranks: tuple[float, ...]
    benchmarks: int
    friedman_p: float | None  # None with fewer than two benchmarks
    critical_difference: float | None  # Nemenyi's, at 0.05
    pairs: tuple[PairOfLosses, ...]
    cliques: tuple[tuple[str, ...], ...]  # longest runs of neighbors in which no pair differs, of two or more


def ranks(values: ArrayLike, larger_is_better: bool = True) -> Floats:
    """[N,k] the rank of each loss on each benchmark; 1 = best, ties share the mean rank."""
    x = np.asarray(values, dtype=np.float64)
    x = -x if larger_is_better else x
    below = (x[:, None, :] < x[:, :, None]).sum(axis=2)
    equal = (x[:, None, :] == x[:, :, None]).sum(axis=2)
    return np.asarray(below + (equal + 1) / 2, dtype=np.float64)


def friedman(values: ArrayLike) -> float:
    """p of the hypothesis that all k losses are equal on N benchmarks; ``values`` [N,k]."""
    r = ranks(values)
    n, k = r.shape
    spread = float(np.sum((r - (k + 1) / 2) ** 2))  # n k (k^2 - 1) / 12 without ties
    if spread == 0:
        return 1.0
    chi = (k - 1) * float(np.sum((r.sum(axis=0) - n * (k + 1) / 2) ** 2)) / spread
    if chi >= n * (k - 1) * (1 - 1e-12):
        return 0.0  # every benchmark ranks them alike
    return float(fdtrc(k - 1, (k - 1) * (n - 1), (n - 1) * chi / (n * (k - 1) - chi)))


class SignedRanks(NamedTuple):
    p: float
    lead: float  # sum of the ranks of positive differences minus that of negative ones


def wilcoxon(differences: ArrayLike) -> SignedRanks:
    """Exact two-sided signed-rank test: all 2^n signs are equally likely under equality.

    Zeros are ranked and then left out of both sums (Pratt, 1959), ties share their mean rank; exact with both.
    """
    d = np.asarray(differences, dtype=np.float64)
    size = np.abs(d)
    doubled = ((size[:, None] > size).sum(axis=1) * 2 + (size[:, None] == size).sum(axis=1) + 1).astype(np.int64)
    doubled, signs = doubled[d != 0], d[d != 0] > 0  # twice the ranks: whole numbers
    total = int(doubled.sum())
    ways = np.zeros(total + 1)
    ways[0] = 1.0
    for rank in doubled:  # the distribution of the sum of the ranks with sign +
        shifted = np.zeros_like(ways)
        shifted[rank:] = ways[: total + 1 - rank]
        ways = (ways + shifted) / 2
    up = int(doubled[signs].sum())
    extreme = min(up, total - up)
    return SignedRanks(float(min(1.0, 2 * ways[: extreme + 1].sum())), (2 * up - total) / 2)


def critical_difference(losses: int, benchmarks: int) -> float:
    """Nemenyi's at 0.05, from the studentized range with infinite degrees of freedom."""
    from scipy.stats import studentized_range  # type: ignore[import-untyped] # slow to import, needed here only

    q = float(studentized_range.ppf(1 - SIGNIFICANCE, losses, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(losses * (losses + 1) / (6 * benchmarks)))


def rank_losses(
    values: ArrayLike, labels: Sequence[str], larger_is_better: bool = True, control: str | None = None
) -> Ranking:
    """Compare ``labels`` [k] over benchmarks from one number each, ``values`` [N,k]; no number may be missing.

    With a ``control`` only the pairs (another loss, control) are tested, which asks less of each; there are no cliques
    then.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != len(labels) or x.shape[1] < 2 or not x.shape[0]:
        raise BadInput(
            f"Values of shape {x.shape} do not fit {len(labels)} losses; give a row of at least two a benchmark."
        )
    if not np.isfinite(x).all():
        raise BadInput("A benchmark lacks the number of a loss; leave out that benchmark or that loss.")
    x = x if larger_is_better else -x
    n, k = x.shape
    mean = ranks(x).mean(axis=0)
    order = np.argsort(mean, kind="stable")
    couples = [(int(a), int(b)) for a, b in combinations(order, 2)]
    if control is not None:
        if control not in labels:
            raise BadInput(unknown("loss", control, labels))
        base = list(labels).index(control)
        couples = [(int(a), base) for a in order if a != base]
    tests = [wilcoxon(x[:, a] - x[:, b]) for a, b in couples]
    able = len(couples) * 2.0 ** (1 - n) < SIGNIFICANCE
    rows = []
    for (a, b), found, adjusted in zip(couples, tests, holm([test.p for test in tests]), strict=True):
        phrase = "not measurable"
        if able:
            phrase = "no difference found" if adjusted >= SIGNIFICANCE else "better" if found.lead > 0 else "worse"
        rows.append(PairOfLosses(labels[a], labels[b], found.p, adjusted, phrase))
    apart = {frozenset((row.one, row.two)) for row in rows if row.verdict in ("better", "worse")}
    return Ranking(
        tuple(labels[j] for j in order),
        tuple(float(mean[j]) for j in order),
        n,
        friedman(x) if n > 1 else None,
        critical_difference(k, n) if n > 1 else None,
        tuple(rows),
        _cliques([labels[j] for j in order], apart) if control is None else (),
    )


def _cliques(ordered: list[str], apart: set[frozenset[str]]) -> tuple[tuple[str, ...], ...]:
    found: list[tuple[int, int]] = []
    for begin in range(len(ordered)):
        end = begin + 1
        while end < len(ordered) and not any(frozenset((one, ordered[end])) in apart for one in ordered[begin:end]):
            end += 1
        if end - begin > 1 and not (found and found[-1][1] >= end):
            found.append((begin, end))
    return tuple(tuple(ordered[begin:end]) for begin, end in found)
