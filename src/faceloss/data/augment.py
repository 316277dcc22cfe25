"""Random changes to training images: mirror, shift, zoom, rotation, brightness, contrast, color, erasing.

What happens to an image depends on (seed, epoch, its number in the set) only: not on the batch it is in, the order in
which images are asked for, or how many workers ask.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from faceloss.data.keys import generator

_BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The augmentation of one epoch of ``n`` images; call it with pixels [B,H,W,3] and their numbers [B].

    With u uniform in [-1, 1], drawn per image (and per channel for color):

        mirror      left and right swapped with probability ``flip``
        shift       by up to ``shift`` of the side in each direction, whole pixels
        zoom        by 1 + zoom·u about the middle
        rotation    by rotation·u degrees about the middle
        gray level  x -> 127.5 + (1 + contrast·u) (1 + color·u_c) (x - 127.5) + 127.5 brightness·u + 127.5 color·u_c'
        erasing     with probability ``erase``, a rectangle of 1/4 to 1/2 of the side each way becomes middle gray

    Moved images are sampled once, bilinearly; what comes in from outside repeats the border.
    """

    seed: int
    epoch: int
    n: int
    flip: float = 0.5
    shift: float = 0.06
    brightness: float = 0.2
    contrast: float = 0.2
    color: float = 0.05
    zoom: float = 0.0
    rotation: float = 0.0
    erase: float = 0.0
    _draws: npt.NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Row i comes out the same for every n, since rows are drawn one after the other.
        columns = (("augment", 11), ("augment: zoom, rotation, erasing", 7))
        draws = [generator(self.seed, self.epoch, what).random((self.n, n), dtype=np.float32) for what, n in columns]
        object.__setattr__(self, "_draws", np.concatenate(draws, axis=1))

    def __call__(self, pixels: npt.NDArray[np.uint8], index: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        draws = self._draws[np.asarray(index)]  # [B,18] in [0,1)
        _, height, width, _ = pixels.shape
        u = 2 * draws - 1
        gain = (1 + self.contrast * u[:, 4:5]) * (1 + self.color * u[:, 5:8])  # [B,3]
        offset = 127.5 * (1 - gain + self.brightness * u[:, 3:4] + self.color * u[:, 8:11])
        matrix, border = self._inverse(draws, height, width)  # [B,6] where each pixel comes from
        padded = np.pad(pixels, ((0, 0), (border, border), (border, border), (0, 0)), mode="edge")
        boxes = self._boxes(draws[:, 13:], height, width)  # [B,4]
        out = np.empty_like(pixels)
        for i, image in enumerate(padded):  # image by image: the work stays in the processor's cache
            source = Image.fromarray(image)
            moved = source.transform((width, height), Image.Transform.AFFINE, matrix[i].tolist(), _BILINEAR)
            changed = np.asarray(moved).astype(np.float32) * gain[i] + (offset[i] + 0.5)  # + 0.5: rounds
            out[i] = np.clip(changed, 0, 255, out=changed)
            top, bottom, left, right = boxes[i]
            out[i, top:bottom, left:right] = 127
        return out

    def _inverse(self, draws: npt.NDArray[np.float32], height: int, width: int) -> tuple[npt.NDArray[np.float64], int]:
        """From a pixel of the result to its place in the padded image, as (a, b, c, d, e, f), and the padding."""
        u = 2 * draws.astype(np.float64) - 1
        mirror = np.where(draws[:, 0] < self.flip, -1.0, 1.0)
        down, right = np.rint(u[:, 1] * self.shift * height), np.rint(u[:, 2] * self.shift * width)
        scale, turn = 1 / (1 + self.zoom * u[:, 11]), np.deg2rad(self.rotation * u[:, 12])
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        # About the middle; the mirror is the first of the changes, so it is undone last.
        a, b, d, e = cos * mirror, sin * mirror, -sin, cos
        farthest = np.deg2rad(min(abs(self.rotation), 90))  # a wider range holds the smaller angles too
        reach = (1 / (1 - self.zoom) * (1 + np.sin(farthest)) - 1) / 2 + self.shift
        border = int(np.ceil(reach * max(height, width))) + 2
        x, y = width / 2, height / 2
        c = border + x - mirror * right - a * x - b * y
        f = border + y - down - d * x - e * y
        return np.stack([a, b, c, d, e, f], axis=1), border

    def _boxes(self, draws: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.intp]:
        """Top, bottom, left, right of what is erased [B,4]; empty where nothing is."""
        erased = draws[:, 0] < self.erase
        size = np.array([height, width])
        sides = np.rint(size * (1 + draws[:, 1:3]) / 4)  # [B,2]
        first = np.rint(draws[:, 3:5] * (size - sides))
        last = first + sides * erased[:, None]
        return np.stack([first[:, 0], last[:, 0], first[:, 1], last[:, 1]], axis=1).astype(np.intp)


def augment(
    pixels: npt.NDArray[np.uint8], *, seed: int, epoch: int, index: npt.ArrayLike, **strengths: float
) -> npt.NDArray[np.uint8]:
    """`Augmentation`, with the strengths it has, for a single batch [B,H,W,3]; for a whole epoch make the object once.

    Raises:
        TypeError: a strength that it does not have.
    """
    return Augmentation(seed, epoch, int(np.max(index)) + 1, **strengths)(pixels, index)
