"""An approximate index judged: who is found through it, and what it misses against the exact search.

recall@1   share of a sample of probes whose best score through the index is the best of all    [95 % by subjects]
rank k     leave one out, as :func:`faceloss.evaluate.judge_rank`, through the index: all probes
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.evaluate.cells import Judged, Progress, cell, codes, missing, unit
from faceloss.evaluate.metrics import EXPECTED_ERRORS, Ints
from faceloss.evaluate.protocols import RANKS
from faceloss.evaluate.statistics import sums

SAMPLE = 1000  # probes that are also searched exactly


class JudgedIndex(NamedTuple):
    judged: Judged
    said: str  # of the index, its settings and seconds


def judge_index(
    embeddings: ArrayLike, identities: ArrayLike, index: str, *, seed: int = 0, progress: Progress | None = None
) -> JudgedIndex:
    """Each image is searched among all others through ``index`` ("ivf" or "hnsw").

    ``embeddings`` [N,D], ``identities`` [N]. Where the mate of a probe is not among those that the index gives, the
    probe counts as not found at any rank.

    Raises:
        BadInput: faiss is not installed; embeddings or identities cannot be meant.
    """
    from faceloss.matching.approximate import approximate
    from faceloss.matching.gallery import quantized
    from faceloss.matching.nearest import nearest

    e = unit(embeddings)
    code, subjects = codes(identities, len(e))
    found = approximate(e, e, min(max(RANKS) + 1, len(e)), index=index, progress=progress)
    rows, scores = _without_itself(found.nearest.rows, found.nearest.scores)
    ranks = _ranks(rows, scores, code)
    sizes = np.bincount(code)
    probes = sizes[code] > 1
    protocol, note = f"rank, index {index}", found.settings
    people, n = int(np.count_nonzero(sizes > 1)), int(probes.sum())
    measured = []
    for k in RANKS:
        if n < EXPECTED_ERRORS or people < 2:
            reason = f"{n} probes of {people} identities with a mate; at least {EXPECTED_ERRORS} of two are needed"
            measured.append(missing(protocol, "rank", float(k), n, subjects, reason))
            continue
        hit = (ranks <= k) & (ranks > 0) & probes
        value = float(hit.sum() / n)
        psi = sums(code, np.where(probes, hit - value, 0.0) / n, subjects)
        measured.append(cell(protocol, "rank", float(k), value, psi, n, people, note=note))
    rng = np.random.Generator(np.random.Philox(key=seed))
    chosen = np.sort(rng.permutation(len(e))[:SAMPLE])
    exact = nearest(e[chosen], quantized(e), min(2, len(e)))
    best = _without_itself(exact.rows, exact.scores, chosen)[1][:, 0]
    same = scores[chosen, 0] == best
    recall = float(same.mean())
    psi = sums(code[chosen], (same - recall) / len(chosen), subjects)
    measured.append(cell(protocol, "recall", 1.0, recall, psi, len(chosen), np.unique(code[chosen]).size, note=note))
    said = f"index {index} ({found.settings}): built in {found.build_seconds:.1f} s, {len(e):,} probes searched in "
    said += f"{found.search_seconds:.1f} s by one thread; recall@1 against the exact search of {len(chosen):,} probes"
    return JudgedIndex(Judged(tuple(measured)), said)


def _without_itself(
    rows: Ints, scores: NDArray[np.float32], probes: Ints | None = None
) -> tuple[Ints, NDArray[np.float32]]:
    """``rows`` and ``scores`` [P,k] without the probe, or without the last where the probe is not among them."""
    own = rows == (np.arange(len(rows)) if probes is None else probes)[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return rows[~own].reshape(shape), scores[~own].reshape(shape)


def _ranks(rows: Ints, scores: NDArray[np.float32], code: Ints) -> Ints:
    """[N] rank of the first mate among those found, a tie counting against it; 0 where there is none."""
    mate = (code[np.maximum(rows, 0)] == code[:, None]) & (rows >= 0)
    best = np.where(mate, scores, -np.inf).max(axis=1, initial=-np.inf)
    ahead = np.sum(~mate & (rows >= 0) & (scores >= best[:, None]), axis=1)
    return np.where(np.isneginf(best), 0, 1 + ahead)
