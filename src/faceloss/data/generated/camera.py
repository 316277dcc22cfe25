"""What is behind and before the face, and the camera: random numbers keyed by (seed, identity, image); the JPEG."""

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from faceloss.data.generated.controls import Look
from faceloss.data.generated.head import Floats
from faceloss.data.generated.paint import over, ramp
from faceloss.data.generated.shots import BUILT_IN, sometimes
from faceloss.data.keys import generator

Bytes = npt.NDArray[np.uint8]


class Disk(NamedTuple):
    """Something in front of the face that comes in from the border: its middle and radius in crop widths, its color."""

    middle: Floats  # [2] row, column
    radius: float
    color: Floats  # [3]


class Camera(NamedTuple):
    """All random numbers of a picture beside those of its person and shot."""

    flow: Floats  # [12,3] wave vectors of the strands of hair
    cells: tuple[Bytes, Bytes]  # [3,3,3] and [9,9,3] colors of the scene behind
    colorful: float
    dark: float
    disk: Disk | None
    gain: Floats  # [3] exposure and white balance
    gamma: float
    blur: float  # standard deviation in pixels
    noise: float  # standard deviation in gray levels
    grain: Floats  # [size,size,3] the noise itself
    saturation: float
    quality: int  # of the JPEG


def camera(seed: int, identity: int, image: int, size: int, look: Look = BUILT_IN) -> Camera:
    """The camera of picture number ``image`` of ``identity``; ``look`` scales what is drawn."""
    rng = generator(seed, identity, "camera", image)
    flow = rng.normal(0, 1, (12, 3))
    coarse, fine = ((rng.uniform(0, 1, (cells, cells, 3)) * 255).astype(np.uint8) for cells in (3, 9))
    colorful, dark = float(rng.uniform(0, 0.5)), float(rng.uniform(1.0, 3.5))
    disk = sometimes(rng, _disk, BUILT_IN.occlusion, look.occlusion, seed, identity, "disk", image)
    gain = np.exp(rng.normal(0, 0.22) + rng.normal(0, 0.05, 3))
    gamma, blur, noise = rng.uniform(1.9, 2.5), rng.uniform(*look.blur), rng.uniform(*look.noise)
    grain = rng.normal(0, noise, (size, size, 3))
    saturation, quality = float(rng.uniform(0.7, 1.15)), int(rng.integers(68, 88))
    return Camera(
        *(flow, (coarse, fine), colorful, dark, disk, gain, float(gamma), float(blur), float(noise), grain),
        *(saturation, quality),
    )


def _disk(rng: np.random.Generator) -> Disk:
    angle, radius, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6), rng.uniform(0.10, 0.28)
    middle = 0.5 + (0.5 + radius - depth) * np.array([np.cos(angle), np.sin(angle)])
    return Disk(middle, float(radius), rng.uniform(0.02, 0.5) * rng.uniform(0.7, 1.3, 3))


def background(how: Camera, side: int, pixels: npt.NDArray[np.int64]) -> Floats:
    """Linear color of a blurred random scene, a gradient and colored noise at two scales, at some pixels.  # [3,P]"""
    noise = np.zeros((3, len(pixels)))
    for cells, amount in zip(how.cells, (0.5, 0.25), strict=True):
        large = Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)
        noise += amount * np.asarray(large).reshape(-1, 3)[pixels].T / 255
    gray = noise.mean(axis=0)
    scene: Floats = np.clip(gray + (noise - gray) * how.colorful, 0, 1) ** how.dark
    return scene


def occlude(linear: Floats, side: int, disk: Disk) -> tuple[Floats, float]:
    """The picture [3,side*side] behind a soft-edged disk, and the share of it that the disk covers."""
    row, column = np.mgrid[:side, :side].reshape(2, -1) / side
    alpha = 1 - ramp(np.hypot(column - disk.middle[0], row - disk.middle[1]), disk.radius - 0.01, disk.radius + 0.01)
    return over(linear, disk.color[:, None] * (1 + 0.3 * (column + row - 1)), alpha), float(alpha.mean())


def develop(linear: Floats, side: int, how: Camera, size: int) -> bytes:
    """The JPEG of a picture [3,side*side]: exposure, white balance, tone curve, blur, down-sampling, noise."""
    level = 1 - np.exp(linear * (-1.6 * how.gain)[:, None])  # a soft shoulder instead of clipped highlights
    tone = np.clip(level, 0, 1, out=level) ** (1 / how.gamma) * 255 + 0.5
    image = Image.fromarray(np.ascontiguousarray(tone.astype(np.uint8).T).reshape(side, side, 3))
    image = image.filter(ImageFilter.GaussianBlur(how.blur * side / size))
    noisy = np.asarray(image.resize((size, size), Image.Resampling.BOX)) + how.grain
    gray = noisy.mean(axis=2, keepdims=True)
    final = np.clip(gray + (noisy - gray) * how.saturation + 0.5, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(final).save(file, "JPEG", quality=how.quality, optimize=True)
    return file.getvalue()
