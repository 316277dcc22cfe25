"""Robustness: corrupted probes against the gallery as it is, FNMR at one FMR under each corruption and level.

The probe is what the camera saw today, the gallery was enrolled with care: NIST judges masks in this way (FRVT Part 6A
and 6B, NISTIR 8311 and 8331: masked probes, unmasked enrollment). NIST keeps the threshold of clean images; here each
condition has its own, at the same FMR, since at a kept threshold two networks differ in both error rates at once, and
one that takes all bad pictures for one person would look robust.

    labelled set   every image is compared with every other one, clean (gallery) against corrupted (probe), each pair
                   both ways; it counts as one pair. An image is never compared with itself.
    pair list      the first image clean, the second corrupted.

    FNMR            1 - TAR, over pairs; where identities have different numbers of images, the mean over identities
                    ("fnmr by identity"), so that no person decides alone
    level None      the mean over the levels of a corruption, and of corruption "all" over all of them

The FMR is 1e-2, or 1e-1 where the pairs cannot carry that with 30 expected errors. It is not the 1e-3 that ranks losses
on clean images: there a small network rejects nearly all bad probes, and numbers near 1 tell no two losses apart. Level
0 of a labelled set is its cross-matrix: the same pairs, hence the same numbers.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.cells import Measured, Unit, cell, codes, missing, unit
from faceloss.evaluate.matrix import matrix_dyads
from faceloss.evaluate.metrics import EXPECTED_ERRORS, Floats, Ints, allowed_errors, measurable
from faceloss.evaluate.passes import DYADS
from faceloss.evaluate.protocols import judge_pairs, judge_scores
from faceloss.evaluate.statistics import impostor_scale
from faceloss.evaluate.verification import Counts, residuals, slope

FARS = (1e-2, 1e-1)
ROWS = 256
PROTOCOL = "robustness"
CLEAN, ALL = "", "all"  # corruption of level 0; of the mean over all

Scores = NDArray[np.float32]


class Condition(NamedTuple):
    """The probes under one corruption: ``embeddings`` [N,D], in the order of the gallery."""

    corruption: str
    level: int
    embeddings: ArrayLike


class Pairs(NamedTuple):
    """A pair list over the images: rows ``first`` and ``second`` [M], and whether they show one person."""

    first: ArrayLike
    second: ArrayLike
    same: ArrayLike


class Found(NamedTuple):
    """One number of one condition, with what its interval takes."""

    value: float
    influence: Floats  # [S]
    attained: float | None
    threshold: float | None


def judge_robustness(
    embeddings: ArrayLike,
    conditions: Iterable[Condition],
    identities: ArrayLike | None = None,
    pairs: Pairs | None = None,
) -> tuple[Measured, ...]:
    """FNMR of the clean images (level 0), then of each condition, then means over levels and over all.

    ``embeddings`` [N,D] are those of the clean images, ``identities`` [N] who is on them; with a list of ``pairs`` they
    may be unknown. The conditions are asked for one at a time, so that no more than one needs to be in memory. What the
    pairs cannot carry is "not measurable", and so is a condition whose embeddings have no direction.

    Raises:
        BadInput: neither pairs nor identities, or clean embeddings or labels that are none.
    """
    gallery = unit(embeddings)
    if pairs is not None:
        test: _Set | _List = _List.of(gallery, pairs, identities)
    elif identities is not None:
        test = _Set.of(gallery, identities)
    else:
        raise BadInput("Robustness needs to know who is on the images: give identities, or a list of pairs.")
    at = next((far for far in FARS if measurable(far, test.impostor)), FARS[-1])
    few = _too_few(test.genuine, test.impostor, test.mated, at)

    def judge(condition: Condition) -> Measured:
        def refused(why: str) -> Measured:
            row = missing(PROTOCOL, test.metric, at, test.genuine, test.subjects, why)
            return row._replace(corruption=condition.corruption, level=condition.level)

        if few:
            return refused(few)
        try:
            found = test.found(_probes(condition, gallery), at)
        except NoDirection as error:
            return refused(str(error))
        row = cell(
            PROTOCOL, test.metric, at, found.value, found.influence, test.genuine, test.mated, found.attained,
            found.threshold, test.note,
        )  # fmt: skip
        return row._replace(corruption=condition.corruption, level=condition.level)

    rows = [judge(Condition(CLEAN, 0, gallery))]
    rows += [judge(condition) for condition in conditions]
    return (*rows, *_means(rows, test.mated))


class NoDirection(BadInput):
    """Embeddings of a condition that cannot be compared."""


def _probes(condition: Condition, gallery: Unit) -> Unit:
    given = np.asarray(condition.embeddings)
    if given.shape != gallery.shape:
        raise BadInput(
            f"The embeddings under {condition.corruption} {condition.level} have shape {given.shape}, those of the "
            f"clean images {gallery.shape}; give one for each."
        )
    try:
        return unit(given, f"embeddings under {condition.corruption} {condition.level}")
    except BadInput as error:
        raise NoDirection(str(error)) from error


def _too_few(genuine: int, impostor: int, mated: int, far: float) -> str:
    if genuine < EXPECTED_ERRORS or mated < 2:
        return f"{genuine} genuine pairs of {mated} identities; at least {EXPECTED_ERRORS} of two identities are needed"
    if not measurable(far, impostor):
        return f"needs {EXPECTED_ERRORS / far:,.0f} impostor pairs, there are {impostor:,}"
    return ""


def _means(rows: Sequence[Measured], mated: int) -> list[Measured]:
    """The mean over the levels of each corruption, then over all of them; not measurable where one of them is not."""
    names = list(dict.fromkeys(row.corruption for row in rows if row.corruption != CLEAN))
    parts = {name: [row for row in rows if row.corruption == name] for name in names}
    if len(parts) > 1:
        parts[ALL] = [row for row in rows if row.corruption != CLEAN]
    found = []
    for name, own in parts.items():
        first, values = own[0], [row.value for row in own if row.value is not None]
        influences = [row.influence for row in own if row.influence is not None]
        if len(values) < len(own):
            row = missing(PROTOCOL, first.metric, first.at, first.pairs, first.subjects, _why(own))
        else:
            value, psi = float(np.mean(values)), np.mean(influences, axis=0)
            row = cell(PROTOCOL, first.metric, first.at, value, psi, first.pairs, mated, note=first.note)
        found.append(row._replace(corruption=name))
    return found


def _why(rows: Sequence[Measured]) -> str:
    return next(row.note for row in rows if row.value is None)


class _List(NamedTuple):
    """A list of pairs."""

    gallery: Unit
    first: Ints
    second: Ints
    same: NDArray[np.bool_]
    one: Ints | None  # [M] subject of the first image, where known
    two: Ints | None
    genuine: int
    impostor: int
    mated: int
    subjects: int
    note: str
    metric: str = "fnmr"

    @classmethod
    def of(cls, gallery: Unit, pairs: Pairs, identities: ArrayLike | None) -> "_List":
        first, second, same = (np.asarray(part) for part in pairs)
        judge_pairs(gallery, first, second, same, None, identities)  # refuses what cannot be meant
        same = same.astype(bool)
        genuine, impostor = int(same.sum()), int((~same).sum())
        if identities is None:
            note = "subjects unknown: every pair counted as its own"
            return cls(gallery, first, second, same, None, None, genuine, impostor, genuine, len(same), note)
        code, subjects = codes(identities, len(gallery))
        mated = int(np.unique(code[first[same]]).size)
        return cls(
            gallery, first, second, same, code[first], code[second], genuine, impostor, mated, subjects, ""
        )  # fmt: skip

    def found(self, probes: Unit, far: float) -> Found:
        """The FNMR at ``far``, the first image of each pair as it is, the second as ``probes`` [N,D] have it."""
        clean, worse = (part.astype(np.float64) for part in (self.gallery[self.first], probes[self.second]))
        judged = judge_scores(np.einsum("md,md->m", clean, worse), self.same, self.one, self.two)
        row = next(row for row in judged.rows if row.metric == "tar" and row.at == far)
        assert row.value is not None
        assert row.influence is not None
        return Found(1 - row.value, -row.influence, row.attained, row.threshold)


class _Set(NamedTuple):
    """A labelled set, sorted by identity."""

    gallery: Unit  # [N,D]
    subject: Ints  # [N] rising
    order: Ints  # [N] where each row was
    sizes: Ints  # [S]
    genuine: int  # pairs, each of which is compared both ways
    impostor: int
    mated: int
    subjects: int
    metric: str
    note: str = ""

    @classmethod
    def of(cls, gallery: Unit, identities: ArrayLike) -> "_Set":
        code, subjects = codes(identities, len(gallery))
        if subjects < 2:
            raise BadInput(
                f"All {len(gallery)} images belong to one identity; at least two are needed to compare different "
                "people."
            )
        order = np.argsort(code, kind="stable")
        sizes = np.bincount(code).astype(np.int64)
        genuine = int(np.sum(sizes * (sizes - 1) // 2))
        impostor = len(code) * (len(code) - 1) // 2 - genuine
        metric = "fnmr" if np.unique(sizes[sizes > 1]).size < 2 else "fnmr by identity"
        mated = int(np.count_nonzero(sizes > 1))
        return cls(gallery[order], code[order], order, sizes, genuine, impostor, mated, subjects, metric)

    def found(self, probes: Unit, far: float) -> Found:
        """The FNMR at ``far`` of all ordered pairs: the first image as it is, the second as in ``probes`` [N,D]."""
        g, owner, x, ends = self._scores(probes[self.order], 2 * far)
        impostors, own = 2 * self.impostor, self.sizes * (self.sizes - 1)

        def threshold_at(rate: float) -> np.float32:
            place = x.size - 1 - 2 * allowed_errors(rate, self.impostor)  # of the largest score that must stay out
            return np.float32(np.nextafter(np.partition(x, place)[place], np.float32(np.inf)))

        def accepted_of(threshold: np.float32) -> Ints:  # [S] genuine pairs
            return np.bincount(owner[g >= threshold], minlength=self.subjects).astype(np.int64)

        def tar_at(rate: float) -> float:
            accepted = accepted_of(threshold_at(rate))
            return float(np.mean((accepted / np.maximum(own, 1))[own > 0]) if even else accepted.sum() / g.size)

        even, threshold = self.metric == "fnmr by identity", threshold_at(far)
        taken = ends[:, x >= threshold]
        attained = taken.shape[1] / impostors
        touched = np.bincount(taken.ravel(), minlength=self.subjects).astype(np.int64)
        every = 2 * self.sizes * (len(self.subject) - self.sizes)
        psi = residuals(Counts(touched[:, None], every, impostors), 0)
        if taken.shape[1] <= DYADS:
            between = taken.min(axis=0).astype(np.int64) * self.subjects + taken.max(axis=0)
            psi = psi * impostor_scale(psi, matrix_dyads(between, attained, self.sizes, impostors, ways=2))
        accepted = accepted_of(threshold)
        if even:
            share = accepted / np.maximum(own, 1)
            tar = float(share[own > 0].mean())
            genuine_part = np.where(own > 0, share - tar, 0.0) / self.mated
        else:
            tar = float(accepted.sum() / g.size)
            genuine_part = residuals(Counts(accepted[:, None], own, g.size), 0)
        influence = genuine_part - slope(tar_at, attained) * psi
        return Found(1 - tar, -influence, attained, float(threshold))

    def _scores(self, probes: Unit, far: float) -> tuple[Scores, Ints, Scores, NDArray[np.int32]]:
        """All genuine scores and whose they are; the largest impostor scores, as many as ``far`` accepts and one more
        or a few, and the two subjects [2,K] of each: 12 bytes for each, of LFW's 175 million 42 MB, in work thrice."""
        keep = 2 * allowed_errors(far, self.impostor) + 1  # a clean pair scores the same both ways, but for a bit
        n, floor = len(self.subject), np.float32(-2)
        genuine, owner = [], []
        x, ends = np.empty(0, dtype=np.float32), np.empty((2, 0), dtype=np.int32)
        for start in range(0, n, ROWS):
            subject = self.subject[start : start + ROWS]
            scores = self.gallery[start : start + ROWS] @ probes.T  # [r,N]
            left, right = np.searchsorted(self.subject, [subject[0], subject[-1] + 1])  # where mates may be
            row, column = np.nonzero(subject[:, None] == self.subject[left:right])
            column += left
            apart = row + start != column
            genuine.append(scores[row, column][apart])
            owner.append(subject[row][apart])
            scores[row, column] = -np.inf
            flat = np.flatnonzero(scores > floor)
            both = np.stack([subject[flat // n], self.subject[flat % n]]).astype(np.int32)
            x, ends = np.concatenate([x, scores.ravel()[flat]]), np.concatenate([ends, both], axis=1)
            if x.size > 2 * keep:  # what lies below the last of so many is not wanted
                floor = np.nextafter(np.partition(x, -keep)[-keep], np.float32(-2))
                x, ends = x[x > floor], ends[:, x > floor]
        return np.concatenate(genuine), np.concatenate(owner), x, ends
