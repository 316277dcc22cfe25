"""Pair lists of several groups, each with folds of its own, as in RFW (Wang et al., ICCV 2019)."""

import numpy as np
from numpy.typing import ArrayLike

from faceloss.errors import BadInput
from faceloss.evaluate.cells import MEASURED, Judged, Measured, cell, codes, missing, unit
from faceloss.evaluate.protocols import judge_pairs

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
    group is, and not what one threshold does to it (:func:`faceloss.evaluate.groups.judge_groups` does).

    ``groups`` [N] text, one per image; both images of a pair are of one group. Rows carry ``group``; those without are
    the mean of the groups' accuracies, "lowest accuracy" with the group in its note, and "spread", the standard
    deviation over groups (n - 1), which has no interval. No subject is in two groups.
    """
    e, names = unit(embeddings), np.asarray(groups)
    a, b, flags = np.asarray(first), np.asarray(second), np.asarray(same)
    if names.shape != e.shape[:1] or names.dtype.kind != "U":
        raise BadInput(
            f"The groups have shape {names.shape} and type {names.dtype}; give one text for each of {len(e)}."
        )
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
