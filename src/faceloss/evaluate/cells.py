"""One cell: a value, how sure it is, what it rests on; and what embeddings and identities must be to be judged."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.metrics import Floats, Ints
from faceloss.evaluate.statistics import Interval, subject_wilson, vector_variance
from faceloss.evaluate.verification import Det, ScoreHistogram

Progress = Callable[[str, int, int], None]
Unit = NDArray[np.float32]

MEASURED, NOT_MEASURABLE = "measured", "not measurable"


class Measured(NamedTuple):
    """One cell: what was measured, by what, how surely."""

    protocol: str  # ten folds | cross-matrix | rank | closed set
    metric: str  # accuracy | tar | tar by identity | eer | auc | rank
    at: float | None  # the FAR, or k
    value: float | None
    low: float | None  # 95 %, by subjects
    high: float | None
    pairs: int  # comparisons (or probes, or test images) behind the value
    effective: float | None  # independent comparisons that would be as sure
    status: str  # measured | not measurable
    attained: float | None  # attained FAR
    influence: Floats | None  # [S] per subject, in the order of the sorted identities
    subjects: int
    threshold: float | None = None
    note: str = ""
    gallery: int | None = None  # identities enrolled, or distractors, where the number depends on them
    group: str = ""  # of people or images, where the number is of one group
    corruption: str = ""  # of the probes, where they were corrupted; "all" of a mean over several
    level: int | None = None  # of the corruption, 0 = clean; None also of a mean over levels


class Cmc(NamedTuple):
    """The cumulative match characteristic: share of the probes whose first mate is among the first k of the gallery."""

    rank: Ints  # [T] 1, 2, ... up to where every probe has found one
    rate: Floats  # [T]


class Judged(NamedTuple):
    rows: tuple[Measured, ...]
    det: Det | None = None
    scores: ScoreHistogram | None = None
    threshold: float | None = None  # marked in the score histogram
    threshold_far: float | None = None
    cmc: Cmc | None = None


def unit(embeddings: ArrayLike, what: str = "embeddings") -> Unit:
    """[N,D] float32 of unit length; refuses what has no direction."""
    raw = np.asarray(embeddings)
    if raw.ndim != 2 or not raw.size or raw.dtype.kind not in "fiu":
        raise BadInput(f"The {what} have shape {raw.shape} and type {raw.dtype}; give a row of numbers per image.")
    e = raw.astype(np.float32)
    if not np.isfinite(e).all():
        bad = int(np.count_nonzero(~np.isfinite(e).all(axis=1)))
        raise BadInput(f"{bad} of {len(e)} {what} hold NaN or infinity; the run diverged or the file is damaged.")
    largest = np.abs(e).max(axis=1)
    if not largest.all():
        raise BadInput(
            f"{np.count_nonzero(largest == 0)} of {len(e)} {what} are zero vectors without a direction; leave them out."
        )
    e /= largest[:, None]  # so that the norm neither overflows nor underflows
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    return e


def pair_cosines(e: NDArray[Any], first: Ints, second: Ints) -> Floats:
    """[M] float64 inner products of the rows ``first`` and ``second`` [M] of ``e`` [N,D]; some at a time, so that the
    15.7 million pairs of IJB-C take 64 MiB beside their scores."""
    found = np.empty(len(first))
    step = max(1, 2**22 // e.shape[1])
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        a, b = (e[rows[part]].astype(np.float64) for rows in (first, second))
        found[part] = np.einsum("md,md->m", a, b)
    return found


def codes(identities: ArrayLike, n: int, what: str = "identities", *, nameless: bool = False) -> tuple[Ints, int]:
    """Identities (strings or integers) as 0..S-1 in sorted order; an empty name is refused unless ``nameless``."""
    names = np.asarray(identities)
    if names.shape != (n,) or names.dtype.kind not in "iuUS":
        raise BadInput(
            f"The {what} have shape {names.shape} and type {names.dtype}; give one for each of {n} images, a name or a "
            "whole number."
        )
    empty = 0 if nameless or names.dtype.kind in "iu" else int(np.count_nonzero(np.char.str_len(names) == 0))
    if empty:
        raise BadInput(f"{empty} of {n} {what} are empty; name the person on every image, or leave the images out.")
    found, code = np.unique(names, return_inverse=True)
    return code.astype(np.int64), len(found)


def pair_subjects(same: NDArray[np.bool_], one: Ints | None, two: Ints | None) -> tuple[Ints, Ints, int, str]:
    """The subjects of pairs, those that occur as 0..S-1: first, second [M], S, and a note on them.

    Without ``one``, ``two`` [M] every pair has subjects of its own. Refuses pairs that are marked against them.
    """
    note = ""
    if one is None or two is None:
        note = "subjects unknown: every pair counted as its own"
        one = np.arange(same.size) * 2
        two = np.where(same, one, one + 1)
    elif np.any((one == two) != same):
        wrong = int(np.count_nonzero((one == two) != same))
        raise BadInput(f"{wrong} pairs are marked same or different against their identities; correct the list.")
    _, both = np.unique(np.concatenate([one, two]), return_inverse=True)
    return both[: same.size], both[same.size :], int(both.max()) + 1, note


def cell(
    protocol: str,
    metric: str,
    at: float | None,
    value: float,
    influence: Floats,
    pairs: int,
    subjects: int,
    attained: float | None = None,
    threshold: float | None = None,
    note: str = "",
) -> Measured:
    sure: Interval = subject_wilson(value, vector_variance(influence), pairs, subjects)
    return Measured(
        protocol, metric, at, value, sure.low, sure.high, pairs, sure.effective, MEASURED, attained, influence,
        influence.size, threshold, note,
    )  # fmt: skip


def missing(protocol: str, metric: str, at: float | None, pairs: int, subjects: int, note: str) -> Measured:
    return Measured(
        protocol, metric, at, None, None, None, pairs, None, NOT_MEASURABLE, None, None, subjects, None, note
    )
