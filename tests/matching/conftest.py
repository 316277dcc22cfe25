"""Labelled sets that are generic, full of ties, or made to quantize badly; and all their pairs by brute force."""

from collections.abc import Callable

import numpy as np
import pytest

MakeSet = Callable[..., tuple[np.ndarray, np.ndarray]]


def unit(e: np.ndarray) -> np.ndarray:
    return (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)


def generic(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    return unit(rng.normal(size=(n, dim)) + 0.6 * rng.normal(size=(n // 4 + 1, dim))[np.arange(n) // 4])


def huge_coordinate(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """In every vector one coordinate is 50 times the others'; in a few it is nearly all."""
    e = rng.normal(size=(n, dim))
    e[np.arange(n), rng.integers(0, dim, n)] += 50 * rng.choice([-1, 1], n)
    e[::17] = rng.normal(size=(len(e[::17]), dim)) * 1e-6
    e[::17, 3] = 1
    return unit(e)


def some_huge(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """A few vectors with one huge coordinate among ordinary ones."""
    e = generic(rng, n, dim)
    e[::13] = 1e-3 * e[::13]
    e[::13, 1] = 1
    return unit(e)


def grid(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Products are exact however they are summed, and nearly all of them tie."""
    side = 2 ** int(np.log2(dim) // 2 * 2)  # a power of four, whose root is a power of two
    e = np.zeros((n, dim), np.float32)
    e[:, :side] = rng.choice([-1, 1], size=(n, side), p=[0.3, 0.7]) / np.sqrt(side)
    return e


def copies(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Every vector occurs several times, under several identities."""
    return generic(rng, n, dim)[rng.integers(0, n // 6, n)]


def one_point(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """A network that has collapsed."""
    return np.repeat(generic(rng, 4, dim)[:1], n, 0)


KINDS_OF_SETS = {
    "generic": generic,
    "huge coordinate": huge_coordinate,
    "some huge": some_huge,
    "grid": grid,
    "copies": copies,
    "one point": one_point,
}


@pytest.fixture(params=KINDS_OF_SETS)
def kind_of_set(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_set() -> MakeSet:
    def make(kind: str = "generic", n: int = 300, dim: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings [n,dim] float32 of unit length and labels [n], in no order."""
        rng = np.random.default_rng(seed)
        e = KINDS_OF_SETS[kind](rng, n, dim)
        labels = 7 * (np.arange(n) // 4) - 5  # any numbers
        order = rng.permutation(n)
        return e[order], labels[order]

    return make


@pytest.fixture
def brute() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """All scores [N,K], in float64 and rounded once."""
    return lambda x, y: (x.astype(np.float64) @ y.astype(np.float64).T).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from faceloss.matching import gallery, nearest, pairs, ranks

    for module in (pairs, ranks, nearest):
        monkeypatch.setattr(module, "ROWS", 64)
        monkeypatch.setattr(module, "COLUMNS", 128)
    monkeypatch.setattr(gallery, "CHUNK", 256)
