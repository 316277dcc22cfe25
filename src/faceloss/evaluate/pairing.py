"""Pairs counted by the groups of their two images and by subject: all of a labelled set, in blocks and never N x N, or
those of a list.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from faceloss.evaluate.cells import Progress, Unit, pair_cosines
from faceloss.evaluate.metrics import Floats, Ints
from faceloss.evaluate.statistics import sums
from faceloss.evaluate.stream import COLUMNS, ROWS, Scores

DYADS = 2_000_000  # accepted pairs up to which pairs of the same two subjects are told apart


class Cells(NamedTuple):
    """The impostor pairs between two groups."""

    pairs: int
    accepted: tuple[int, ...]  # at each threshold
    touched: Floats  # [S] accepted pairs at the middle threshold that touch a subject
    all: Floats  # [S] all pairs that touch a subject
    dyad: Ints  # [K] accepted pairs of each two subjects that have one
    expected: Floats  # [K] all pairs of these two
    squares: float  # sum over any two subjects of the square of their pairs

    def dyads(self, share: float) -> float:
        """sum_{a<b} (accepted_ab - share n_ab)^2."""
        if not self.dyad.size:
            return 0.0
        return float(np.sum(self.dyad**2 - 2 * share * self.dyad * self.expected) + share**2 * self.squares)

    @staticmethod
    def counted(pairs: int, errors: int) -> "Cells":
        """Without subjects."""
        none, zero = np.empty(0), np.empty(0, dtype=np.int64)
        return Cells(pairs, (errors, errors, errors), none, none, zero, none, 0.0)


class Genuine(NamedTuple):
    score: Scores  # [G]
    subject: Ints  # [G]
    cell: Ints  # [G] the group where both images are of one, else -1


class Compared(Protocol):
    """Pairs of the rows of embeddings."""

    @property
    def total(self) -> dict[tuple[int, int], int]:
        """Impostor pairs between two groups, (g, g) of every group."""

    def impostor_scores(self, e: Unit, progress: Progress | None) -> Iterator[Scores]:
        """In blocks, the same every time."""

    def accepted(self, e: Unit, thresholds: list[float], progress: Progress | None) -> dict[tuple[int, int], Cells]:
        """Counts at rising thresholds of every cell of ``total``; those by subject at the middle one."""

    def genuine(self, e: Unit) -> Genuine:
        """Scores of the pairs of images of one person."""


class Pairs(NamedTuple):
    """All pairs of a labelled set."""

    subject: Ints  # [N]
    group: Ints  # [N]
    images: Floats  # [S,G] images of each subject in each group
    total: dict[tuple[int, int], int]  # impostor pairs between two groups

    def _blocks(self, e: Unit) -> Iterator[tuple[int, int, Scores, NDArray[np.bool_]]]:
        """Row and column of each block of the upper triangle, its scores, and which are of two different people."""
        n = len(e)
        for row in range(0, n, ROWS):
            here = np.arange(row, min(row + ROWS, n))[:, None]
            for column in range(row, n, COLUMNS):
                there = np.arange(column, min(column + COLUMNS, n))
                apart = self.subject[here] != self.subject[there]
                scores = e[row : row + ROWS] @ e[column : column + COLUMNS].T
                yield row, column, scores, apart & (there > here)

    def impostor_scores(self, e: Unit, progress: Progress | None) -> Iterator[Scores]:
        """In blocks, the same every time."""
        for row, column, scores, wanted in self._blocks(e):
            if progress is not None and row == column:
                progress("threshold of the groups", row + 1, len(e))
            yield scores[wanted]

    def accepted(self, e: Unit, thresholds: list[float], progress: Progress | None) -> dict[tuple[int, int], Cells]:
        """Counts at rising thresholds; those by subject at the middle one."""
        subjects, groups = self.images.shape
        levels = np.array(thresholds, dtype=np.float32)
        middle = len(levels) // 2
        counts = np.zeros((groups * groups, len(levels)), dtype=np.int64)
        touched = np.zeros(subjects * groups * groups)
        kept: list[Ints] = []
        few = 0
        for row, column, scores, wanted in self._blocks(e):
            if progress is not None and row == column:
                progress("groups", row + 1, len(e))
            i, j = np.nonzero(wanted & (scores >= levels[0]))
            level = np.searchsorted(levels, scores[i, j], "right")
            i, j = i + row, j + column
            low, high = np.minimum(self.group[i], self.group[j]), np.maximum(self.group[i], self.group[j])
            place = low * groups + high
            for k in range(len(levels)):
                counts[:, k] += np.bincount(place[level > k], minlength=groups * groups)
            i, j, place = i[level > middle], j[level > middle], place[level > middle]
            for end in (self.subject[i], self.subject[j]):
                np.add.at(touched, end * groups * groups + place, 1.0)
            few += i.size
            if few <= DYADS:
                a, b = np.minimum(self.subject[i], self.subject[j]), np.maximum(self.subject[i], self.subject[j])
                kept.append((a * subjects + b) * groups * groups + place)
        code = np.concatenate(kept) if few <= DYADS else np.empty(0, dtype=np.int64)
        by_subject = touched.reshape(subjects, groups * groups)
        found = {}
        for g, h in self.total:
            place_gh = g * groups + h
            one, two = self.images[:, g], self.images[:, h]
            pair, dyad = np.unique(code[code % (groups * groups) == place_gh] // (groups * groups), return_counts=True)
            a, b = pair // subjects, pair % subjects
            if g == h:
                every = one * (one.sum() - one)
                expected = one[a] * one[b]
                squares = (np.sum(one**2) ** 2 - np.sum(one**4)) / 2
            else:
                every = one * (two.sum() - two) + two * (one.sum() - one)
                expected = one[a] * two[b] + two[a] * one[b]
                mixed = np.sum(one**2 * two**2)
                squares = np.sum(one**2) * np.sum(two**2) + np.sum(one * two) ** 2 - 2 * mixed
            totals = tuple(int(count) for count in counts[place_gh])
            found[g, h] = Cells(
                self.total[g, h],
                totals,
                by_subject[:, place_gh],
                every,
                dyad.astype(np.int64),
                expected,
                float(squares),
            )
        return found

    def genuine(self, e: Unit) -> Genuine:
        """Scores of all pairs of images of one person."""
        order = np.argsort(self.subject, kind="stable")
        sizes = np.bincount(self.subject)
        scores, subjects, cells = [], [], []
        for begin, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
            own = order[begin : begin + size]
            i, j = np.triu_indices(size, 1)
            scores.append((e[own] @ e[own].T)[i, j])
            subjects.append(self.subject[own][i])
            cells.append(np.where(self.group[own][i] == self.group[own][j], self.group[own][i], -1))
        return Genuine(np.concatenate(scores), np.concatenate(subjects), np.concatenate(cells))


def count_pairs(subject: Ints, subjects: int, group: Ints, groups: int) -> Pairs:
    """``subject`` [N] in 0..subjects-1, ``group`` [N] in 0..groups-1."""
    ones = np.ones(len(subject))
    images = sums(subject * groups + group, ones, subjects * groups).reshape(subjects, groups)
    total = {}
    for g, h in combinations_with_replacement(range(groups), 2):
        one, two = images[:, g], images[:, h]
        count = (one.sum() ** 2 - np.sum(one**2)) / 2 if g == h else one.sum() * two.sum() - np.sum(one * two)
        total[g, h] = int(count)
    return Pairs(subject, group, images, total)


class Listed(NamedTuple):
    """The M pairs of a list."""

    first: Ints  # [M] rows of the embeddings
    second: Ints  # [M]
    one: Ints  # [M] the subject of each image, in 0..subjects-1; one == two for genuine pairs
    two: Ints  # [M]
    low: Ints  # [M] the groups of the two images, low <= high
    high: Ints  # [M]
    subjects: int
    groups: int

    @property
    def total(self) -> dict[tuple[int, int], int]:
        """Impostor pairs within every group, and between two groups where there are any."""
        apart = self.one != self.two
        counts = np.bincount((self.low * self.groups + self.high)[apart], minlength=self.groups**2).tolist()
        cells = combinations_with_replacement(range(self.groups), 2)
        return {(g, h): counts[g * self.groups + h] for g, h in cells if g == h or counts[g * self.groups + h]}

    def _scores(self, e: Unit, wanted: NDArray[np.bool_]) -> Scores:
        return pair_cosines(e, self.first[wanted], self.second[wanted]).astype(np.float32)

    def impostor_scores(self, e: Unit, progress: Progress | None) -> Iterator[Scores]:
        yield self._scores(e, self.one != self.two)

    def accepted(self, e: Unit, thresholds: list[float], progress: Progress | None) -> dict[tuple[int, int], Cells]:
        apart = self.one != self.two
        level = np.searchsorted(np.array(thresholds, dtype=np.float32), self._scores(e, apart), "right")
        one, two, low, high = (part[apart] for part in (self.one, self.two, self.low, self.high))
        found = {}
        for (g, h), pairs in self.total.items():
            inside = (low == g) & (high == h)
            a, b, k = one[inside], two[inside], level[inside]
            taken = k > len(thresholds) // 2
            _, dyad = np.unique(np.minimum(a, b) * self.subjects + np.maximum(a, b), return_inverse=True)
            each = np.bincount(dyad).astype(np.float64)  # pairs of the same two subjects
            own = np.bincount(dyad[taken], minlength=each.size)
            touched, every = (
                sums(a[part], np.ones(int(part.sum())), self.subjects)
                + sums(b[part], np.ones(int(part.sum())), self.subjects)
                for part in (taken, np.ones_like(taken))
            )
            counts = tuple(int(np.count_nonzero(k > place)) for place in range(len(thresholds)))
            squares = float(np.sum(each**2))
            found[g, h] = Cells(pairs, counts, touched, every, own[own > 0].astype(np.int64), each[own > 0], squares)
        return found

    def genuine(self, e: Unit) -> Genuine:
        same = self.one == self.two
        cell = np.where(self.low == self.high, self.low, -1)
        return Genuine(self._scores(e, same), self.one[same], cell[same])
