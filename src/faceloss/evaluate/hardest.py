"""The hardest errors of a test: which strangers are taken for one person, and which pictures of a person are not.

At a threshold t, of the pairs on its wrong side those furthest from it:

    false matches       impostor pairs with score >= t, from the highest score down; one of each two identities
    false non-matches   genuine pairs with score < t, from the lowest score up; one of each identity

One of each, since else all of them would show the same two people.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from faceloss.errors import BadInput
from faceloss.evaluate.cells import Unit, codes, unit
from faceloss.evaluate.metrics import Ints

MOST = 6
ROWS = 512  # of a block of scores


class Pair(NamedTuple):
    """Two images, as rows of the embeddings, and their score."""

    first: int
    second: int
    score: float


class Hardest(NamedTuple):
    false_matches: tuple[Pair, ...]
    false_non_matches: tuple[Pair, ...]


def hardest_of_matrix(
    embeddings: ArrayLike, identities: ArrayLike, threshold: float, most: int = MOST
) -> Hardest:  # fmt: skip
    """Of every pair of a labelled set; ``embeddings`` [N,D] raw or unit, ``identities`` [N]."""
    e = unit(embeddings)
    code, people = codes(identities, len(e))
    order = np.argsort(code, kind="stable")
    e, begin = e[order], np.searchsorted(code[order], np.arange(people + 1))
    bound = np.float32(threshold)

    wrong: list[tuple[float, int, int]] = []  # minus the score, and two identities: sorted, the hardest come first
    here = 0
    while here < people:
        stop = max(here + 1, int(np.searchsorted(begin, begin[here] + ROWS, "right")) - 1)
        found = _between(e, begin, here, stop)
        for i, j in _highest(found, bound, most):
            wrong.append((-float(found[i, j]), here + i, here + j))
        wrong = sorted(wrong)[:most]
        here = stop
    matches = []
    for _, i, j in wrong:
        block = e[begin[i] : begin[i + 1]] @ e[begin[j] : begin[j + 1]].T
        a, b = np.unravel_index(int(block.argmax()), block.shape)
        matches.append(Pair(int(order[begin[i] + a]), int(order[begin[j] + b]), float(block[a, b])))

    missed: list[tuple[float, int, int]] = []
    for i in np.flatnonzero(np.diff(begin) > 1).tolist():
        rows = e[begin[i] : begin[i + 1]]
        first, second = np.triu_indices(len(rows), 1)
        own = (rows @ rows.T)[first, second]
        k = int(own.argmin())
        if own[k] < bound:
            missed.append((float(own[k]), int(order[begin[i] + first[k]]), int(order[begin[i] + second[k]])))
    return Hardest(tuple(matches), tuple(Pair(a, b, score) for score, a, b in sorted(missed)[:most]))


def _between(e: Unit, begin: Ints, here: int, stop: int) -> Unit:
    """[stop - here, people - here] highest score of identities ``here``..``stop`` with each from ``here`` on; what is
    no pair of two identities, or was seen in another block, is minus infinity."""
    scores = e[begin[here] : begin[stop]] @ e[begin[here] :].T
    best = np.maximum.reduceat(scores, begin[here:-1] - begin[here], axis=1)
    best = np.maximum.reduceat(best, begin[here:stop] - begin[here], axis=0)
    best[np.tril_indices(len(best), 0, best.shape[1])] = -np.inf
    return best


def _highest(scores: Unit, bound: np.float32, most: int) -> list[tuple[int, int]]:
    """Places of the ``most`` highest numbers that reach ``bound``."""
    flat = scores.ravel()
    places = np.flatnonzero(flat >= bound)
    if places.size > most:
        places = places[flat[places] >= np.partition(flat[places], -most)[-most]]
    return [divmod(int(place), scores.shape[1]) for place in places]


def hardest_of_pairs(
    embeddings: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    same: ArrayLike,
    threshold: float,
    identities: ArrayLike | None = None,
    most: int = MOST,
) -> Hardest:
    """Of the pairs of a list: ``first``, ``second`` [M] rows of ``embeddings``, ``same`` [M].

    Without ``identities`` every pair counts as of people of its own.
    """
    e = unit(embeddings)
    a, b, flags = np.asarray(first), np.asarray(second), np.asarray(same).astype(bool)
    if not a.shape == b.shape == flags.shape:
        raise BadInput(f"first {a.shape}, second {b.shape} and same {flags.shape} must be equally long.")
    scores = np.einsum("md,md->m", e[a].astype(np.float64), e[b].astype(np.float64))
    names = np.asarray(identities) if identities is not None else None

    def chosen(rows: Ints) -> tuple[Pair, ...]:
        found: list[Pair] = []
        seen: set[object] = set()
        for k in rows:
            who = (k, k) if names is None else tuple(sorted((str(names[a[k]]), str(names[b[k]]))))
            if who not in seen and len(found) < most:
                seen.add(who)
                found.append(Pair(int(a[k]), int(b[k]), float(scores[k])))
        return tuple(found)

    order = np.argsort(scores, kind="stable")
    missed = order[flags[order] & (scores[order] < threshold)]
    wrong = order[::-1][~flags[order[::-1]] & (scores[order[::-1]] >= threshold)]
    return Hardest(chosen(wrong), chosen(missed))
