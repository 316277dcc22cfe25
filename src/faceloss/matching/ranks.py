"""Ranks of mates among any number of others, exactly: CMC curves, rank-1 with a million distractors.

    rank of a probe = 1 + number of others whose score with it is at least that of its best mate

A tie counts against the mate, as in ``faceloss.evaluate.metrics.mate_ranks``, which is the same on a whole matrix of
scores. Here a coarse product (``screen``) decides most pairs; those within its bound of the mate's score are decided
by finer products and at last by the exact score.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from faceloss.errors import BadInput
from faceloss.matching.exact import least, pair_scores
from faceloss.matching.gallery import Gallery, Source, gallery, opened, shared
from faceloss.matching.screen import FEW, GROUP, Screened, best_scale, fastest, limits, product, screened, side
from faceloss.matching.vectors import unit, whose
from faceloss.matching.workers import Arrays, each, flat, whole

Progress = Callable[[str, int, int], None]

ROWS, COLUMNS = 512, 4096
MATES = 2**14  # pairs of mates at a time


def mate_scores(probes: Tensor, labels: Tensor, others: Gallery, other_labels: Tensor, itself: bool) -> Tensor:
    """[P] float32: the largest score of each probe with an image of the same label, -inf where there is none.

    ``itself``: the probes are the others, and no image is its own mate."""
    order = torch.argsort(other_labels, stable=True)
    ranked = other_labels[order].contiguous()
    low, high = torch.searchsorted(ranked, labels), torch.searchsorted(ranked, labels, right=True)
    best = torch.full((len(probes),), -torch.inf, device=probes.device)
    ends = torch.cumsum(high - low, 0)
    start = 0
    while start < len(probes):
        before = int(ends[start - 1]) if start else 0
        stop = max(
            start + 1, int(torch.searchsorted(ends, torch.tensor(before + MATES, device=ends.device), right=True))
        )
        counts = (high - low)[start:stop]
        row = torch.repeat_interleave(torch.arange(start, stop, device=probes.device), counts)
        step = torch.arange(len(row), device=probes.device) - torch.repeat_interleave(
            torch.cumsum(counts, 0) - counts, counts
        )
        column = order[low[row] + step]
        if itself:
            row, column = row[row != column], column[row != column]
        if len(row):
            mates = others.unit(column.to(others.vectors.device)).to(probes.device)  # of a file only these are read
            each_mate = torch.arange(len(row), device=probes.device)
            best.scatter_reduce_(0, row, pair_scores(probes, row, mates, each_mate), "amax")
        start = stop
    return best


def best_mates(
    probes: ArrayLike, probe_labels: ArrayLike, others: ArrayLike | Gallery, other_labels: ArrayLike
) -> NDArray[np.float32]:
    """[P] the largest score of each probe with a vector of its label, -inf where there is none."""
    x, source = unit(probes, "probes"), gallery(others)
    _same_dim(x, source)
    mine, theirs = whose(probe_labels, len(x), "probe labels"), whose(other_labels, len(source))
    return mate_scores(x, mine, source, theirs, itself=False).numpy()


def ahead(left: Screened, right: Screened, bar: Tensor, other: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """[n] how many vectors of ``right`` score at least ``bar`` [n] (float32) with each of ``left``; ``other(row,
    column)`` says which pairs count.

    Rows whose bar lies deep among the others have too many pairs near it for the coarse product; they are counted in
    float32, and those with too many copies of one vector there in float64.
    """
    counts = torch.zeros(len(bar), dtype=torch.int64, device=bar.device)
    easy = torch.zeros(len(bar), dtype=torch.bool, device=bar.device)
    if left.side.kind not in ("float32", "float64"):
        easy = _count_easy(left, right, bar, other, counts)
    for kind in ("float32", "float64"):
        rows = (~easy).nonzero()[:, 0]
        if len(rows):
            counts[rows], easy[rows] = _count_all(kind, left, right, bar, other, rows)
    return counts


def _exactly(left: Screened, right: Screened, bar: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """[n] how many of the pairs score at least the bar of their row."""
    score = pair_scores(left.vectors, left.origin[row], right.vectors, right.origin[column])
    return torch.bincount(row[score >= bar[row]], minlength=len(bar))


def _count_easy(
    left: Screened, right: Screened, bar: Tensor, other: Callable[[Tensor, Tensor], Tensor], counts: Tensor
) -> Tensor:
    """Add to ``counts`` [n] by the coarse product; which rows were few enough to be counted so."""
    easy = torch.ones(len(bar), dtype=torch.bool, device=bar.device)
    low, high = limits(left.side, right.side, least(bar))
    low, high = (limit.expand(-1, len(right.origin) // GROUP) for limit in (low, high))
    out = left.side.block(right.side.part(slice(0, COLUMNS)))
    for start in range(0, len(right.origin), COLUMNS):
        part = right.side.part(slice(start, start + COLUMNS))
        block = product(left.side, part, out).view(len(bar), -1, GROUP)
        near, sure = (limit[:, start // GROUP :][:, : block.shape[1]] for limit in (low, high))
        hit = block.amax(2) >= near  # [n,m/64]
        easy &= hit.sum(1) <= hit.shape[1] // 2
        row, group = (hit & easy[:, None]).nonzero(as_tuple=True)
        which, offset = (block[row, group] >= near[row, group, None]).nonzero(as_tuple=True)
        row, group = row[which], group[which]
        keep = other(row, start + group * GROUP + offset)
        row, group, offset = row[keep], group[keep], offset[keep]
        certain = block[row, group, offset] >= sure[row, group]
        easy &= torch.bincount(row[~certain], minlength=len(bar)) <= FEW * block.shape[1] * GROUP
        counts += torch.bincount(row[certain], minlength=len(bar))
        close = ~certain & easy[row]
        counts += _exactly(left, right, bar, row[close], (start + group * GROUP + offset)[close])
    return easy


def _count_all(
    kind: str, left: Screened, right: Screened, bar: Tensor, other: Callable[[Tensor, Tensor], Tensor], rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Counts of ``rows`` [h] by a product in ``kind``, and which of them were few enough."""
    counts = torch.zeros(len(bar), dtype=torch.int64, device=bar.device)
    easy = torch.ones(len(bar), dtype=torch.bool, device=bar.device)
    x = side(kind, left.vectors[left.origin[rows]]).part(slice(0, len(rows)))
    floor = least(bar[rows])
    whole = len(right.vectors) // GROUP * GROUP if right.straight else len(right.origin)  # of these nothing is copied
    for start, stop in pairwise(sorted({*range(0, whole, 4 * COLUMNS), whole, len(right.origin)})):
        part = right.part(slice(start, stop))
        y = part.finer(kind)
        block = product(y, x).T  # the few rows second: half as long again the other way round
        low, high = limits(x, y, floor)  # [h,1]: neither side has residuals
        counted = other(rows[:, None], torch.arange(start, start + len(part.origin), device=bar.device)[None])
        unsure = (block >= low) & (block < high) & counted
        easy[rows] &= (unsure.sum(1) <= FEW * len(part.origin)) | (kind == "float64")
        row, column = (unsure & easy[rows, None]).nonzero(as_tuple=True)
        counts[rows] += ((block >= high) & counted).sum(1)
        counts += _exactly(left, part, bar, rows[row], column)
    return counts[rows], easy[rows]


class Task(NamedTuple):
    """All probes against the gallery from ``start`` to ``stop``."""

    facts: tuple[str, float, bool]  # of the probes
    source: Source
    scaled: tuple[float, bool]
    start: int
    stop: int


def count_chunk(arrays: Arrays, task: Task) -> NDArray[np.int64]:
    """[P] how many vectors of a chunk, of other labels, score at least the bar of each probe."""
    probes, bar, mine = whole("probes", arrays, task.facts), arrays["bar"], arrays["probe labels"]
    theirs = opened(arrays, task.source).chunk(
        task.start, task.stop, task.facts[0], task.scaled, probes.vectors.device.type
    )
    labels = arrays["labels"][task.start : task.stop]
    who = torch.where(theirs.origin >= 0, labels[theirs.origin], -1)
    counts = torch.zeros(len(bar), dtype=torch.int64, device=bar.device)
    for first in range(0, len(probes.origin), ROWS):
        left = probes.part(slice(first, first + ROWS))
        real = left.origin >= 0
        whom = torch.where(real, mine[left.origin], -1)

        def other(row: Tensor, column: Tensor, whom: Tensor = whom) -> Tensor:
            return (who[column] >= 0) & (who[column] != whom[row])

        found = ahead(left, theirs, torch.where(real, bar[left.origin], torch.inf), other)
        counts.index_add_(0, left.origin[real], found[real])
    return counts.cpu().numpy()


def count_ahead(
    probes: Tensor,
    bar: Tensor,
    labels: Tensor,
    others: Gallery,
    other_labels: Tensor,
    edges: Sequence[int] = (),
    *,
    screen: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """[P, len(edges) + 1] per probe [P,D] how many ``others`` of another label score at least ``bar`` [P] (inf: none),
    up to each edge and in all."""
    kind = fastest(probes.shape[1], probes.device.type) if screen == "auto" else screen
    scaled = others.scaled(kind)
    arrays, facts = flat("probes", screened(kind, probes, best_scale(probes, (scaled[1],))))
    codes = torch.unique(torch.cat([labels, other_labels]), return_inverse=True)[1]  # no label is negative now
    arrays |= {"bar": bar, "probe labels": codes[: len(labels)], "labels": codes[len(labels) :]}
    source = shared(others, arrays)
    ranges = others.ranges(tuple(edges))
    tasks = (Task(facts, source, scaled, *part) for part in ranges)
    counts = np.zeros((len(probes), len(edges) + 1), dtype=np.int64)
    for done, (found, (start, _)) in enumerate(zip(each(count_chunk, arrays, tasks, workers), ranges, strict=True)):
        counts[:, np.searchsorted(edges, start, "right")] += found
        if progress is not None:
            progress("ranks", done + 1, len(ranges))
    return counts.cumsum(axis=1)


def _first_mates(
    x: Tensor, mine: Tensor, source: Gallery, theirs: Tensor, itself: bool, **how: Any
) -> NDArray[np.int64]:
    """[P] rank of the first mate of each probe ``x``, which may be in the gallery ``itself``; 0 where it has none."""
    best = mate_scores(x, mine, source, theirs, itself=itself)
    bar = torch.where(torch.isinf(best), torch.inf, best)
    counts = count_ahead(x, bar, mine, source, theirs, **how)
    return np.where(np.isinf(best.cpu().numpy()), 0, 1 + counts[:, -1])


def ranks(
    probes: ArrayLike,
    probe_labels: ArrayLike,
    others: ArrayLike | Gallery,
    other_labels: ArrayLike,
    *,
    screen: str = "auto",
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """[P] rank of each probe's first mate in the gallery ``others`` [G,D]; 0 where it has no mate there."""
    x, source = unit(probes, "probes").to(device), gallery(others)
    _same_dim(x, source)
    mine, theirs = whose(probe_labels, len(x), "probe labels").to(device), whose(other_labels, len(source)).to(device)
    return _first_mates(x, mine, source, theirs, False, screen=screen, workers=workers, progress=progress)


def leave_one_out(
    vectors: ArrayLike,
    labels: ArrayLike,
    *,
    screen: str = "auto",
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """[N] each image in turn is the probe, all others are the gallery; 0 where it has no mate. ``vectors`` [N,D] of
    unit length."""
    x = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(device)
    mine = whose(labels, len(x)).to(device)
    source = gallery(x, normalized=True)
    return _first_mates(x, mine, source, mine, True, screen=screen, workers=workers, progress=progress)


def ranks_among(
    probes: ArrayLike,
    mates: ArrayLike,
    distractors: ArrayLike | Gallery,
    sizes: Sequence[int],
    *,
    screen: str = "auto",
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """[P, len(sizes)] rank of each probe's mate among the first 10, 100, ... ``distractors`` [G,D].

    ``probes`` and ``mates`` [P,D]: one enrolled image a probe; each probe is searched among its own mate and the
    distractors, as in MegaFace. ``sizes`` rise and do not exceed the number of distractors.
    """
    x, source = unit(probes, "probes").to(device), gallery(distractors)
    _same_dim(x, source)
    y = unit(mates, "mates", x.shape[1]).to(device)
    if len(y) != len(x):
        raise BadInput(f"There are {len(x)} probes and {len(y)} mates; give one mate for each probe.")
    if not sizes or sorted(set(sizes)) != list(sizes) or not 0 < sizes[0] <= sizes[-1] <= len(source):
        raise BadInput(
            f"The numbers of distractors are {list(sizes)}; they must rise, from 1 to {len(source):,} at most."
        )
    every = torch.arange(len(x), device=device)
    nobody = torch.full((len(source),), len(x), device=device)
    counts = count_ahead(
        x, pair_scores(x, every, y, every), every, replace(source, vectors=source.vectors[: sizes[-1]]),
        nobody[: sizes[-1]], sizes[:-1], screen=screen, workers=workers, progress=progress,
    )  # fmt: skip
    return 1 + counts


def _same_dim(probes: Tensor, source: Gallery) -> None:
    if probes.shape[1] != source.dim:
        raise BadInput(
            f"The probes have {probes.shape[1]} dimensions, the gallery {source.dim}; use one network for both."
        )
