"""Random numbers keyed by what they are for, never by the order in which they are asked for.

A run that is killed and resumed, or split over workers, asks in another order; keyed numbers come out the same.
"""

import hashlib

import numpy as np


def key(*parts: int | str) -> int:
    """A 128-bit number that depends on every part: ``key(seed, epoch, "augment", index)``."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator (Philox) keyed by ``parts``, e.g. ``generator(seed, epoch, "order")``."""
    return np.random.Generator(np.random.Philox(key=key(*parts)))
