"""Seven corruptions of face crops at five levels each, to ask how a network takes worse pictures than it knows.

    name         level 1 to 5                what the number is
    brightness   1.25  1.5  1.75 2    2.5    exposure: x -> min(255, number·x)
    contrast     0.6   0.4  0.3  0.2  0.1    x -> mean + number·(x - mean), mean = the crop's mean gray
    blur         1     2    3    4    6      sigma of a Gaussian, in pixels of a crop 112 pixels high
    jpeg         40    25   15   10   5      quality of JPEG (4:2:0) of the crop at 112 pixels
    downscale    2     4    6    8    10     the crop is reduced to 112/number pixels in height, and enlarged again
    occlusion    0.05  0.1  0.2  0.3  0.4    share of the crop under a middle-gray square, somewhere
    mask         0.15  0.28 0.38 0.45 0.51   share of the crop's height under a face mask: chin, mouth, tip of the nose,
                                             half of the nose, up to the eyes

Level 0 is the crop itself. All lengths are in units of the crop's height / 112, so that a level takes the same from a
face at 64 and at 112 pixels; a crop with fewer pixels than `downscale` leaves is left alone. Five levels of growing
severity, judged one by one and by their mean, are the way of ImageNet-C (Hendrycks and Dietterich, ICLR 2019); masks
drawn into pictures that come up to different heights that of NIST (Ngan, Grother and Hanaoka, NISTIR 8311, 2020). The
numbers are ours: the usual factors of the field, from hardly visible to hardly a face.

Only `occlusion` draws: where the square lies depends on the image's key alone, so it grows in place over the levels.
"""

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from faceloss.data.keys import generator
from faceloss.data.photographs.align import template
from faceloss.errors import BadInput, unknown

Key = int | str
LEVELS = (1, 2, 3, 4, 5)
UNIT = 112  # pixels; lengths are given for a crop of this height
GRAY = (127, 127, 127)
MASK_COLOR = (150, 190, 215)  # that of a surgical mask
_BICUBIC, _BOX = Image.Resampling.BICUBIC, Image.Resampling.BOX


def _brightness(crop: Image.Image, factor: float, key: Key) -> Image.Image:
    return ImageEnhance.Brightness(crop).enhance(factor)


def _contrast(crop: Image.Image, factor: float, key: Key) -> Image.Image:
    return ImageEnhance.Contrast(crop).enhance(factor)


def _blur(crop: Image.Image, sigma: float, key: Key) -> Image.Image:
    return crop.filter(ImageFilter.GaussianBlur(sigma * crop.height / UNIT))


def _jpeg(crop: Image.Image, quality: float, key: Key) -> Image.Image:
    """The blocks of JPEG are as large beside the face whatever the crop's size."""
    whole = crop.resize(_size_at(crop, UNIT), _BICUBIC)
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=int(quality), subsampling=2)
    return Image.open(file).convert("RGB").resize(crop.size, _BICUBIC)


def _downscale(crop: Image.Image, factor: float, key: Key) -> Image.Image:
    height = round(UNIT / factor)
    if height >= crop.height:
        return crop
    return crop.resize(_size_at(crop, height), _BICUBIC).resize(crop.size, _BICUBIC)


def _size_at(crop: Image.Image, height: int) -> tuple[int, int]:
    return max(1, round(crop.width * height / crop.height)), height


def _occlusion(crop: Image.Image, share: float, key: Key) -> Image.Image:
    side = round((share * crop.width * crop.height) ** 0.5)
    side = min(side, *crop.size)
    across, down = generator("occlusion", key).random(2)
    left, top = round(across * (crop.width - side)), round(down * (crop.height - side))
    covered = crop.copy()
    covered.paste(GRAY, (left, top, left + side, top + side))
    return covered


def _mask(crop: Image.Image, share: float, key: Key) -> Image.Image:
    masked = crop.copy()
    masked.paste(MASK_COLOR, (0, 0), _mask_shape(crop.size, share))
    return masked


@lru_cache(maxsize=32)
def _mask_shape(size: tuple[int, int], share: float) -> Image.Image:
    """How much of each pixel a mask covers, 0 to 255: from a bow over the face down around the chin.

    Its middle is that of the mouth in the crops' template, its sides lie outside the eyes and hang lower than the bow.
    """
    finer = 4
    points = template("112").landmarks  # left eye, right eye, nose, left and right corner of the mouth
    middle = points[3:, 0].mean()
    eyes = points[1, 0] - points[0, 0]
    top, across = UNIT * (1 - share), np.linspace(-1, 1, 21)
    side, corner = top + 9, UNIT - 6  # heights at which the cheeks begin and the jaw ends
    reach = eyes * (1 + 0.0025 * (corner - side))  # cheeks are a little wider than the jaw
    bow = np.stack([middle + reach * across, top + 9 * across**2], axis=1)
    jaw = np.stack([middle + eyes * across[::-1], UNIT + 4 - 10 * across**2], axis=1)
    edge = (np.concatenate([bow, jaw]) + 0.5) * size[1] / UNIT  # from centers of pixels to edges
    edge[:, 0] += (size[0] - size[1]) / 2  # 112x96 are the middle columns
    shape = Image.new("L", (size[0] * finer, size[1] * finer))
    ImageDraw.Draw(shape).polygon([(float(x), float(y)) for x, y in edge * finer], fill=255)
    return shape.resize(size, _BOX)


class Corruption(NamedTuple):
    """``unit`` says in words what the five ``levels`` are."""

    levels: tuple[float, float, float, float, float]
    unit: str
    apply: Callable[[Image.Image, float, Key], Image.Image]


CORRUPTIONS = {
    "brightness": Corruption((1.25, 1.5, 1.75, 2, 2.5), "exposure, times", _brightness),
    "contrast": Corruption((0.6, 0.4, 0.3, 0.2, 0.1), "contrast, times", _contrast),
    "blur": Corruption((1, 2, 3, 4, 6), "sigma, pixels at 112", _blur),
    "jpeg": Corruption((40, 25, 15, 10, 5), "JPEG quality at 112 pixels", _jpeg),
    "downscale": Corruption((2, 4, 6, 8, 10), "reduced to 112 pixels / number", _downscale),
    "occlusion": Corruption((0.05, 0.1, 0.2, 0.3, 0.4), "share of the crop", _occlusion),
    "mask": Corruption((0.15, 0.28, 0.38, 0.45, 0.51), "share of the crop's height", _mask),
}


def corrupt(
    pixels: npt.NDArray[np.uint8], name: str, level: int, keys: Sequence[Key] | None = None
) -> npt.NDArray[np.uint8]:
    """The crops ``pixels`` [N,H,W,3] uint8 under the corruption ``name`` at ``level``, 0 (as they are) to 5.

    ``keys`` [N] name the images, e.g. by the hashes of their files, so that what is drawn for an image depends on
    nothing else; left out, images are named by their numbers.

    Raises:
        BadInput: no such corruption or level, or no crops.
    """
    if name not in CORRUPTIONS:
        raise BadInput(unknown("corruption", name, CORRUPTIONS))
    if level not in (0, *LEVELS):
        raise BadInput(f"The level of a corruption is a whole number from 0 to {LEVELS[-1]}; given {level}.")
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise BadInput(f"Crops must be uint8 [N,H,W,3]; given {pixels.dtype} {list(pixels.shape)}.")
    named = range(len(pixels)) if keys is None else keys
    if len(named) != len(pixels):
        raise BadInput(f"{len(named)} keys were given for {len(pixels)} crops; give one for each, or none.")
    if level == 0:
        return pixels.copy()
    corruption = CORRUPTIONS[name]
    number, out = corruption.levels[level - 1], np.empty_like(pixels)
    for i, key in enumerate(named):
        out[i] = np.asarray(corruption.apply(Image.fromarray(pixels[i]), number, key))
    return out


def corruptions_of(text: str) -> tuple[str, ...]:
    """The corruptions of ``"blur,jpeg"``, in the order of the table above; of ``"all"`` all of them.

    Raises:
        BadInput: a name that there is not, or none.

    >>> corruptions_of("jpeg, blur")
    ('blur', 'jpeg')
    """
    given = [part.strip() for part in text.split(",") if part.strip()]
    for name in given:
        if name not in (*CORRUPTIONS, "all"):
            raise BadInput(unknown("corruption", name, (*CORRUPTIONS, "all")))
    if not given:
        raise BadInput(f"No corruption is named; choose of {', '.join(CORRUPTIONS)}, or all.")
    return tuple(name for name in CORRUPTIONS if name in given or "all" in given)
