"""Closed-set recognition: a linear classifier on fixed embeddings, as in the student comparison of the field.

    min over W, b of   1/N sum_i -log softmax(W x_i + b)[y_i]  +  decay/2 ||W||^2          x_i of unit length

Convex, started at zero, solved by L-BFGS: the same data give the same classifier. ``decay`` is a constant, never
tuned on the test images.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.evaluate.metrics import Floats, Ints

DECAY = 1e-5
STEPS = 150


class Linear(NamedTuple):
    weight: NDArray[np.float32]  # [C,D]
    bias: NDArray[np.float32]  # [C]
    steps: int
    objective: float

    def predict(self, embeddings: NDArray[np.float32]) -> Ints:
        """[N] the class with the highest logit."""
        return np.asarray(np.argmax(embeddings @ self.weight.T + self.bias, axis=1), dtype=np.int64)


def train(
    embeddings: NDArray[np.float32],
    labels: Ints,
    classes: int,
    decay: float = DECAY,
    progress: Callable[[str, int, int], None] | None = None,
) -> Linear:
    """Multinomial logistic regression on ``embeddings`` [N,D] (unit length) with ``labels`` [N] in 0..classes-1."""
    from scipy.optimize import minimize  # type: ignore[import-untyped] # slow to import and needed here only

    n, d = embeddings.shape
    rows, steps = np.arange(n), 0

    def objective(flat: Floats) -> tuple[float, Floats]:
        table = flat.reshape(classes, d + 1).astype(np.float32)
        logits = embeddings @ table[:, :d].T + table[:, d]  # [N,C]
        logits -= logits.max(axis=1, keepdims=True)
        target = logits[rows, labels].astype(np.float64)
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, dtype=np.float64)
        logits /= total.astype(np.float32)[:, None]
        logits[rows, labels] -= 1
        gradient = np.empty((classes, d + 1))
        gradient[:, :d] = (logits.T @ embeddings) / n
        gradient[:, d] = logits.mean(axis=0)
        weight = flat.reshape(classes, d + 1)[:, :d]
        gradient[:, :d] += decay * weight
        return float(np.mean(np.log(total) - target) + decay / 2 * np.sum(weight * weight)), gradient.ravel()

    def step(_: Floats) -> None:
        nonlocal steps
        steps += 1
        if progress is not None:
            progress("linear classifier", steps, STEPS)

    found = minimize(
        objective,
        np.zeros(classes * (d + 1)),
        jac=True,
        method="L-BFGS-B",
        callback=step,
        options={"maxiter": STEPS, "ftol": 1e-9, "gtol": 1e-7},
    )
    table = found.x.reshape(classes, d + 1).astype(np.float32)
    return Linear(table[:, :d], table[:, d], steps, float(found.fun))


def hold_out(labels: Ints, min_images: int = 4, images: int = 2) -> tuple[Ints, Ints]:
    """Split a labelled set for the linear classifier: (training indices, test indices), the same every time.

    Of every identity with at least ``min_images`` the ``images`` test images are spread evenly over its images in
    file order; smaller identities are left out.
    """
    training, test = [], []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        if own.size < max(min_images, images + 1):
            continue
        held = ((np.arange(images) + 0.5) * own.size / images).astype(np.int64)
        test.append(own[held])
        training.append(np.delete(own, held))
    empty = np.empty(0, dtype=np.int64)
    return np.concatenate([empty, *training]), np.concatenate([empty, *test])
