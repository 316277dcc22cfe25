"""The two things this room hands over: a set of decoded crops, and a list of pairs over one.

    Faces      pixels [N,H,W,3] uint8 RGB with identity, split, group and file hash per image
    PairList   first [M], second [M] (indices into the faces), same [M], fold [M]

Names are always valid text: bytes of a file name that are not UTF-8 are shown as ``\\xNN``.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from faceloss.data.decode import PREPROCESSING
from faceloss.progress import Callback

if TYPE_CHECKING:
    from faceloss.data.encoded import Encoded


class Refused(NamedTuple):
    """An image (or pair) that was left out, and why; the reasons are few and fixed, so they can be counted."""

    file: str
    reason: str
    identity: str = ""
    split: str = ""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some images of an array [N,H,W,3], read when asked for: ``rows[index]`` is ``array[numbers[index]]``.

    Of a memory map only the images of the batch at hand are brought into memory, and all processes share them; of
    encoded files only these are decoded.
    """

    array: "npt.NDArray[np.uint8] | Encoded"
    numbers: npt.NDArray[np.int64]  # [M]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, H, W, 3)."""
        return (len(self.numbers), *self.array.shape[1:])

    def __getitem__(self, index: Any) -> npt.NDArray[np.uint8]:
        """The images at ``index``: a number, a slice, numbers or booleans."""
        return np.asarray(self.array[self.numbers[index]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("images that are read when asked for cannot become an array without a copy")
        return self[:].astype(dtype or np.uint8, copy=False)


@dataclass(frozen=True, eq=False)
class Prints:
    """Perceptual hashes of some images of a set, which are computed when they are asked for."""

    whole: Callable[[Callback], npt.NDArray[np.uint64]]  # those of all images of the set
    numbers: npt.NDArray[np.int64]  # [M]

    def __getitem__(self, index: Any) -> "Prints":
        return Prints(self.whole, self.numbers[index])

    def read(self, progress: Callback) -> npt.NDArray[np.uint64]:
        """[M] the hashes."""
        return self.whole(progress)[self.numbers]


@dataclass(frozen=True, eq=False)
class Faces:
    """A decoded set of crops. N images, C identities.

    An identity named ``""`` means that the source does not say who is shown (``.bin`` pair files); such images match
    nobody when sets are compared by name.
    """

    name: str  # short, for people
    pixels: npt.NDArray[np.uint8] | Rows  # [N,H,W,3] uint8 RGB: a read-only memory map, or some rows of one or of files
    labels: npt.NDArray[np.int64]  # [N] index into identities
    identities: tuple[str, ...]  # C names
    files: tuple[str, ...]  # N, as named in the source
    splits: tuple[str, ...]  # N: "train", "val", "test", "test_closed", "" (the source says nothing) or another name
    groups: tuple[str, ...]  # N, "" where unknown
    hashes: tuple[str, ...]  # N, sha256 of the encoded file
    refused: tuple[Refused, ...]
    digest: str
    prints: npt.NDArray[np.uint64] | Prints | None = None  # [N] perceptual hashes; see `faceloss.data.duplicates`
    generated: bool = False  # no picture shows a real person, so any may be shown; see `faceloss.data.about`
    contract: dict[str, Any] | None = None  # how they were prepared (`faceloss.data.contract`); None: nobody says

    def __len__(self) -> int:
        return len(self.files)

    def take(self, index: Sequence[int] | npt.NDArray[Any]) -> "Faces":
        """The images at ``index`` (numbers, or N booleans), in that order.

        Labels are numbered anew without gaps, identities without an image disappear, and the ledger of refused files
        stays with the whole set. No image is copied: the subset reads those of this set.
        """
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        whole = self.pixels if isinstance(self.pixels, Rows) else Rows(self.pixels, np.arange(len(self)))
        kept, labels = np.unique(self.labels[chosen], return_inverse=True)
        rows = chosen.tolist()
        subset = replace(
            self,
            pixels=Rows(whole.array, whole.numbers[chosen]),
            labels=labels.astype(np.int64),
            identities=tuple(self.identities[label] for label in kept.tolist()),
            files=tuple(self.files[row] for row in rows),
            splits=tuple(self.splits[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            hashes=tuple(self.hashes[row] for row in rows),
            refused=(),
            prints=None if self.prints is None else self.prints[chosen],
        )
        names = [subset.identities[label] for label in subset.labels.tolist()]
        described = zip(subset.files, names, subset.splits, subset.groups, subset.hashes, strict=True)
        return replace(subset, digest=digest(described, self.pixels.shape[1]))


@dataclass(frozen=True, eq=False)
class PairList:
    """M pairs of images: ``faces.pixels[first[i]]`` against ``faces.pixels[second[i]]``."""

    faces: Faces  # only the images that some pair uses
    first: npt.NDArray[np.int64]  # [M]
    second: npt.NDArray[np.int64]  # [M]
    same: npt.NDArray[np.bool_]  # [M] True: the same person
    fold: npt.NDArray[np.int64]  # [M] from 0
    left_out: tuple[Refused, ...] = ()  # pairs without a usable image

    def __len__(self) -> int:
        return len(self.same)


def digest(images: Iterable[tuple[str, str, str, str, str]], size: int) -> str:
    """SHA-256 over the sorted (file, identity, split, group, file hash) of all images, the preprocessing and the size.

    It does not depend on where the data lie, nor on the order in which they were listed.
    """
    total = hashlib.sha256(f"{PREPROCESSING}\x1f{size}".encode())
    for image in sorted(images):
        total.update(b"\x1e" + "\x1f".join(image).encode())
    return total.hexdigest()


def exact_duplicates(faces: Faces) -> int:
    """How many images repeat the bytes of another one: N minus the number of different files."""
    return len(faces) - len(set(faces.hashes))
