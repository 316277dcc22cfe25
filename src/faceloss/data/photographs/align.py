"""From five landmarks to an aligned crop: the template, the similarity transform, and the resampling.

Coordinates are those of `faceloss.data.photographs.detector`: (0, 0) is the center of the top left pixel.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from faceloss.errors import BadInput, unknown

Points = npt.NDArray[np.float64]

TEMPLATE, TEMPLATE_VERSION = "arcface", 1
"""The five landmarks that insightface aligns to; its 96 columns in the middle are those of SphereFace and CosFace."""
_ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
INTERPOLATION = "1: mean over k x k pixels, k the whole part of the reduction; then bicubic"
"""Part of the contract; change it whenever the pixels of any crop change."""

# Height and width by name.
SIZES = {"112": (112, 112), "112x96": (112, 96), "96": (96, 96), "64": (64, 64)}


class Template(NamedTuple):
    """Where the landmarks of a face lie in a crop."""

    height: int
    width: int
    landmarks: Points  # [5,2] x, y: left eye, right eye, nose, left and right corner of the mouth, as seen


def template(size: str) -> Template:
    """The ArcFace template at 112, 96 or 64 pixels a side (the same view, scaled), or its middle 96 of 112 columns.

    >>> template("112x96").landmarks[0].round(4).tolist()
    [30.2946, 51.6963]
    """
    if size not in SIZES:
        raise BadInput(unknown("size of crops", size, SIZES))
    height, width = SIZES[size]
    if size == "112x96":
        return Template(height, width, _ARCFACE - [8, 0])
    return Template(height, width, (_ARCFACE + 0.5) * (height / 112) - 0.5)


def similarity(source: Points, target: Points) -> Points:
    """The matrix [2,3] of scale, rotation and shift that brings ``source`` [n,2] nearest to ``target`` [n,2].

    Minimizes sum |A s + t - d|^2 over A = scale * rotation. With points as complex numbers around their means it is one
    regression coefficient, sum(conj(s) d) / sum |s|^2; the least-squares solution of Umeyama (IEEE PAMI 13(4), 1991)
    where that does not mirror.

    Raises:
        ValueError: the points of ``source`` are one point, or not finite.
    """
    s, d = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    s0, d0 = s.mean(), d.mean()
    spread = float((np.abs(s - s0) ** 2).sum())
    if not np.isfinite(spread) or spread < 1e-9:
        raise ValueError("landmarks in one point")
    a = (np.conj(s - s0) * (d - d0)).sum() / spread
    if not 1e-6 < abs(a) < 1e6:
        raise ValueError("landmarks that are no face")
    t = d0 - a * s0
    return np.array([[a.real, -a.imag, t.real], [a.imag, a.real, t.imag]])


def inverse(matrix: Points) -> Points:
    """The affine map [2,3] back."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], 1)


def apply(matrix: Points, points: Points) -> Points:
    """Points [n,2] under an affine map [2,3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def outside(matrix: Points, picture: tuple[int, int], crop: tuple[int, int]) -> float:
    """The share of a crop (height, width) outside a picture (width, height), 0..1; ``matrix`` is picture -> crop."""
    height, width = crop
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2).astype(np.float64)
    at = apply(inverse(matrix), grid)
    inside = ((at >= -0.5) & (at < np.array(picture) - 0.5)).all(1)
    return float(1 - inside.mean())


def warp(picture: Image.Image, matrix: Points, crop: tuple[int, int]) -> Image.Image:
    """The crop (height, width) of an RGB picture under ``matrix`` (picture -> crop); black outside the picture.

    Where the crop is smaller than what it shows, whole blocks of pixels are averaged first: bicubic interpolation looks
    at 4 x 4 pixels only, and would let the rest of a large photograph alias.
    """
    height, width = crop
    back = inverse(matrix)
    block = max(1, int(np.hypot(back[0, 0], back[1, 0])))
    shift = np.zeros(2)
    if block > 1:
        corners = apply(back, np.array([[-1, -1], [width, -1], [-1, height], [width, height]], np.float64))
        # Whole blocks, counted from the corner of the picture, so that neighboring crops see the same ones.
        low = np.maximum(np.floor(corners.min(0) / block - 2), 0).astype(int) * block
        high = np.minimum(np.ceil(corners.max(0) / block + 3).astype(int) * block, picture.size)
        if (high <= low).any():
            return Image.new("RGB", (width, height))
        picture = picture.reduce(block, (int(low[0]), int(low[1]), int(high[0]), int(high[1])))
        shift = low.astype(np.float64)
    # Pillow counts from the edges of pixels: half a pixel further, on both sides.
    linear = back[:, :2] / block
    offset = (back[:, 2] + 0.5 - shift) / block - linear @ np.array([0.5, 0.5])
    data = (linear[0, 0], linear[0, 1], offset[0], linear[1, 0], linear[1, 1], offset[1])
    return picture.transform((width, height), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
