"""The k gallery vectors nearest to each probe, exactly, in one pass over a gallery of any size.

With labels, only vectors of other labels count: k = 1 gives the highest score of a probe with anybody else, which is
what false alarms of open-set identification are counted by. Ties go to the vector that comes first.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from faceloss.errors import BadInput
from faceloss.matching.exact import least, pair_scores
from faceloss.matching.gallery import Gallery, Source, gallery, opened, shared
from faceloss.matching.screen import Screened, best_scale, candidates, fastest, rounding, screened, swell
from faceloss.matching.vectors import unit, whose
from faceloss.matching.workers import Arrays, each, flat, whole

Progress = Callable[[str, int, int], None]

ROWS, COLUMNS = 512, 4096
FEW, WIDE = 16, 2**16  # probes that are too few for blocks of int8 numbers, and vectors that they meet at a time


class Nearest(NamedTuple):
    scores: NDArray[np.float32]  # [P,k] falling; -inf where there are fewer than k
    rows: NDArray[np.int64]  # [P,k] of the gallery; -1 where there are fewer

    def merge(self, row: NDArray[np.int64], score: NDArray[np.float32], index: NDArray[np.int64]) -> "Nearest":
        """With new pairs (row, index) among them."""
        probes, k = self.scores.shape
        rows = np.concatenate([np.repeat(np.arange(probes), k), row])
        scores, indices = np.concatenate([self.scores.ravel(), score]), np.concatenate([self.rows.ravel(), index])
        order = np.lexsort((indices, -scores, rows))
        rows = rows[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        best = order[place < k].reshape(probes, k)
        return Nearest(scores[best], indices[best])


class Task(NamedTuple):
    """All probes against the gallery from ``start`` to ``stop``."""

    facts: tuple[str, float, bool]  # of the probes
    source: Source
    scaled: tuple[float, bool]
    start: int
    stop: int
    k: int
    bar: NDArray[np.float32]  # [P] only scores that reach it matter


def first_bar(left: Screened, right: Screened, k: int, other: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """[n] a score that k vectors of ``right`` reach: the k-th product in float32, less what that may be off."""
    x, y = left.finer("float32"), right.finer("float32")
    block = x.values @ y.values.T
    rows, columns = (torch.arange(n, device=block.device) for n in block.shape)
    block[~other(rows[:, None], columns[None])] = -torch.inf
    if block.shape[1] < k:
        return torch.full((len(block),), -torch.inf, device=block.device)
    return torch.topk(block, k).values[:, -1] - 2e-4 * float(x.size.max() * y.size.max())


def search_chunk(arrays: Arrays, task: Task) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """(probe, score, gallery row) of every pair of a chunk that may be among the k nearest of its probe."""
    probes, mine = whole("probes", arrays, task.facts), arrays["probe labels"]
    theirs = opened(arrays, task.source).chunk(
        task.start, task.stop, task.facts[0], task.scaled, probes.vectors.device.type
    )
    named = "labels" in arrays
    whose_all = (
        arrays["labels"][task.start : task.stop] if named else torch.zeros(len(theirs.vectors), device=mine.device)
    )
    bar = torch.from_numpy(task.bar).to(mine.device)
    found = []
    for first in range(0, len(probes.origin), ROWS):
        left = probes.part(slice(first, first + ROWS))
        real = left.origin >= 0
        whom = torch.where(real, mine[left.origin], -1)
        bars = torch.where(real, bar[left.origin], torch.inf)
        out = None
        for start in range(0, len(theirs.origin), COLUMNS):
            right = theirs.part(slice(start, start + COLUMNS))
            who = torch.where(right.origin >= 0, whose_all[right.origin], -2)

            def other(
                row: Tensor, column: Tensor, who: Tensor = who, whom: Tensor = whom, real: Tensor = real
            ) -> Tensor:
                return (who[column] >= 0) & (who[column] != whom[row]) & real[row]

            if start == 0 and bool(torch.isinf(bars[real]).any()):
                bars = torch.where(real, torch.maximum(bars, first_bar(left, right, task.k, other)), torch.inf)
            if out is None or out.shape[1] != len(right.origin):
                out = left.side.block(right.side)
            row, column = candidates(left, right, least(bars), other, out)
            if len(row):
                i, j = left.origin[row], right.origin[column]
                score = pair_scores(probes.vectors, i, right.vectors, j)
                if task.k == 1:
                    bars.scatter_reduce_(0, row, score, "amax")
                keep = score >= bars[row]
                found.append((i[keep], score[keep], j[keep] + task.start))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
    rows, scores, places = (torch.cat(column).cpu().numpy() for column in zip(*found, strict=True))
    return rows, scores, places


def _few(
    x: Tensor, source: Gallery, k: int, labels: tuple[Tensor, Tensor] | None, progress: Progress | None
) -> Nearest:
    """The same for a few probes ``x`` [P,D] and a gallery in memory: float32 products, each within ``far`` of the
    score, tell which pairs may be among the k best; these are scored exactly."""
    off = (rounding("float32", x.shape[1]) + 2.0**-22) * swell(x.shape[1]) ** 2  # of unit vectors, and a last bit
    best = Nearest(np.full((len(x), k), -np.inf, np.float32), np.full((len(x), k), -1, np.int64))
    for start in range(0, len(source), WIDE):
        rows = slice(start, start + WIDE)
        y = source.vectors[rows] if source.prepared is not None else source.unit(rows)
        y = y.to(x.device)
        size = torch.linalg.vector_norm(y, dim=1) if source.prepared is None else source.prepared.size[rows]
        far = off * float(size.max())
        products = x @ y.T  # [P,c]
        if labels is not None:
            products.masked_fill_(labels[0][:, None] == labels[1][rows][None], -torch.inf)
        last = torch.topk(products, min(k, len(y))).values[:, -1] if len(y) >= k else None
        bar = torch.from_numpy(best.scores[:, -1]).to(x.device)
        bar = bar if last is None else torch.maximum(bar, last)
        row, column = ((products >= bar[:, None] - 2 * far) & (products > -torch.inf)).nonzero(as_tuple=True)
        found = row, pair_scores(x, row, y, column), column + start
        best = best.merge(*(part.cpu().numpy() for part in found))
        if progress is not None:
            progress("gallery", min(start + WIDE, len(source)), len(source))
    return best


def nearest(
    probes: ArrayLike,
    others: ArrayLike | Gallery,
    k: int = 1,
    *,
    probe_labels: ArrayLike | None = None,
    other_labels: ArrayLike | None = None,
    screen: str = "auto",
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
) -> Nearest:
    """The ``k`` largest scores of each probe [P,D] with vectors of the gallery ``others`` [G,D], and where they are.

    With both labels ([P] and [G] whole numbers), among vectors of other labels only. Memory: the probes, k pairs each,
    and one chunk of the gallery, which may be a file (``gallery.open_gallery``).
    """
    x, source = unit(probes, "probes").to(device), gallery(others)
    if x.shape[1] != source.dim:
        raise BadInput(f"The probes have {x.shape[1]} dimensions, the gallery {source.dim}; use one network for both.")
    if k < 1:
        raise BadInput(f"The {k} nearest were asked for; give a number from 1.")
    if (probe_labels is None) != (other_labels is None):
        raise BadInput("Labels were given for one side only; give both, probe_labels and other_labels, or neither.")
    labels = None
    if probe_labels is not None and other_labels is not None:
        both = torch.cat([whose(probe_labels, len(x), "probe labels"), whose(other_labels, len(source))])
        codes = torch.unique(both, return_inverse=True)[1].to(device)
        labels = codes[: len(x)], codes[len(x) :]
    if len(x) <= FEW and screen == "auto" and source.path is None:
        return _few(x, source, k, labels, progress)
    kind = fastest(x.shape[1], x.device.type) if screen == "auto" else screen
    if source.prepared is not None:
        kind = "int8"
    scaled = source.scaled(kind)
    arrays, facts = flat("probes", screened(kind, x, best_scale(x, (scaled[1],))))
    arrays["probe labels"] = torch.full((len(x),), -1, device=device)
    if labels is not None:
        arrays |= {"probe labels": labels[0], "labels": labels[1]}
    best = Nearest(np.full((len(x), k), -np.inf, np.float32), np.full((len(x), k), -1, np.int64))
    given = shared(source, arrays)
    ranges = source.ranges()
    tasks = (Task(facts, given, scaled, *part, k, best.scores[:, -1]) for part in ranges)
    for done, found in enumerate(each(search_chunk, arrays, tasks, workers)):
        best = best.merge(*found)
        if progress is not None:
            progress("gallery", done + 1, len(ranges))
    return best
