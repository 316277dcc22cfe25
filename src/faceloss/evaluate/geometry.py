"""Has the embedding collapsed? Two measures, because either alone misses a kind of collapse."""

import numpy as np
from numpy.typing import NDArray


def mean_cosine(embeddings: NDArray[np.floating]) -> float:
    """Mean cosine over all pairs of distinct rows [N,D]; near 1 when all faces fall on one point.

    From the norm of the mean: sum over all pairs of u_i . u_j = |sum u_i|^2.
    """
    unit = _unit(embeddings)
    count = len(unit)
    total = float(np.square(unit.sum(axis=0)).sum())
    return (total - count) / (count * (count - 1)) if count > 1 else 1.0


def effective_rank(embeddings: NDArray[np.floating]) -> float:
    """exp of the entropy of the covariance's normalized eigenvalues, between 1 and D.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007. Near 1 when all faces fall on one line.
    """
    unit = _unit(embeddings)
    values = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False) ** 2
    total = values.sum()
    if total < 1e-12:
        return 1.0
    share = values[values > 1e-12 * total] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    rows = np.asarray(embeddings, dtype=np.float64)
    unit: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
