"""Protocols: embeddings and labels in, measured rows and curves out, ready for the records.

    judge_pairs        a pair list with folds: accuracy by folds, TAR at FAR, EER, AUC      "ten folds"
    judge_matrix       every pair of a labelled set: TAR at FAR, EER, AUC                   "cross-matrix"
                       "tar by identity" is the mean over identities of their own TAR: where one person has a large
                       share of the genuine pairs (in LFW one of 1,680 has 58 %), "tar" is nearly that person's alone
    judge_rank         leave one out: rank-k identification in a closed gallery              "rank"
    judge_closed_set   a linear classifier on training embeddings, judged on test images     "closed set"

What the data cannot support comes back with status "not measurable" and no value. Input that cannot be meant (NaN,
wrong shapes, a single identity) is refused with BadInput.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate import linear, scale
from faceloss.evaluate.cells import (
    MEASURED,
    Cmc,
    Judged,
    Measured,
    Progress,
    Unit,
    cell,
    codes,
    missing,
    pair_cosines,
    pair_subjects,
    unit,
)
from faceloss.evaluate.metrics import (
    EXPECTED_ERRORS,
    FAR_GRID,
    Ints,
    cmc,
    measurable,
    ten_folds,
)
from faceloss.evaluate.statistics import pair_influence, sums
from faceloss.evaluate.verification import Verification, verify_pairs

RANKS = (1, 5, 10)
SHOWN_FAR = (1e-3, 1e-2, 1e-1)  # the score histogram marks the threshold of the first that is measurable


def few_pairs(genuine: int, impostor: int, mated: int) -> str:
    """Why EER, AUC and accuracy cannot be measured of so many pairs and identities with two images, or ""."""
    if min(genuine, impostor) < EXPECTED_ERRORS:
        return f"{genuine} genuine and {impostor} impostor pairs; at least {EXPECTED_ERRORS} of each are needed"
    return "" if mated > 1 else "only one identity has two images; at least two are needed"


def _verification(protocol: str, found: Verification, note: str = "") -> tuple[Measured, ...]:
    few = few_pairs(found.genuine, found.impostor, found.mated)
    everything = found.genuine + found.impostor
    rows = []
    given = {point.far: point for point in found.points if point.far is not None}
    for far in sorted({*FAR_GRID, *given}, reverse=True):
        point = given.get(far)
        if not few and point is None and measurable(far, found.impostor):
            continue  # not asked for
        if few or point is None:
            reason = few or f"needs {EXPECTED_ERRORS / far:,.0f} impostor pairs, there are {found.impostor:,}"
            rows.append(missing(protocol, "tar", far, found.genuine, found.subjects, reason))
        else:
            rows.append(
                cell(protocol, "tar", far, point.value, point.influence, found.genuine, found.mated, point.attained,
                      point.threshold, note)
            )  # fmt: skip
    if protocol == "cross-matrix" and not few:
        for point in found.even:
            rows.append(
                cell(protocol, "tar by identity", point.far, point.value, point.influence, found.genuine, found.mated,
                      point.attained, point.threshold, note)
            )  # fmt: skip
    for name, point in (("eer", found.eer), ("auc", found.auc)):
        if not few and point is None:
            continue
        if few or point is None:
            rows.append(missing(protocol, name, None, everything, found.subjects, few))
        else:
            extra = f"histogram bins: off by at most {found.auc_error:.1e}" if name == "auc" and found.auc_error else ""
            text = "; ".join(part for part in (note, extra) if part)
            rows.append(
                cell(
                    protocol,
                    name,
                    None,
                    point.value,
                    point.influence,
                    everything,
                    found.mated,
                    None,
                    point.threshold,
                    text,
                )
            )
    return tuple(rows)


def _judged(rows: tuple[Measured, ...], found: Verification) -> Judged:
    marked = {row.at: row for row in rows if row.metric == "tar" and row.status == MEASURED}
    shown = next((marked[far] for far in SHOWN_FAR if far in marked), None)
    det = found.det if found.det.far.size and marked else None
    return Judged(rows, det, found.scores, shown.threshold if shown else None, shown.at if shown else None)


def checked_pairs(
    images: int, first: ArrayLike, second: ArrayLike, same: ArrayLike
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Two rows of the embeddings of ``images`` images each, and whether they are of one person; else refused."""
    a, b, flags = (np.asarray(part) for part in (first, second, same))
    if a.ndim != 1 or not a.shape == b.shape == flags.shape or not a.size:
        raise BadInput(
            f"first {a.shape}, second {b.shape} and same {flags.shape} must be flat, equally long and not empty."
        )
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise BadInput(f"Pairs must be whole row numbers of the embeddings, not {a.dtype} and {b.dtype}.")
    if min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= images:
        raise BadInput(
            f"A pair names image {max(int(a.max()), int(b.max()))} or a negative one; images are 0 to {images - 1}."
        )
    if not np.isin(flags, (0, 1)).all():
        raise BadInput("The same-flag of every pair must be 0 or 1 (False or True).")
    if np.any(a == b):
        raise BadInput(
            f"{int(np.count_nonzero(a == b))} pairs compare an image with itself; take them out of the list."
        )
    return a.astype(np.int64), b.astype(np.int64), flags.astype(bool)


def judge_pairs(
    embeddings: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    same: ArrayLike,
    fold: ArrayLike | None = None,
    identities: ArrayLike | None = None,
) -> Judged:
    """A pair list. ``embeddings`` [N,D] raw or unit; ``first``, ``second`` [M] rows of it; ``same``, ``fold`` [M].

    ``identities`` [N] names the subject of each image. Without it (a .bin file has none) every pair counts as having
    subjects of its own; the intervals are then too narrow where subjects repeat, and the rows' note says so.
    """
    e = unit(embeddings)
    a, b, flags = checked_pairs(len(e), first, second, same)
    one = two = None
    if identities is not None:
        code, _ = codes(identities, len(e))
        one, two = code[a], code[b]
    return judge_scores(pair_cosines(e, a, b), flags, one, two, fold)


def judge_scores(
    scores: ArrayLike,
    same: ArrayLike,
    first: ArrayLike | None = None,
    second: ArrayLike | None = None,
    fold: ArrayLike | None = None,
) -> Judged:
    """A pair list without its embeddings. ``scores`` [M], higher for more alike; ``same``, ``fold`` [M].

    ``first``, ``second`` [M] name the subjects of each pair. Without them every pair counts as having subjects of its
    own; the intervals are then too narrow where subjects repeat, and the rows' note says so.
    """
    score, flags = np.asarray(scores, dtype=np.float64), np.asarray(same)
    if score.ndim != 1 or score.shape != flags.shape or not score.size:
        raise BadInput(f"Scores {score.shape} and same {flags.shape} must be flat, equally long and not empty.")
    if not np.isfinite(score).all():
        bad = int(np.count_nonzero(~np.isfinite(score)))
        raise BadInput(f"{bad} of {score.size} scores are NaN or infinite; every score must be a finite number.")
    if not np.isin(flags, (0, 1)).all():
        raise BadInput("The same-flag of every pair must be 0 or 1 (False or True).")
    flags = flags.astype(bool)
    one = two = None
    if first is not None and second is not None:
        names = np.concatenate([np.asarray(first), np.asarray(second)])
        both, _ = codes(names, 2 * score.size, "subjects of the pairs")
        one, two = both[: score.size], both[score.size :]
    one, two, subjects, note = pair_subjects(flags, one, two)

    genuine, impostor = int(flags.sum()), int((~flags).sum())
    few = few_pairs(genuine, impostor, int(np.unique(one[flags]).size))
    found = verify_pairs(score, flags, one, two, subjects) if genuine and impostor else None
    rows: list[Measured] = []
    folds = np.asarray(fold) if fold is not None else None
    if folds is not None and folds.shape != score.shape:
        raise BadInput(f"{folds.shape} folds were given for {score.size} pairs; give one per pair.")
    reason = few or ("the list has no folds" if folds is None or np.unique(folds).size < 2 else "")
    if reason or folds is None:
        rows.append(missing("ten folds", "accuracy", None, score.size, subjects, reason))
    else:
        result = ten_folds(score, flags, folds)
        names, place, sizes = np.unique(folds, return_inverse=True, return_counts=True)
        weight = 1 / (names.size * sizes[place])  # a mean over folds of means over pairs
        residual = weight * (result.correct - result.mean)
        psi = pair_influence(residual, one, two, subjects)
        rows.append(cell("ten folds", "accuracy", None, result.mean, psi, score.size, subjects, note=note))
    if found is None:
        rows += [missing("ten folds", "tar", far, genuine, subjects, few) for far in FAR_GRID]
        rows += [missing("ten folds", name, None, score.size, subjects, few) for name in ("eer", "auc")]
        return Judged(tuple(rows))
    judged = _judged((*rows, *_verification("ten folds", found, note)), found)
    return judged if np.abs(score).max() <= 1 + 1e-6 else judged._replace(scores=None)  # its bins are for cosines


def _labelled(embeddings: ArrayLike, identities: ArrayLike) -> tuple[Unit, Ints, int]:
    e = unit(embeddings)
    code, subjects = codes(identities, len(e))
    if subjects < 2:
        raise BadInput(
            f"All {len(e)} images belong to one identity; at least two are needed to compare different people."
        )
    return e, code, subjects


def judge_matrix(
    embeddings: ArrayLike,
    identities: ArrayLike,
    progress: Progress | None = None,
    *,
    fars: Sequence[float] | None = None,
    workers: int = 1,
) -> Judged:
    """Every pair of a labelled set. ``embeddings`` [N,D] raw or unit, ``identities`` [N] strings or integers.

    ``fars`` asks for TAR at these FARs alone, which takes a screen of all pairs instead of all their scores; sets of
    more than ``scale.WHOLE`` pairs are judged so by default. ``workers`` processes share what takes long.
    """
    e, code, subjects = _labelled(embeddings, identities)
    sizes = np.bincount(code)
    genuine = int(np.sum(sizes * (sizes - 1) // 2))
    impostor = len(e) * (len(e) - 1) // 2 - genuine
    if not genuine:
        few = few_pairs(genuine, impostor, 0)
        rows = [missing("cross-matrix", "tar", far, 0, subjects, few) for far in FAR_GRID]
        rows += [missing("cross-matrix", name, None, impostor, subjects, few) for name in ("eer", "auc")]
        return Judged(tuple(rows))
    found = scale.verify(e, code, subjects, progress, fars, workers)
    return _judged(_verification("cross-matrix", found, scale.copies(e, code)), found)


def judge_rank(
    embeddings: ArrayLike,
    identities: ArrayLike,
    at: Sequence[int] = RANKS,
    progress: Progress | None = None,
    workers: int = 1,
) -> Judged:
    """Leave one out: each image searched among all others, rank of its first mate. Images without a mate stay as
    distractors.

    The interval is over the probes' subjects; the gallery is held fixed.
    """
    e, code, subjects = _labelled(embeddings, identities)
    ranks = scale.ranks(e, code, progress, workers)
    probes = ranks > 0
    n, mated = int(probes.sum()), int(np.unique(code[probes]).size)
    rows = []
    for k in at:
        if n < EXPECTED_ERRORS or mated < 2:
            note = (
                f"{n} probes of {mated} identities with a mate; at least {EXPECTED_ERRORS} of two identities are needed"
            )
            rows.append(missing("rank", "rank", float(k), n, subjects, note))
            continue
        hit = (ranks <= k) & probes
        value = float(hit.sum() / n)
        psi = sums(code, np.where(probes, hit - value, 0.0) / n, subjects)
        rows.append(cell("rank", "rank", float(k), value, psi, n, mated))
    return Judged(tuple(rows), cmc=_cmc(ranks[probes]) if n >= EXPECTED_ERRORS and mated > 1 else None)


def _cmc(ranks: Ints) -> Cmc:
    """From the rank of each probe's first mate; every rank up to 10, then some 40 more."""
    last = int(ranks.max())
    at = np.unique(np.concatenate([np.arange(1, 11), np.geomspace(10, max(last, 10), 40).round()])).astype(np.int64)
    at = at[at <= last]
    return Cmc(at, cmc(ranks, at.tolist()))


def judge_closed_set(
    train_embeddings: ArrayLike,
    train_identities: ArrayLike,
    test_embeddings: ArrayLike,
    test_identities: ArrayLike,
    progress: Progress | None = None,
) -> Judged:
    """A linear classifier trained on the training embeddings names the test images; accuracy, by subjects.

    Every test identity must be among the training identities. The classifier is held fixed in the interval.
    """
    x, z = unit(train_embeddings, "training embeddings"), unit(test_embeddings, "test embeddings")
    if x.shape[1] != z.shape[1]:
        raise BadInput(
            f"Training embeddings have {x.shape[1]} dimensions, test embeddings {z.shape[1]}; use one network."
        )
    y, classes = codes(train_identities, len(x), "training identities")
    wanted = np.asarray(test_identities)
    codes(wanted, len(z), "test identities")
    if classes < 2:
        raise BadInput("All training images belong to one identity; a classifier needs at least two.")
    names = np.unique(np.asarray(train_identities))
    if (names.dtype.kind in "iu") != (wanted.dtype.kind in "iu"):
        raise BadInput("Training and test identities are of different kinds (names and numbers); use one kind.")
    absent = np.unique(wanted[~np.isin(wanted, names)])
    if absent.size:
        raise BadInput(f"{absent.size} test identities (first: {absent[0]}) have no training image; add some.")
    truth = np.searchsorted(names, wanted)
    if len(z) < EXPECTED_ERRORS:
        note = f"{len(z)} test images; at least {EXPECTED_ERRORS} are needed"
        return Judged((missing("closed set", "accuracy", None, len(z), classes, note),))
    right = linear.train(x, y, classes, progress=progress).predict(z) == truth
    value = float(right.mean())
    psi = sums(truth, (right - value) / len(z), classes)
    return Judged((cell("closed set", "accuracy", None, value, psi, len(z), int(np.unique(truth).size)),))
