"""Does the length of an embedding say how good the image is? Rank correlations with what is known without a model.

    rho    Spearman's rank correlation between the norm of an image's embedding and a measure of the image
    FNMR   of genuine pairs with at least one image among the tenth of lowest norm, and of all other genuine pairs, both
           at one given threshold

Images of a person are alike, so what is counted are subjects: with F and G the ranks of the two measures as shares,
image i has the influence

    12 ( F_i G_i + mean_j 1[x_j >= x_i] G_j + mean_j F_j 1[y_j >= y_i] ) - 3 rho - 9       divided by N

on rho (ties count one half), a subject the sum of its images'. The interval is Fisher's, on the axis atanh rho, with
the error and the degrees of freedom of :mod:`faceloss.evaluate.statistics`. The threshold of an FNMR is taken as given.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # type: ignore[import-untyped]

from faceloss.errors import BadInput
from faceloss.evaluate.cells import MEASURED, NOT_MEASURABLE, codes, unit
from faceloss.evaluate.metrics import EXPECTED_ERRORS, Floats
from faceloss.evaluate.statistics import LEVEL, mean_error, subject_wilson, sums, vector_variance

FEWEST = 30  # images of a correlation
LOWEST = 0.1  # share of the images that counts as of low norm
BLOCK = 1024  # images of an identity that are compared with the others at a time
CONSTANT = 1e-5  # norms within this share of each other are one norm, but for rounding


class NormNumber(NamedTuple):
    """One number about the norms of a set."""

    metric: str  # "rho sharpness", ...; "fnmr lowest tenth" | "fnmr others"
    value: float | None
    low: float | None
    high: float | None
    number: int  # images of a rho, genuine pairs of an FNMR
    subjects: int
    status: str  # measured | not measurable
    influence: Floats | None  # [S]
    at: float | None = None  # the global FAR of an FNMR's threshold
    note: str = ""


def correlate_norms(
    embeddings: ArrayLike, measures: dict[str, Floats], identities: ArrayLike
) -> tuple[NormNumber, ...]:
    """rho of the norms of raw ``embeddings`` [N,D] with each of ``measures`` [N]; ``identities`` [N] name subjects."""
    norms = np.linalg.norm(np.asarray(embeddings, dtype=np.float64), axis=1)
    code, subjects = codes(identities, len(norms))
    rows = []
    for name, values in measures.items():
        reason = ""
        if len(norms) < FEWEST or subjects < 2:
            reason = f"{len(norms)} images of {subjects} subjects; at least {FEWEST} of two are needed"
        elif np.ptp(norms) <= CONSTANT * norms.max():
            reason = "all embeddings have one norm"
        elif not np.ptp(values):
            reason = f"{name} is the same in all images"
        if reason:
            rows.append(_missing(f"rho {name}", len(norms), subjects, reason))
            continue
        rho, each = spearman(norms, values)
        psi = sums(code, each, subjects)
        low, high = fisher(rho, *mean_error([rho], psi[None]))
        rows.append(NormNumber(f"rho {name}", rho, low, high, len(norms), subjects, MEASURED, psi))
    return tuple(rows)


def misses_by_norm(
    embeddings: ArrayLike, identities: ArrayLike, threshold: float, at: float | None = None
) -> tuple[NormNumber, NormNumber]:
    """FNMR of pairs with an image of the lowest tenth of norms, and of the others, at the cosine ``threshold``.

    ``embeddings`` [N,D] raw. Fewer than 30 pairs, or one identity: not measurable.
    """
    raw = np.asarray(embeddings)
    e = unit(raw)
    code, subjects = codes(identities, len(e))
    norms = np.linalg.norm(raw.astype(np.float64), axis=1)
    names = ("fnmr lowest tenth", "fnmr others")
    if np.ptp(norms) <= CONSTANT * norms.max():
        few, most = (_missing(name, 0, subjects, "all embeddings have one norm") for name in names)
        return few, most
    low = np.zeros(len(e), dtype=bool)
    low[np.argsort(norms, kind="stable")[: round(LOWEST * len(e))]] = True
    pairs, missed = np.zeros((2, subjects)), np.zeros((2, subjects))  # [lowest, others]
    order = np.argsort(code, kind="stable")
    for subject, images in enumerate(np.split(order, np.cumsum(np.bincount(code, minlength=subjects))[:-1])):
        for start in range(0, len(images), BLOCK):  # an identity may have many images
            here = images[start : start + BLOCK]
            later = np.arange(len(images)) > np.arange(start, start + len(here))[:, None]  # each pair once
            miss = (e[here] @ e[images].T) < np.float32(threshold)
            of_low = low[here][:, None] | low[images]
            for row, chosen in enumerate((later & of_low, later & ~of_low)):
                pairs[row, subject] += np.count_nonzero(chosen)
                missed[row, subject] += np.count_nonzero(chosen & miss)
    few, most = (_share(name, all_, some, at) for name, all_, some in zip(names, pairs, missed, strict=True))
    return few, most


def spearman(x: ArrayLike, y: ArrayLike) -> tuple[float, Floats]:
    """Spearman's rho of two vectors [N], ties at their middle rank, and the influence [N] of each place.

    Raises:
        BadInput: shapes that differ, or a vector that is constant.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size or not np.ptp(a) or not np.ptp(b):
        raise BadInput(f"A rank correlation needs two vectors of one length that vary; given {a.shape} and {b.shape}.")
    n = a.size
    f, g = (_ranks(values) / n for values in (a, b))  # in 0 .. 1, mean 1/2
    rho = float(np.corrcoef(f, g)[0, 1])
    psi = 12 * (f * g + _above(a, g) + _above(b, f)) / n
    return rho, psi - psi.mean()


def fisher(value: float, error: float, freedom: float) -> tuple[float, float]:
    """95 % interval of a correlation whose standard error has ``freedom`` degrees of freedom."""
    inside = min(max(value, -1 + 1e-12), 1 - 1e-12)
    z, reach = np.arctanh(inside), float(stdtrit(freedom, 0.5 + LEVEL / 2)) * error / (1 - inside**2)
    return float(np.tanh(z - reach)), float(np.tanh(z + reach))


def _ranks(values: Floats) -> Floats:
    """Middle ranks less one half: mean n / 2."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends: Floats = np.cumsum(counts).astype(np.float64)
    return (ends - counts / 2)[place]


def _above(values: Floats, other: Floats) -> Floats:
    """For each i the mean over j of other_j where values_j > values_i, and half of it where they are equal."""
    _, place = np.unique(values, return_inverse=True)
    per = np.bincount(place, other)
    behind = per[::-1].cumsum()[::-1]  # of this value and larger ones
    return np.asarray((behind - per / 2)[place] / values.size, dtype=np.float64)


def _share(name: str, pairs: Floats, missed: Floats, at: float | None) -> NormNumber:
    n, people = int(pairs.sum()), int(np.count_nonzero(pairs))
    if n < EXPECTED_ERRORS or people < 2:
        reason = f"{n} genuine pairs of {people} identities; at least {EXPECTED_ERRORS} of two are needed"
        return _missing(name, n, people, reason)._replace(at=at)
    value = float(missed.sum() / n)
    psi = (missed - value * pairs) / n
    sure = subject_wilson(value, vector_variance(psi), n, people)
    return NormNumber(name, value, sure.low, sure.high, n, people, MEASURED, psi, at)


def _missing(metric: str, number: int, subjects: int, note: str) -> NormNumber:
    return NormNumber(metric, None, None, None, number, subjects, NOT_MEASURABLE, None, None, note)
