"""The same numbers for large sets: what takes every score is computed by ``matrix`` and ``metrics``, which are plain
NumPy; what takes only the largest scores, or who lies ahead of whom, by ``faceloss.matching``, which needs PyTorch and
is imported when it is needed. Results do not differ.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from faceloss.errors import BadInput
from faceloss.evaluate import stream
from faceloss.evaluate.matrix import matrix_dyads, verify_matrix
from faceloss.evaluate.metrics import (
    EXPECTED_ERRORS,
    FAR_GRID,
    Ints,
    NotMeasurable,
    allowed_errors,
    leave_one_out_ranks,
    measurable,
)
from faceloss.evaluate.statistics import impostor_scale
from faceloss.evaluate.verification import (
    DET_POINTS,
    Counts,
    Point,
    Verification,
    det_bands,
    residuals,
    slope,
    tally,
)

Progress = Callable[[str, int, int], None]
Scores = NDArray[np.float32]

WHOLE = 10_000_000_000  # pairs up to which all scores are computed unless certain FARs are asked for: some minutes
RANKED = 20_000_000  # products up to which ranks are counted in NumPy
KEPT = 10_000_000  # accepted pairs that may be needed where no FAR is asked for
ALONE = 20_000_000_000  # products that one process does before others are started


def ranks(e: Scores, code: Ints, progress: Progress | None = None, workers: int = 1) -> Ints:
    """``metrics.leave_one_out_ranks``, for any number of images. ``e`` [N,D] of unit length, ``code`` [N]."""
    products = len(code) ** 2
    if products <= RANKED:
        return leave_one_out_ranks(e, code, progress)
    from faceloss.matching.ranks import leave_one_out

    return leave_one_out(e, code, workers=min(workers, 1 + products // ALONE), progress=progress)


def best(
    probes: Scores,
    probe_code: Ints,
    gallery: Scores,
    gallery_code: Ints,
    ends: Sequence[int],
    progress: Progress | None,
) -> tuple[Scores, Scores]:
    """``stream.best``, for any number of probes and gallery rows, all of unit length."""
    if not ends or len(probes) * ends[-1] <= RANKED:
        return stream.best(probes, probe_code, gallery, gallery_code, ends, progress)
    from faceloss.matching.nearest import nearest
    from faceloss.matching.ranks import best_mates

    mate = np.full((len(probes), len(ends)), -np.inf, dtype=np.float32)
    other = mate.copy()
    for k, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if begin < end:
            rows, labels = gallery[begin:end], gallery_code[begin:end]
            mate[:, k] = best_mates(probes, probe_code, rows, labels)
            found = nearest(probes, rows, 1, probe_labels=probe_code, other_labels=labels, progress=progress)
            other[:, k] = found.scores[:, 0]
    return np.maximum.accumulate(mate, axis=1), np.maximum.accumulate(other, axis=1)


def verify(
    e: Scores,
    code: Ints,
    subjects: int,
    progress: Progress | None = None,
    fars: Sequence[float] | None = None,
    workers: int = 1,
) -> Verification:
    """All pairs of a labelled set: everything, or TAR at ``fars`` alone; None asks for everything up to WHOLE pairs,
    and for the FARs of the grid that leave at most KEPT pairs beyond."""
    pairs = len(code) * (len(code) - 1) // 2
    if fars is None and pairs <= WHOLE:
        return verify_matrix(e, code, subjects, progress)
    if fars is None:
        fars = [far for far in FAR_GRID if 2 * far * pairs <= KEPT]
    return verify_largest(e, code, subjects, fars, progress, min(workers, 1 + pairs // ALONE))


def verify_largest(
    e: Scores, code: Ints, subjects: int, fars: Sequence[float], progress: Progress | None = None, workers: int = 1
) -> Verification:
    """TAR at each of ``fars`` with its influences, and the DET up to the largest of them, over every pair of images.

    The thresholds, and so the attained FARs, are those of ``verify_matrix``; EER, AUC and the histogram of scores are
    left out, because they take every score. Raises BadInput for a FAR outside (0, 1), NotMeasurable where none of them
    has 30 expected errors.
    """
    from faceloss.matching.pairs import genuine, largest

    if not fars or not all(0 < far < 1 for far in fars):
        raise BadInput(
            f"The FARs asked for are {', '.join(f'{far:g}' for far in fars)}; each must lie between 0 and 1."
        )
    sizes = np.bincount(code, minlength=subjects)
    n, mine = len(code), sizes * (sizes - 1) // 2
    impostor = n * (n - 1) // 2 - int(mine.sum())
    if not mine.sum() or not impostor:
        raise NotMeasurable(
            f"{n} images hold {int(mine.sum())} genuine and {impostor} impostor pairs; one of each is needed."
        )
    asked = sorted({float(far) for far in fars if measurable(far, impostor)}, reverse=True)
    if not asked:
        raise NotMeasurable(
            f"FAR {max(fars):g} needs {EXPECTED_ERRORS / max(fars):,.0f} impostor pairs (30 expected errors), there "
            f"are {impostor:,}."
        )
    scores, first = genuine(e, code, progress)
    order = np.argsort(scores, kind="stable")
    g, owner = scores[order], code[first[order]]
    wide = min(2 * asked[0], 1.0)  # slopes look beyond the FAR asked for
    found = largest(e, code, min(allowed_errors(wide, impostor), impostor - 1), workers=workers, progress=progress)

    def threshold_at(far: float) -> float:
        kept_out = found.at(min(allowed_errors(far, impostor), impostor - 1))
        return float(np.nextafter(np.float32(kept_out), np.float32(np.inf)))

    det_thresholds = np.unique(
        [threshold_at(far) for far in np.geomspace(EXPECTED_ERRORS / impostor, asked[0], DET_POINTS)]
    )
    exact = [threshold_at(far) for far in asked]
    thresholds = np.unique(np.concatenate([exact, det_thresholds]))
    one, two = code[found.first], code[found.second]
    level = np.searchsorted(thresholds, found.scores.astype(np.float64), "right")
    both = tally(one, level, thresholds.size, subjects) + tally(two, level, thresholds.size, subjects)
    own = Counts(tally(owner, np.searchsorted(thresholds, g, "right"), thresholds.size, subjects), mine, g.size)
    apart = Counts(both, sizes * (n - sizes), impostor)
    dyads = np.minimum(one, two) * subjects + np.maximum(one, two)

    mates = mine > 0
    mated = int(np.count_nonzero(mates))
    weight = np.cumsum(1 / (mated * mine[owner]))  # of the genuine pairs, each mated identity counting once

    def tar_at(far: float) -> float:
        return 1 - float(np.searchsorted(g, threshold_at(far), "left")) / g.size

    def even_at(far: float) -> float:
        below = int(np.searchsorted(g, threshold_at(far), "left"))
        return 1 - (float(weight[below - 1]) if below else 0.0)

    points, even = [], []
    for far, threshold in zip(asked, exact, strict=True):
        t = int(np.searchsorted(thresholds, threshold))
        tar, attained = float(own.accepted[:, t].sum() / g.size), float(both[:, t].sum() / 2 / impostor)
        psi = residuals(apart, t)
        psi = psi * impostor_scale(psi, matrix_dyads(dyads[level > t], attained, sizes, impostor))
        points.append(Point(far, tar, attained, threshold, residuals(own, t) - slope(tar_at, attained) * psi))
        if np.unique(mine[mates]).size > 1:
            share = own.accepted[:, t] / np.maximum(mine, 1)  # [S]
            mean = float(share[mates].mean())
            spread = np.where(mates, share - mean, 0.0) / mated
            even.append(Point(far, mean, attained, threshold, spread - slope(even_at, attained) * psi))

    at = np.searchsorted(thresholds, det_thresholds)
    attained_fars = both[:, at].sum(axis=0) / 2 / impostor
    det = det_bands(
        attained_fars,
        own.accepted[:, at].sum(axis=0) / g.size,
        Counts(own.accepted[:, at], own.total, own.pairs),
        Counts(both[:, at], apart.total, apart.pairs),
        np.array([slope(tar_at, far) for far in attained_fars]),
    )
    return Verification(g.size, impostor, subjects, mated, tuple(points), tuple(even), None, None, 0.0, det, None)


def copies(e: Scores, code: Ints) -> str:
    """A remark on embeddings that are exact copies of one under another identity, or "".

    Such pairs score 1 and are accepted at every threshold: often one picture filed under two names.
    """
    bits = np.ascontiguousarray(e).view(np.uint32)
    odd = np.random.default_rng(0).integers(1, 2**63, e.shape[1], dtype=np.uint64) | np.uint64(1)
    key = np.zeros(len(e), dtype=np.uint64)
    for start in range(0, len(e), 1024):  # sums modulo 2^64: equal rows have equal keys
        part = slice(start, start + 1024)
        key[part] = (bits[part].astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)
    order = np.lexsort((code, key))
    e, code, key = e[order], code[order], key[order]
    after = np.flatnonzero((key[1:] == key[:-1]) & (code[1:] != code[:-1]))
    found = int(np.count_nonzero((e[after + 1] == e[after]).all(axis=1)))
    return f"{found} embeddings are exact copies of one of another identity" if found else ""
