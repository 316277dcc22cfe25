"""Random changes to training images: mirror, shift, brightness, contrast, color.

What happens to an image depends on (seed, epoch, its number in the set) only: not on the batch it is in, the order in
which images are asked for, or how many workers ask.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from faceloss.data.keys import generator


@dataclass(frozen=True, eq=False)
class Augmentation:
    """The augmentation of one epoch of ``n`` images; call it with pixels [B,H,W,3] and their numbers [B].

    With u uniform in [-1, 1], drawn per image (and per channel for color):

        mirror      left and right swapped with probability ``flip``
        shift       by up to ``shift`` of the side in each direction, whole pixels; the border is repeated
        gray level  x -> 127.5 + (1 + contrast·u) (1 + color·u_c) (x - 127.5) + 127.5 brightness·u + 127.5 color·u_c'
    """

    seed: int
    epoch: int
    n: int
    flip: float = 0.5
    shift: float = 0.06
    brightness: float = 0.2
    contrast: float = 0.2
    color: float = 0.05
    _draws: npt.NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Row i comes out the same for every n, since rows are drawn one after the other.
        draws = generator(self.seed, self.epoch, "augment").random((self.n, 11), dtype=np.float32)
        object.__setattr__(self, "_draws", draws)

    def __call__(self, pixels: npt.NDArray[np.uint8], index: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        draws = self._draws[np.asarray(index)]  # [B,11] in [0,1)
        batch, height, width, _ = pixels.shape
        mirrored = draws[:, 0] < self.flip
        down = np.rint((2 * draws[:, 1] - 1) * self.shift * height).astype(np.intp)
        right = np.rint((2 * draws[:, 2] - 1) * self.shift * width).astype(np.intp)
        u = 2 * draws[:, 3:] - 1
        gain = (1 + self.contrast * u[:, 1:2]) * (1 + self.color * u[:, 2:5])  # [B,3]
        offset = 127.5 * (1 - gain + self.brightness * u[:, 0:1] + self.color * u[:, 5:8])
        rows = np.clip(np.arange(height) - down[:, None], 0, height - 1)  # [B,H] where each row comes from
        columns = np.clip(np.arange(width) - right[:, None], 0, width - 1)
        columns = np.where(mirrored[:, None], width - 1 - columns, columns)
        samples = (3 * columns[:, :, None] + np.arange(3)).reshape(batch, 3 * width)  # [B,W*3]
        flat = pixels.reshape(batch, height, 3 * width)
        out = np.empty_like(flat)
        for i in range(batch):  # image by image: the work stays in the processor's cache
            moved = flat[i][rows[i]].take(samples[i], axis=1).astype(np.float32)  # [H,W*3]
            moved *= np.tile(gain[i], width)
            moved += np.tile(offset[i] + 0.5, width)  # + 0.5: the conversion to whole numbers then rounds
            out[i] = np.clip(moved, 0, 255, out=moved)
        return out.reshape(pixels.shape)


def augment(
    pixels: npt.NDArray[np.uint8],
    *,
    seed: int,
    epoch: int,
    index: npt.ArrayLike,
    flip: float = 0.5,
    shift: float = 0.06,
    brightness: float = 0.2,
    contrast: float = 0.2,
    color: float = 0.05,
) -> npt.NDArray[np.uint8]:
    """`Augmentation` for a single batch [B,H,W,3]; for a whole epoch make the object once."""
    n = int(np.max(index)) + 1
    whole = Augmentation(seed, epoch, n, flip, shift, brightness, contrast, color)
    return whole(pixels, index)
