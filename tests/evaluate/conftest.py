"""Generic small sets of embeddings: every identity has its own direction, its own noise, its own number of images."""

from collections.abc import Callable

import numpy as np
import pytest

MakeSet = Callable[..., tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def make_set() -> MakeSet:
    def make(
        identities: int = 40, images: tuple[int, int] = (1, 8), dim: int = 12, noise: float = 0.7, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        sizes = rng.integers(images[0], images[1] + 1, identities)
        centers = rng.normal(size=(identities, dim))
        labels = np.repeat(np.arange(identities), sizes)
        spread = noise * rng.uniform(0.4, 1.6, identities)[labels, None]
        embeddings = (centers[labels] + spread * rng.normal(size=(len(labels), dim))).astype(np.float32)
        order = rng.permutation(len(labels))
        return embeddings[order], labels[order]

    return make
