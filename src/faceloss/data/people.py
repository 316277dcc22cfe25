"""Who is who by embeddings: identities that are one person, and pictures of somebody else.

An identity is represented by the mean of its unit embeddings, taken anew three times over the 70 % nearest to it, so
that a fifth of wrong pictures does not move it. What is near is read off the set itself, never off a fixed cosine:
two halves of one identity tell how alike one person is, the means of all the others how alike strangers are.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faceloss.data.keys import generator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_IMAGES = 4  # of an identity that is split into halves, or whose pictures are judged
_KEPT = 0.7
_STRANGERS = 8  # drawn for each picture


class Alike(NamedTuple):
    """Two identities that are one person by their embeddings."""

    first: int  # label
    second: int
    cosine: float  # of their means
    threshold: float


class Wrong(NamedTuple):
    """A picture that does not show the identity it is filed under."""

    row: int
    cosine: float  # with the mean of its identity
    threshold: float
    nearest: int  # label of the identity it is nearest to, if it is not its own
    nearest_cosine: float


def unit(embeddings: npt.ArrayLike) -> Floats:
    """[N,D] embeddings at norm 1; one of norm 0 stays 0."""
    e = np.asarray(embeddings, dtype=np.float64)
    return np.asarray(e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-12))


def robust_mean(embeddings: Floats) -> Floats:
    """[D]: the direction of most of the unit embeddings [n,D]."""
    mean = embeddings.mean(axis=0)
    for _ in range(3):
        near = np.argsort(-(embeddings @ mean), kind="stable")[: max(1, round(_KEPT * len(embeddings)))]
        mean = embeddings[near].mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12))


def means(embeddings: Floats, labels: Ints) -> Floats:
    """[C,D]: the robust mean of each identity, at norm 1."""
    order = np.argsort(labels, kind="stable")
    parts = np.split(embeddings[order], np.cumsum(np.bincount(labels))[:-1])
    return np.stack([robust_mean(part) for part in parts])


def alike(
    embeddings: Floats, labels: Ints, other: Floats | None = None, other_labels: Ints | None = None
) -> list[Alike]:
    """Identities of one set (or one of each of two sets) that are one person; ordered by label.

    Each is the other's nearest, and the cosine of their means reaches both what 98 % of the identities reach with half
    of their pictures against the other half, and four robust standard deviations above the median of strangers.
    """
    ours = means(embeddings, labels)
    theirs = ours if other is None or other_labels is None else means(other, other_labels)
    cosines = ours @ theirs.T  # [C,C']
    split = np.flatnonzero(np.bincount(labels) >= MIN_IMAGES).tolist()
    halves = [_halves(embeddings[labels == label], label) for label in split]
    if other is None:
        np.fill_diagonal(cosines, -1.0)
    if not halves or min(cosines.shape) < 2:
        return []
    strangers = cosines[~np.eye(len(ours), dtype=bool)] if other is None else cosines.ravel()
    middle, upper = np.quantile(strangers, [0.5, 0.8413])
    threshold = max(float(np.quantile(halves, 0.02)), float(middle + 4 * (upper - middle)))
    found = []
    for i, j in enumerate(cosines.argmax(axis=1).tolist()):
        mutual = cosines[:, j].argmax() == i
        if mutual and cosines[i, j] >= threshold and (other is not None or i < j):
            found.append(Alike(i, j, float(cosines[i, j]), threshold))
    return found


def _halves(embeddings: Floats, label: int) -> float:
    order = generator("halves", label).permutation(len(embeddings))
    half = len(order) // 2
    return float(robust_mean(embeddings[order[:half]]) @ robust_mean(embeddings[order[half:]]))


def wrong_pictures(embeddings: Floats, labels: Ints) -> list[Wrong]:
    """Pictures that are more likely strangers to their identity than of it; ordered by row.

    A picture is judged by its cosine with the mean of its identity. With F(t) the share of pictures below t and S(t)
    that of strangers (cosines with the means of other identities drawn by chance), the share of wrong pictures is
    w = F(u) / S(u) at the upper quartile u of strangers, below which hardly a right picture lies. The threshold t is
    where the right pictures below it and the wrong ones above it, max(0, F(t) - w S(t)) + w (1 - S(t)), are fewest.
    Identities of fewer than `MIN_IMAGES` pictures are not judged: nobody knows which one is wrong.
    """
    centers = means(embeddings, labels)
    rows = np.flatnonzero(np.bincount(labels)[labels] >= MIN_IMAGES)
    if len(centers) < 2 or not len(rows):
        return []
    e, label = embeddings[rows], labels[rows]
    own = (e * centers[label]).sum(axis=1)
    away = generator("strangers").integers(1, len(centers), (_STRANGERS, len(rows)))
    strangers = np.sort(np.concatenate([(e * centers[(label + by) % len(centers)]).sum(axis=1) for by in away]))
    threshold = _threshold(np.sort(own), strangers)
    chosen = np.flatnonzero(own < threshold)
    found = []
    for start in range(0, len(chosen), 1024):
        some = chosen[start : start + 1024]
        cosines = e[some] @ centers.T  # [n,C]
        cosines[np.arange(len(some)), label[some]] = -np.inf
        nearest = cosines.argmax(axis=1)
        for k, other in zip(range(len(some)), nearest.tolist(), strict=True):
            row = int(some[k])
            found.append(Wrong(int(rows[row]), float(own[row]), threshold, other, float(cosines[k, other])))
    return found


def _threshold(own: Floats, strangers: Floats) -> float:
    """The cosine with the fewest pictures expected on its wrong side; both arrays are sorted."""
    upper = strangers[3 * len(strangers) // 4]
    wrong = float(np.searchsorted(own, upper)) / len(own) / 0.75
    below = np.arange(len(own)) / len(own)  # F: the share of pictures below each of them
    known = np.searchsorted(strangers, own) / len(strangers)  # S
    errors = np.maximum(below - wrong * known, 0) + wrong * (1 - known)
    return float(own[int(errors.argmin())])
