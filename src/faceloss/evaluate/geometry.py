"""Directions of embeddings: have they collapsed (two measures, as either misses a kind), how near are mates, a map."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


def unit(vectors: ArrayLike) -> NDArray[np.float64]:
    """The rows of ``vectors`` [N,D] at length 1, in float64; a row of zeros stays, and has cosine 0 to all."""
    rows = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    directions: NDArray[np.float64] = rows / np.where(norms > 0, norms, 1.0)
    return directions


def mean_cosine(embeddings: ArrayLike) -> float:
    """Mean cosine over all pairs of distinct rows [N,D]; near 1 when all faces fall on one point.

    From the norm of the mean: sum over all pairs of u_i . u_j = |sum u_i|^2.
    """
    directions = unit(embeddings)
    count = len(directions)
    total, own = float(np.square(directions.sum(axis=0)).sum()), float(np.square(directions).sum())
    return (total - own) / (count * (count - 1)) if count > 1 else 1.0


def others_angles(embeddings: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Angle in degrees between each row and the mean direction of the *other* rows of its label, for all that have one.

    ``embeddings`` [N,D], ``labels`` [N] -> [M], M <= N, in the order of the rows. The own row is left out of the mean:
    with it, identities of few images would look better.
    """
    directions = unit(embeddings)
    _, place, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), directions.shape[1]))
    np.add.at(sums, place, directions)
    some = counts[place] > 1
    cosines = (directions * unit(sums[place] - directions)).sum(axis=1)[some]
    angles: NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return angles


def effective_rank(embeddings: ArrayLike) -> float:
    """exp of the entropy of the covariance's normalized eigenvalues, between 1 and D.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007. Near 1 when all faces fall on one line.
    """
    directions = unit(embeddings)
    values = np.linalg.svd(directions - directions.mean(axis=0), compute_uv=False) ** 2
    total = values.sum()
    if total < 1e-12:
        return 1.0
    share = values[values > 1e-12 * total] / total
    return float(np.exp(-(share * np.log(share)).sum()))


class Plane(NamedTuple):
    """Places [N,2] on the two directions in which rows vary most, and the share of the variance on each."""

    places: NDArray[np.float64]
    share: tuple[float, float]


def principal_plane(embeddings: ArrayLike) -> Plane:
    """The first two principal components of rows [N,D] at length 1, N and D 2 or more.

    With E the rows less their mean and E = U S V^T (singular values from the largest), places are U S and shares
    S^2 / sum S^2, of the first two. Distances in the plane are at most those between the rows. Which way a direction
    points is arbitrary; here the row farthest out along it is on the positive side. Of rows that are all the same,
    places and shares are 0.
    """
    e = unit(embeddings)
    u, s, _ = np.linalg.svd(e - e.mean(axis=0), full_matrices=False)
    places = u[:, :2] * s[:2]
    farthest = places[np.abs(places).argmax(axis=0), np.arange(2)]
    places *= np.where(farthest < 0, -1.0, 1.0)
    total = float((s**2).sum())
    if total < 1e-12:
        return Plane(np.zeros_like(places), (0.0, 0.0))
    first, second = (s[:2] ** 2 / total).tolist()
    return Plane(places, (first, second))
