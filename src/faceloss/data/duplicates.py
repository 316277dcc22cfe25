"""Copies of a picture: the same file, or the same picture encoded, scaled, lit or mirrored anew.

A picture is found in two steps. A 64-bit perceptual hash (after Zauner, "Implementation and benchmarking of perceptual
image hash functions", 2010) is compared with every other by the bits that differ; what is within `BITS` is then looked
at: the correlation of the two pictures, 32 x 32 and gray, must reach `CORRELATION`. Aligned faces look alike, so that
no number of bits alone tells copies from two pictures of a person. Measured on the 3,840 built-in faces, 64 x 64:

    a copy as JPEG of quality 30 to 90, at 0.5 to 1.5 times the size, 20 levels darker or 15 % brighter:
        at most 5 bits, correlation at least 0.984
    another picture of the same person (44,160 pairs): from 3 bits; correlation at most 0.934
    a picture of another person (7.3 million pairs): from 4 bits; correlation at most 0.923

On photographs aligned to 112 x 112, decoded at 64 x 64: of 17,375 of 105 people, 202 pairs reach 0.96, all of one name;
of 13,233 of LFW, 13 pairs, of which 4 are one picture under two names; between these two sets, which share people but
no picture, the largest of 230 million is 0.934.

Mirrored copies are found in the same way: the hash of a mirror image follows from that of the picture, and the picture
is mirrored before the correlation. Of no two built-in faces does one correlate with the mirror image of another above
0.908; of LFW above 0.948, between the sets above 0.944. Of the 17,375, 8 pairs reach 0.96, all of one name.

Turned and newly cropped copies are not found. A picture of one plain color is a copy of the same file only.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faceloss.data.entries import silent
from faceloss.data.faces import Faces, Prints, Rows
from faceloss.progress import Callback

PRINTS = 1
"""Version of the perceptual hash; change it whenever the hash of any picture changes."""

BITS = 8
"""Of 64, that may differ between the hashes of two pictures which are then compared themselves."""

CORRELATION = 0.96
"""Of two 32 x 32 gray pictures, from which on they are copies: half way between copies and other pictures."""

_SIDE = 32
_BLOCK = 1024  # images read at a time
_FEW = 64  # pictures hashed at a time: of all those near it the fastest
_GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_FLAT = 0.25  # levels of standard deviation below which a picture shows nothing
# The 64 lowest frequencies but the mean, by the sum of their two numbers.
_FREQUENCIES = sorted(((i, j) for i in range(11) for j in range(11)), key=lambda at: (sum(at), at))[1:65]

# The mirror image of a picture has its coefficients, those of odd horizontal frequency with the other sign.
_MIRROR = np.packbits([j % 2 for _, j in _FREQUENCIES]).view(np.uint64)[0]

Pixels = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


class Copies(NamedTuple):
    """K pairs of images that show one picture; ``first`` counts in one set, ``second`` in the other."""

    first: Ints  # [K]
    second: Ints  # [K]
    exact: npt.NDArray[np.bool_]  # [K] the same file, byte for byte
    bits: Ints  # [K] that differ between the hashes
    correlation: npt.NDArray[np.float64]  # [K]
    mirrored: npt.NDArray[np.bool_]  # [K] one is the mirror image of the other

    def __len__(self) -> int:
        return len(self.first)


def copies(a: Faces, b: Faces | None = None, progress: Callback = silent) -> Copies:
    """Every pair of an image of ``a`` and one of ``b`` that show one picture, ordered by their numbers.

    Without ``b``, the pairs within ``a``, each once, with ``first < second``.
    """
    other = a if b is None else b
    where: dict[str, list[int]] = {}
    for row, sha in enumerate(other.hashes):
        where.setdefault(sha, []).append(row)
    exact = {(i, j) for i, sha in enumerate(a.hashes) for j in where.get(sha, ()) if b is not None or i < j}
    ours, theirs = prints_of(a, progress), None if b is None else prints_of(b, progress)
    listed = dict.fromkeys(exact, (0, 1.0, False))
    for mirrored in (False, True):
        first, second, bits = near(ours, theirs, mirrored=mirrored, progress=progress)
        correlation = _correlations(a, other, first, second, mirrored)
        found = correlation >= CORRELATION
        for i, j, d, c in zip(*(column[found].tolist() for column in (first, second, bits, correlation)), strict=True):
            listed.setdefault((i, j), (d, c, mirrored))
    pairs = sorted(listed)
    return Copies(
        np.array([i for i, _ in pairs], dtype=np.int64),
        np.array([j for _, j in pairs], dtype=np.int64),
        np.array([pair in exact for pair in pairs], dtype=bool),
        np.array([listed[pair][0] for pair in pairs], dtype=np.int64),
        np.array([listed[pair][1] for pair in pairs], dtype=np.float64),
        np.array([listed[pair][2] for pair in pairs], dtype=bool),
    )


def prints_of(faces: Faces, progress: Callback = silent) -> npt.NDArray[np.uint64]:
    """The perceptual hashes [N] of a set: those it carries or its cache keeps, else computed."""
    if isinstance(faces.prints, Prints):
        return faces.prints.read(progress)
    return prints_in_blocks(faces.pixels, progress) if faces.prints is None else faces.prints


def prints_in_blocks(pixels: Pixels | Rows, progress: Callback = silent) -> npt.NDArray[np.uint64]:
    """`prints` of many pictures, some at a time."""
    blocks = [np.zeros(0, np.uint64)]
    for start in range(0, len(pixels), _FEW):
        blocks.append(prints(pixels[start : start + _FEW]))
        progress("hashing pictures", start + len(blocks[-1]), len(pixels))
    return np.concatenate(blocks)


def prints(pixels: Pixels) -> npt.NDArray[np.uint64]:
    """A 64-bit perceptual hash of each picture [N,H,H,3] uint8: [N].

    Bit k tells whether the k-th lowest coefficient of the cosine transform (DCT-II) of the gray picture, averaged down
    to 32 x 32, is positive; the mean is no part of it, and a change of contrast keeps every sign. 0 is the hash of a
    picture that shows nothing, of one plain color.
    """
    gray = pixels @ _GRAY  # [N,H,H]
    transform = _transform(gray.shape[1])
    coefficients = transform @ gray @ transform.T  # [N,11,11]
    rows, columns = np.array(_FREQUENCIES).T
    signs = np.ascontiguousarray(np.packbits(coefficients[:, rows, columns] > 0, axis=1))  # [N,8]
    flat = gray.std(axis=(1, 2)) < _FLAT
    return np.where(flat, np.uint64(0), signs.view(np.uint64)[:, 0])


@cache
def _transform(size: int) -> npt.NDArray[np.float32]:
    """[11,size]: averages a column down to 32 pixels and gives its 11 lowest coefficients."""
    n = np.arange(_SIDE)
    cosines = np.cos(np.pi * (2 * n[None, :] + 1) * n[:11, None] / (2 * _SIDE))
    return np.asarray((cosines @ average(size)).astype(np.float32))


def near(
    a: npt.NDArray[np.uint64],
    b: npt.NDArray[np.uint64] | None = None,
    bits: int = BITS,
    mirrored: bool = False,
    progress: Callback = silent,
) -> tuple[Ints, Ints, Ints]:
    """Pairs of hashes that differ in at most ``bits`` bits: numbers in ``a`` [K], numbers in ``b`` [K], bits [K].

    Every pair is counted, block by block, so that memory does not grow with the sets. Without ``b``, the pairs within
    ``a`` with the smaller number first. The hash 0, of plain pictures, is near nothing. With ``mirrored``, the hash of
    a picture in ``a`` is that of its mirror image.
    """
    other = a if b is None else b
    turned = _MIRROR if mirrored else np.uint64(0)
    found: list[tuple[Ints, Ints, Ints]] = []
    for top in range(0, len(a), 64):
        some = a[top : top + 64, None]
        for left in range(top if b is None else 0, len(other), 8192):
            across = other[None, left : left + 8192]
            distance = _ones(some ^ turned ^ across)  # [64,8192]
            i, j = np.nonzero(distance <= bits)
            if not len(i):
                continue
            good = (some[i, 0] != 0) & (across[0, j] != 0) & ((b is not None) | (top + i < left + j))
            i, j = i[good], j[good]
            found.append((top + i, left + j, distance[i, j].astype(np.int64)))
        progress("comparing pictures", min(top + 64, len(a)), len(a))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    i, j, d = (np.concatenate(column) for column in zip(*found, strict=True))
    return i, j, d


def _ones(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.asarray(np.bitwise_count(words))
    return np.asarray(np.unpackbits(words[..., None].view(np.uint8), axis=-1).sum(axis=-1, dtype=np.uint8))


def average(size: int) -> npt.NDArray[np.float64]:
    """[32,size]: the weights that average ``size`` pixels down (or spread them) to 32, each over its own length."""
    edges = np.linspace(0, size, _SIDE + 1)
    pixels = np.arange(size)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    weights = np.maximum(high - low, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _correlations(a: Faces, b: Faces, first: Ints, second: Ints, mirrored: bool) -> npt.NDArray[np.float64]:
    """Of the pictures ``a[first[k]]``, ``mirrored`` or not, and ``b[second[k]]``, in [-1,1]: [K].

    0 where one shows nothing.
    """
    blocks = [np.zeros(0)]
    for start in range(0, len(first), _BLOCK):
        pictures = a.pixels[first[start : start + _BLOCK]]
        ours = _thumbnails(pictures[:, :, ::-1] if mirrored else pictures)
        theirs = _thumbnails(b.pixels[second[start : start + _BLOCK]])
        blocks.append((ours * theirs).sum(axis=1))
    return np.concatenate(blocks)


def _thumbnails(pixels: Pixels) -> npt.NDArray[np.float64]:
    """[N,1024]: gray, 32 x 32, of mean 0 and norm 1."""
    weights = average(pixels.shape[1]).astype(np.float32)
    small = (weights @ (pixels @ _GRAY) @ weights.T).reshape(len(pixels), -1).astype(np.float64)
    small -= small.mean(axis=1, keepdims=True)
    return np.asarray(small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6))
