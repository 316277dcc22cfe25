"""The largest impostor scores among all pairs of a labelled set: exact thresholds at the smallest FARs.

At FAR f of I impostor pairs at most k = floor(f I) may be accepted, so the threshold lies just above the (k+1)-th
largest impostor score. Of a million million pairs at FAR 1e-9 that is a thousand scores: nothing else need be known
exactly. Blocks of rows and columns go through a coarse product (``screen``); the few pairs that its bound leaves near
or above the largest k + 1 so far are scored exactly (``exact``). The result is that of scoring every pair.

The first guess of the (k+1)-th score comes from a sample of pairs. It decides how much work there is, never the
result: if fewer than k + 1 pairs turn out to lie above it, the work is done again without it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceloss.errors import BadInput
from faceloss.matching.exact import least, pair_scores
from faceloss.matching.screen import FEW, KINDS, Screened, bound, candidates, rates, screened, side
from faceloss.matching.workers import Arrays, each, flat, whole

Progress = Callable[[str, int, int], None]

ROWS, COLUMNS = 512, 2048  # 4 MiB of numbers a block
SAMPLED = (1024, 2048)  # rows and columns of the sample
PER_PAIR = 3e-9  # seconds to score one pair exactly, per dimension
MOST = 20_000_000  # pairs that are kept
MATES = 2**20  # genuine pairs scored at a time


class Largest(NamedTuple):
    """The impostor pairs whose score is above that of the (k+1)-th, largest first."""

    kept_out: float  # the (k+1)-th largest score; a threshold just above it accepts these pairs and no others
    scores: NDArray[np.float32]  # [m] falling, m <= k; fewer where scores tie with the (k+1)-th
    first: NDArray[np.int64]  # [m] images, as numbered in the input
    second: NDArray[np.int64]  # [m]
    impostors: int
    screen: str  # what went through all pairs: int8 | bfloat16 | float32

    def at(self, k: int) -> float:
        """The (k+1)-th largest score, for any k up to that of the search."""
        return float(self.scores[k]) if k < len(self.scores) else self.kept_out


class Tops:
    """The largest scores seen so far, and the pairs they belong to."""

    def __init__(self, k: int, bar: float = -np.inf):
        self.k = k
        self.bar = bar  # only scores above it matter
        self.proven = bar == -np.inf  # at least k + 1 pairs are known to reach the bar
        none = torch.empty(0, dtype=torch.int64)
        self.parts = [(torch.empty(0), none, none)]
        self.count = 0

    def add(self, score: Tensor, first: Tensor, second: Tensor) -> None:
        above = score > self.bar
        self.parts.append((score[above].cpu(), first[above].cpu(), second[above].cpu()))
        self.count += int(above.sum())
        if self.count > self.k + self.k // 4 + 200:
            self.settle()

    def settle(self) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the pairs above the (k+1)-th score, which is the new bar."""
        score, first, second = (torch.cat(column) for column in zip(*self.parts, strict=True))
        if int((score > self.bar).sum()) > self.k:
            self.bar = float(torch.topk(score, self.k + 1).values.min())
            self.proven = True
        above = score > self.bar
        self.parts = [(score[above], first[above], second[above])]
        self.count = len(self.parts[0][0])
        return self.parts[0]

    def found(self) -> "Found":
        columns = [column.numpy() for column in self.settle()]
        return Found(self.bar, self.proven, *columns)

    def merge(self, other: "Found") -> None:
        """Add what was found elsewhere, above this bar or a higher one that was proven there."""
        if other.proven and other.bar > self.bar:
            self.bar, self.proven = other.bar, True
        self.add(*(torch.from_numpy(column) for column in other[2:]))


class Found(NamedTuple):
    """Tops, ready to be sent to another process."""

    bar: float
    proven: bool
    scores: NDArray[np.float32]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


class Task(NamedTuple):
    """The rows from ``start`` to ``stop`` against all columns after them."""

    facts: tuple[str, float, bool]
    start: int
    stop: int
    k: int
    bar: float


def search_rows(arrays: Arrays, task: Task) -> Found:
    """The impostor pairs of a block of rows whose score is above the bar."""
    faces, labels, start = whole("faces", arrays, task.facts), arrays["labels"], task.start
    tops = Tops(task.k, task.bar)
    mine = faces.part(slice(start, task.stop))
    who = labels[mine.origin]
    out = mine.side.block(faces.side.part(slice(0, COLUMNS)))
    for first in range(start - start % COLUMNS, len(faces.origin), COLUMNS):
        theirs = faces.part(slice(first, first + COLUMNS))
        floor = least(torch.nextafter(torch.tensor(tops.bar), torch.tensor(torch.inf))).to(out.device)

        def impostor(row: Tensor, column: Tensor, first: int = first, theirs: Screened = theirs) -> Tensor:
            real = (theirs.origin[column] >= 0) & (column + first > row + start)  # the partner's row has the others
            return real & (who[row] != labels[theirs.origin[column]])

        row, column = candidates(mine, theirs, floor.expand(len(mine.origin)), impostor, out)
        if len(row):
            i, j = mine.origin[row], theirs.origin[column]
            tops.add(pair_scores(faces.vectors, i, faces.vectors, j), i, j)
    return tops.found()


def sample(vectors: Tensor, labels: Tensor) -> NDArray[np.float32]:
    """Scores of impostor pairs drawn at random."""
    draw = torch.Generator().manual_seed(0)
    rows, columns = (torch.randint(len(vectors), (size,), generator=draw).to(vectors.device) for size in SAMPLED)
    scores = vectors[rows] @ vectors[columns].T
    return scores[labels[rows, None] != labels[None, columns]].cpu().numpy()


def first_guess(drawn: NDArray[np.float32], k: int, impostors: int) -> float:
    """A score that the (k+1)-th largest of all is very probably not below; -inf where the sample is too small."""
    expected = (k + 1) * len(drawn) / impostors
    rank = int(np.ceil(expected + 5 * np.sqrt(expected) + 5))
    return float(np.partition(drawn, len(drawn) - 1 - rank)[-1 - rank]) if rank < len(drawn) else -np.inf


def choose(vectors: Tensor, drawn: NDArray[np.float32], bar: float) -> str:
    """The kind of product that goes through all pairs soonest: its own time, and that of the pairs its bound leaves."""
    some = vectors[:: max(1, len(vectors) // 512)][:512]
    time = {}
    for kind, seconds in rates(vectors.shape[1], vectors.device.type).items():
        one = side(kind, some)
        left = float(np.mean(drawn >= bar - float(bound(one, one).median()))) if len(drawn) else 1.0
        time[kind] = seconds + min(left, FEW) * PER_PAIR * vectors.shape[1]
        if left > FEW:
            time[kind] += rates(vectors.shape[1], vectors.device.type)["float32"]
    return min(time, key=time.__getitem__)


def largest(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    k: int,
    *,
    screen: str = "auto",
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
) -> Largest:
    """The k largest impostor scores over all pairs of ``embeddings`` [N,D] float32 with ``labels`` [N], and the next.

    ``screen`` is int8, bfloat16, float32 or "auto", which takes the fastest here; ``workers`` processes share the rows.
    Neither they nor ``device`` change the result. Memory: the embeddings, a quarter of that (int8), 16 bytes for each
    of 2k pairs, and some 30 MiB a worker. Raises BadInput where there are not k + 1 impostor pairs.
    """
    sizes = np.unique(labels, return_counts=True)[1]
    n = len(labels)
    impostors = int(n * (n - 1) // 2 - np.sum(sizes * (sizes - 1) // 2))
    if not 0 <= k < min(impostors, MOST):
        raise BadInput(
            f"The {k:,} largest of {impostors:,} impostor scores were asked for; fewer than all of them and than "
            f"{MOST:,} can be kept: ask for a smaller FAR."
        )
    if screen not in ("auto", *KINDS):
        raise BadInput(f"There is no screen named {screen}; it is auto, {', '.join(KINDS)}.")
    vectors = torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32)).to(device)
    whose = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64)).to(device)
    drawn = sample(vectors, whose)
    bar = first_guess(drawn, k, impostors)
    kind = choose(vectors, drawn, bar) if screen == "auto" else screen
    arrays, facts = flat("faces", screened(kind, vectors))
    arrays["labels"] = whose
    for tops in (Tops(k, bar), Tops(k)):
        starts = range(0, len(arrays["faces.origin"]), ROWS)
        tasks = (Task(facts, start, start + ROWS, k, tops.bar) for start in starts)
        for done, found in enumerate(each(search_rows, arrays, tasks, workers)):
            tops.merge(found)
            if progress is not None:
                progress("all pairs", done + 1, len(starts))
        _, proven, score, first, second = tops.found()
        if proven:  # else the guess was too high
            break
    first, second = np.minimum(first, second), np.maximum(first, second)
    place = np.lexsort((second, first, -score))
    return Largest(tops.bar, score[place], first[place], second[place], impostors, kind)


def genuine(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], progress: Progress | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores [G] of all genuine pairs, and the first image of each."""
    vectors = torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32))
    order = np.argsort(labels, kind="stable")
    after = np.searchsorted(labels[order], labels[order], "right") - np.arange(len(labels)) - 1  # mates still to come
    ends = np.cumsum(after)
    found, firsts, start = [np.empty(0, np.float32)], [np.empty(0, np.int64)], 0
    while start < len(labels):
        stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + MATES, "right")))
        here = after[start:stop]
        place = np.repeat(np.arange(start, stop), here)
        step = np.arange(len(place)) - np.repeat(np.cumsum(here) - here, here) + 1
        first, second = order[place], order[place + step]
        both = (torch.from_numpy(side) for side in (first, second))
        found.append(pair_scores(vectors, next(both), vectors, next(both)).numpy())
        firsts.append(first)
        start = stop
        if progress is not None:
            progress("genuine pairs", start, len(labels))
    return np.concatenate(found), np.concatenate(firsts)
