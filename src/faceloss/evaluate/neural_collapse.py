"""Neural collapse: how far a trained embedding is from one point per identity, the points as far apart as can be.

Four measures, all 0 at collapse. With h_i the embeddings, mu_c the mean of class c, mu_G the mean of the *class* means,
m_c = mu_c - mu_G and w_c the class vectors:

    NC1  within-class variability    tr( Sigma_W Sigma_B^+ ) / K
    NC2  equal norms, equal angles   std / mean of ||m_c||;  mean over pairs of |cos(m_c, m_c') + 1/(K-1)|
    NC3  self-duality                || W / ||W||_F - M / ||M||_F ||_F^2
    NC4  nearest class mean          share of samples that the classifier and the nearest mean put into other classes

The simplex of NC2, in which all K means have cosine -1/(K-1), needs K <= D + 1. With more classes no embedding can get
there, however good: the angle of NC2 is then not reachable, is given as None, and :class:`CosineStatistics` are what
to look at instead. Computed in float64 throughout; nothing is NaN.

Papyan, Han, Donoho, "Prevalence of neural collapse during the terminal phase of deep learning training", PNAS 2020.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.geometry import mean_cosine, unit

Floats = NDArray[np.float64]
BLOCK = 1024  # rows of a matrix of classes x classes, or samples x classes, that are held at a time


class ClassMeans(NamedTuple):
    """The means of the classes that occur, in the order of their labels."""

    means: Floats  # [K,D]
    center: Floats  # [D]: the mean of the class means
    label: NDArray[np.int64]  # [N]: which of the K, for each sample

    @property
    def centered(self) -> Floats:
        """m_c = mu_c - mu_G, [K,D]."""
        return self.means - self.center


class Variability(NamedTuple):
    """NC1, two ways. ``inf`` where all class means coincide and samples do not."""

    papyan: float  # tr(Sigma_W pinv(Sigma_B)) / K
    ratio: float  # tr Sigma_W / tr Sigma_B; cheap, and it also sees what lies outside the space of the class means
    rank: int  # of Sigma_B as it was inverted: at most min(K - 1, D)


class CosineStatistics(NamedTuple):
    """Cosines between distinct vectors of K; the measure of spread that also serves where K > D + 1."""

    mean: float  # at least -1/(K-1)
    std: float
    largest: float
    nearest: float  # mean over the vectors of the Euclidean distance, on the unit sphere, to the nearest other
    welch: float  # no K vectors in D dimensions have a largest |cosine| below this


class NeuralCollapse(NamedTuple):
    """All measures of one embedding; None: not reachable (angles with K > D + 1), or no class vectors were given."""

    classes: int
    dim: int
    applies: str  # "simplex" where K <= D + 1, else "cosines": which measure of spread to read
    within: Variability  # NC1
    norms: float  # NC2 of the centered means
    angles: float | None
    simplex: float | None
    cosines: CosineStatistics  # of the centered means
    vector_norms: float | None  # NC2 of the class vectors
    vector_angles: float | None
    vector_simplex: float | None
    duality: float | None  # NC3
    disagreement: float | None  # NC4


def class_means(embeddings: ArrayLike, labels: ArrayLike) -> ClassMeans:
    """The class means of ``embeddings`` [N,D] with ``labels`` [N].

    Raises:
        BadInput: shapes that do not fit, numbers that are not finite, fewer than 2 classes.
    """
    rows = _matrix(embeddings, "Embeddings")
    numbers = np.asarray(labels)
    if numbers.shape != rows.shape[:1]:
        raise BadInput(f"Labels must be [{len(rows)}], one for each embedding; given {list(numbers.shape)}.")
    present, label = np.unique(numbers, return_inverse=True)
    if len(present) < 2:
        raise BadInput(f"Neural collapse needs at least 2 classes; given {len(present)}.")
    sums = np.zeros((len(present), rows.shape[1]))
    np.add.at(sums, label, rows)
    means = sums / np.bincount(label)[:, None]
    return ClassMeans(means, means.mean(axis=0), label.astype(np.int64))


def within_variability(embeddings: ArrayLike, labels: ArrayLike) -> Variability:
    """NC1 of ``embeddings`` [N,D] with ``labels`` [N]: Sigma_W pooled over all samples, /N; Sigma_B over classes, /K.

    Sigma_B has at most rank min(K-1, D), so of its eigenvalues only that many are inverted, and of these only what is
    above rounding: a larger pseudo-inverse would divide by noise.
    """
    about = class_means(embeddings, labels)
    away = _matrix(embeddings, "Embeddings") - about.means[about.label]
    centered = about.centered
    classes, dim = centered.shape
    within, between = float(np.square(away).sum()) / len(away), float(np.square(centered).sum()) / classes
    # Singular vectors of the K x D means themselves: squaring them first would lose half of the digits.
    _, sizes, directions = np.linalg.svd(centered / math.sqrt(classes), full_matrices=False)
    scale = float(np.abs(about.means).max())
    floor = max(classes, dim) * np.finfo(np.float64).eps * max(float(sizes[0]), scale)
    rank = min(int((sizes > floor).sum()), classes - 1, dim)
    if rank == 0:
        worst = math.inf if within > 0 else 0.0
        return Variability(worst, worst, 0)
    spread = np.square(away @ directions[:rank].T).sum(axis=0) / len(away)  # diagonal of Sigma_W there
    papyan = float((spread / np.square(sizes[:rank])).sum()) / classes
    return Variability(papyan, within / between, rank)


def norm_spread(vectors: ArrayLike) -> float:
    """NC2, equal norms: standard deviation / mean of the lengths of ``vectors`` [K,D]; 0 if all are 0."""
    norms = np.linalg.norm(_matrix(vectors, "Vectors"), axis=1)
    return float(norms.std() / norms.mean()) if norms.any() else 0.0


def reachable(classes: int, dim: int) -> bool:
    """Whether a simplex of ``classes`` vectors exists in ``dim`` dimensions."""
    return classes <= dim + 1


def angle_error(vectors: ArrayLike) -> float | None:
    """NC2, equal angles: mean over pairs of |cos + 1/(K-1)| of ``vectors`` [K,D]; None if not reachable."""
    rows = _matrix(vectors, "Vectors")
    classes, dim = rows.shape
    if not reachable(classes, dim):
        return None
    directions = unit(rows)
    cosines = (directions @ directions.T)[~np.eye(classes, dtype=bool)]
    return float(np.abs(cosines + 1 / (classes - 1)).mean())


def simplex_error(vectors: ArrayLike) -> float | None:
    """NC2 in one number: || V V^T / ||V V^T||_F - (I - 1 1^T / K) / sqrt(K-1) ||_F; None if not reachable."""
    rows = _matrix(vectors, "Vectors")
    classes, dim = rows.shape
    if not reachable(classes, dim):
        return None
    gram = rows @ rows.T
    size = float(np.linalg.norm(gram))
    ideal = (np.eye(classes) - 1 / classes) / math.sqrt(classes - 1)
    return float(np.linalg.norm(gram / (size or 1.0) - ideal))


def cosine_statistics(vectors: ArrayLike) -> CosineStatistics:
    """Cosines between the rows of ``vectors`` [K,D], in blocks, so that K may be large."""
    directions = unit(_matrix(vectors, "Vectors"))
    classes, dim = directions.shape
    pairs, mean = classes * (classes - 1), mean_cosine(directions)
    deviation, nearest = 0.0, np.empty(classes)
    for start in range(0, classes, BLOCK):
        block = directions[start : start + BLOCK] @ directions.T  # [BLOCK,K]
        own = np.arange(len(block)), np.arange(start, start + len(block))
        block[own] = mean
        deviation += float(np.square(block - mean).sum())
        block[own] = -np.inf
        nearest[start : start + BLOCK] = block.max(axis=1)
    distance = np.sqrt(np.maximum(2 - 2 * nearest, 0))
    welch = math.sqrt(max(0, classes - dim) / (dim * (classes - 1)))
    return CosineStatistics(mean, math.sqrt(deviation / pairs), float(nearest.max()), float(distance.mean()), welch)


def duality_error(vectors: ArrayLike, means: ArrayLike) -> float:
    """NC3: || W / ||W||_F - M / ||M||_F ||_F^2 of class vectors and centered class means [K,D]; 0 to 4.

    A matrix of zeros has no direction and stays zero, which gives 1.
    """
    one, other = _matrix(vectors, "Class vectors"), _matrix(means, "Means")
    if one.shape != other.shape:
        raise BadInput(f"Class vectors and means must have one shape; given {list(one.shape)} and {list(other.shape)}.")
    sizes = [float(np.linalg.norm(rows)) or 1.0 for rows in (one, other)]
    return float(np.square(one / sizes[0] - other / sizes[1]).sum())


def disagreement(embeddings: ArrayLike, labels: ArrayLike, vectors: ArrayLike) -> float:
    """NC4: share of samples for which argmax h.w_c and the nearest class mean (Euclidean) are different classes."""
    rows = _matrix(embeddings, "Embeddings")
    means = class_means(rows, labels).means
    weights = _matrix(vectors, "Class vectors")
    if weights.shape != means.shape:
        raise BadInput(f"Class vectors must be {list(means.shape)}, a row a class; given {list(weights.shape)}.")
    half = np.square(means).sum(axis=1) / 2
    different = 0
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        nearest = (block @ means.T - half).argmax(axis=1)  # smallest ||h - mu||^2
        different += int((nearest != (block @ weights.T).argmax(axis=1)).sum())
    return different / len(rows)


def measure_collapse(embeddings: ArrayLike, labels: ArrayLike, vectors: ArrayLike | None = None) -> NeuralCollapse:
    """All measures of ``embeddings`` [N,D] with ``labels`` [N] and, if given, class vectors [K,D].

    Row k of ``vectors`` belongs to the k-th smallest label that occurs. Give embeddings as the classifier sees them:
    unit length for a loss on cosines, raw otherwise.

    Raises:
        BadInput: shapes that do not fit, numbers that are not finite, fewer than 2 classes.
    """
    centered = class_means(embeddings, labels).centered
    classes, dim = centered.shape
    return NeuralCollapse(
        classes,
        dim,
        "simplex" if reachable(classes, dim) else "cosines",
        within=within_variability(embeddings, labels),
        norms=norm_spread(centered),
        angles=angle_error(centered),
        simplex=simplex_error(centered),
        cosines=cosine_statistics(centered),
        vector_norms=None if vectors is None else norm_spread(vectors),
        vector_angles=None if vectors is None else angle_error(vectors),
        vector_simplex=None if vectors is None else simplex_error(vectors),
        duality=None if vectors is None else duality_error(vectors, centered),
        disagreement=None if vectors is None else disagreement(embeddings, labels, vectors),
    )


def _matrix(values: ArrayLike, what: str) -> Floats:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[0] < 2 or rows.shape[1] < 1:
        raise BadInput(f"{what} must be a matrix of at least two rows; given {list(rows.shape)}.")
    if not np.isfinite(rows).all():
        raise BadInput(f"{what} must be finite; some numbers are not.")
    return rows
