"""Faces that are decoded each time they are asked for, of sets too large to be kept decoded.

The pixels are those of the cache (`faceloss.data.cache`), to the bit: a training that streams its faces is the training
that does not. Paid for is the decoding of each image in every epoch, and reading it where it lies.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from faceloss.data.decode import Unusable, decode
from faceloss.data.entries import Entry
from faceloss.data.faces import Faces, Rows
from faceloss.errors import CouldNotFinish


@dataclass(frozen=True, eq=False)
class Encoded:
    """The crops [N,size,size,3] of N encoded images, indexed as an array; only what is asked for is decoded."""

    entries: tuple[Entry, ...]
    hashes: tuple[str, ...]  # N, sha256 of the encoded files
    size: int
    shards: npt.NDArray[np.int64]  # [N] of several archives, which one holds the image

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, size, size, 3)."""
        return (len(self), self.size, self.size, 3)

    def __getitem__(self, index: Any) -> npt.NDArray[np.uint8]:
        """The images at ``index``: a number, a slice, numbers or booleans.

        Raises:
            CouldNotFinish: a file is not the one that was there when the set was opened.
        """
        if isinstance(index, int | np.integer):
            return self._one(int(index))
        if isinstance(index, slice):
            rows = list(range(*index.indices(len(self))))
        else:
            chosen = np.asarray(index)
            rows = (np.flatnonzero(chosen) if chosen.dtype == bool else chosen).tolist()
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place, row in enumerate(rows):
            out[place] = self._one(row)
        return out

    def _one(self, row: int) -> npt.NDArray[np.uint8]:
        entry = self.entries[row]
        try:
            data = entry.read()
            if hashlib.sha256(data).hexdigest() == self.hashes[row]:
                return decode(data, self.size)
            why = "it changed"
        except (OSError, Unusable) as error:
            why = getattr(error, "strerror", None) or str(error)
        raise CouldNotFinish(
            f"{entry.file} cannot be read as it was at the start ({why}); bring the images back and continue."
        )


def shards_of(faces: Faces) -> npt.NDArray[np.int64] | None:
    """Of each image, which of several archives holds it [N]; None for faces that are not streamed."""
    if isinstance(faces.pixels, Rows) and isinstance(faces.pixels.array, Encoded):
        return np.asarray(faces.pixels.array.shards[faces.pixels.numbers])
    return None
