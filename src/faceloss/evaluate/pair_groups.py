"""Pair lists of several groups, as in RFW (Wang et al., ICCV 2019).

judge_pairs_by_group    each group by itself, at thresholds of its own: how hard is it?
judge_pair_groups       all groups at ONE threshold: what does one system do to each?
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.cells import (
    MEASURED,
    Judged,
    Measured,
    cell,
    codes,
    missing,
    pair_cosines,
    pair_subjects,
    unit,
)
from faceloss.evaluate.groups import ACCURACY, MOST_GROUPS, GroupRate, checked_groups, compared, missing_rate, rates_of
from faceloss.evaluate.metrics import Ints, ten_folds
from faceloss.evaluate.pairing import Listed
from faceloss.evaluate.protocols import checked_pairs, few_pairs, judge_pairs
from faceloss.evaluate.statistics import pair_influence, subject_wilson, vector_variance

PROTOCOL = "ten folds by group"


def judge_pairs_by_group(
    embeddings: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    same: ArrayLike,
    fold: ArrayLike | None,
    groups: ArrayLike,
    identities: ArrayLike | None = None,
) -> Judged:
    """Every group's pairs judged by themselves: thresholds, too, are each group's own, so that this says how hard a
    group is, and not what one threshold does to it (:func:`judge_pair_groups` does).

    ``groups`` [N] text, one per image; both images of a pair are of one group. Rows carry ``group``; those without are
    the mean of the groups' accuracies, "lowest accuracy" with the group in its note, and "spread", the standard
    deviation over groups (n - 1), which has no interval. No subject is in two groups.
    """
    e = unit(embeddings)
    names = checked_groups(groups, len(e))
    a, b, flags = np.asarray(first), np.asarray(second), np.asarray(same)
    if a.ndim != 1 or a.shape != b.shape or not a.size or min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= len(e):
        raise BadInput(f"Pairs must be two rows of the embeddings each, 0 to {len(e) - 1}.")
    if np.any(names[a] != names[b]):
        mixed = int(np.count_nonzero(names[a] != names[b]))
        raise BadInput(f"{mixed} pairs compare images of two groups; in this protocol every pair is within a group.")
    if identities is not None:
        people = np.asarray(identities)
        if people.shape != names.shape:
            raise BadInput(f"The identities have shape {people.shape}; give one for each of {len(e)} images.")
        both = np.stack([codes(people, len(e))[0], codes(names, len(e), "groups", nameless=True)[0]])
        if np.unique(both, axis=1).shape[1] > np.unique(both[0]).size:
            raise BadInput("An identity has images in two groups; in this protocol everyone is in one.")
    rows: list[Measured] = []
    heads: list[Measured] = []
    for name in np.unique(names[a]):
        own = names[a] == name
        if str(name) == "":
            raise BadInput(f"{int(own.sum())} pairs have no group; name one for every image of the list.")
        folds = None if fold is None else np.asarray(fold)[own]
        judged = judge_pairs(embeddings, a[own], b[own], flags[own], folds, identities)
        found = [row._replace(protocol=PROTOCOL, group=str(name)) for row in judged.rows]
        heads.append(next(row for row in found if row.metric == "accuracy"))
        rows += found
    return Judged((*_over_groups(heads), *rows))


def _over_groups(heads: list[Measured]) -> list[Measured]:
    pairs, subjects = sum(row.pairs for row in heads), sum(row.subjects for row in heads)
    few = [row.group for row in heads if row.status != MEASURED]
    if few or len(heads) < 2:
        note = f"not measurable in {', '.join(few)}" if few else "one group only"
        return [
            missing(PROTOCOL, name, None, pairs, subjects, note) for name in ("accuracy", "lowest accuracy", "spread")
        ]
    values = np.array([row.value for row in heads], dtype=np.float64)
    psi = np.concatenate([row.influence for row in heads if row.influence is not None]) / len(heads)
    mean = cell(PROTOCOL, "accuracy", None, float(values.mean()), psi, pairs, subjects, note="mean over groups")
    worst, best = heads[int(values.argmin())], heads[int(values.argmax())]
    errors = (1 - values.min()) / (1 - values.max()) if values.max() < 1 else float("inf")
    note = f"{worst.group}; its errors are {errors:.2f} times those of {best.group}"
    lowest = worst._replace(metric="lowest accuracy", group="", note=note)
    spread = missing(PROTOCOL, "spread", None, pairs, subjects, "standard deviation over groups")
    return [mean, lowest, spread._replace(value=float(values.std(ddof=1)), status=MEASURED)]


def judge_pair_groups(
    embeddings: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    same: ArrayLike,
    fold: ArrayLike | None,
    groups: ArrayLike,
    identities: ArrayLike | None = None,
    far: float | None = None,
) -> tuple[GroupRate, ...]:
    """All groups of a pair list at one threshold, over the pairs ``first``, ``second``, ``same``, ``fold`` [M].

    FMR and FNMR (1 - TAR) at the threshold of one FAR over the impostor pairs of all groups together, as in
    :func:`faceloss.evaluate.groups.judge_groups`, which says what ``far`` is by default and what cannot be measured.
    FMR between two groups only where the list compares them; that of RFW does not. And

        accuracy(g) = mean over the folds of the share of the pairs within g that are judged right,

    each fold at the threshold that is best on the other folds of all groups together. Its interval is that of the pairs
    at these thresholds, which are held fixed; a gap or ratio of accuracies is one of errors, 1 - accuracy.

    ``groups`` [N] text, one for each image ("" = unknown: its pairs take no part); ``identities`` [N] where known, as
    in :func:`faceloss.evaluate.protocols.judge_pairs`. Influences are over the subjects of the pairs that take part.

    Raises:
        BadInput: fewer than two groups with a pair, more than 32; pairs that cannot be meant; no direction.
    """
    e = unit(embeddings)
    names = checked_groups(groups, len(e))
    a, b, flags = checked_pairs(len(e), first, second, same)
    known = (names[a] != "") & (names[b] != "")
    folds = None if fold is None else np.asarray(fold)[known]
    a, b, flags = a[known], b[known], flags[known]
    found, group = np.unique(np.stack([names[a], names[b]]), return_inverse=True)
    if not 2 <= len(found) <= MOST_GROUPS:
        shown = ", ".join(found[:5].tolist())
        raise BadInput(f"Pairs of {len(found)} groups were given ({shown}); 2 to {MOST_GROUPS} can be compared.")
    code = None if identities is None else codes(identities, len(e))[0]
    one, two, subjects, note = pair_subjects(flags, *((None, None) if code is None else (code[a], code[b])))
    low, high = np.sort(group.reshape(2, -1).astype(np.int64), axis=0)
    left = f"{np.count_nonzero(~known)} pairs of images without a group left out" if not known.all() else ""
    note = "; ".join(part for part in (note, left) if part)
    pairs = Listed(a, b, one, two, low, high, subjects, len(found))
    rates = rates_of(e, pairs, subjects, found.tolist(), far, note)
    accuracies = _accuracies(pair_cosines(e, a, b), flags, folds, pairs, found.tolist(), note)
    return (*rates, *accuracies, *compared(ACCURACY, accuracies))


def _accuracies(
    score: NDArray[np.float64], same: NDArray[np.bool_], fold: Ints | None, pairs: Listed, names: list[str], note: str
) -> list[GroupRate]:
    able = fold is not None and np.unique(fold).size > 1
    right = ten_folds(score, same, fold).correct if fold is not None and able else np.zeros_like(same)
    rates = []
    for g, name in enumerate(names):
        own = (pairs.low == g) & (pairs.high == g)
        a, b, n = pairs.one[own], pairs.two[own], int(own.sum())
        genuine = a == b
        few = few_pairs(int(genuine.sum()), int((~genuine).sum()), int(np.unique(a[genuine]).size))
        if few or fold is None or not able:
            rates.append(missing_rate(ACCURACY, name, "", None, n, few or "the list has no folds"))
            continue
        blocks, place, sizes = np.unique(fold[own], return_inverse=True, return_counts=True)
        weight = 1 / (blocks.size * sizes[place])  # a mean over folds of means over pairs
        value = float(np.sum(weight * right[own]))
        psi = pair_influence(weight * (right[own] - value), a, b, pairs.subjects)
        sure = subject_wilson(value, vector_variance(psi), n, np.unique([a, b]).size)
        wrong = int(np.count_nonzero(~right[own]))
        sides = (value, sure.low, sure.high, wrong, n, sure.effective)
        rates.append(GroupRate(ACCURACY, name, "", None, None, None, *sides, MEASURED, psi, note))
    return rates
