"""From the bytes of an image file to one square RGB crop, always in the same way.

What is done, in this order:

1. The header is read; files that are no picture, larger than 50 megapixels, or slivers are refused before decoding.
2. The first frame is decoded; the EXIF orientation is applied once.
3. Colors become 8-bit RGB. Samples of 16 bits keep their high byte (Pillow's own conversion clips them to white);
   floats are read as 0..1 if none is larger than 1, else as 0..255. Transparent parts are laid over black, the color
   that aligned crops have outside the photograph. ICC profiles are not applied.
4. The largest centered square is cut out - stretching would change the shape of the face, and aligned crops are square
   already - and resized with an antialiased Lanczos filter. A crop of the right size is left as it is.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

PREPROCESSING = "1: exif, first frame, 8-bit RGB over black, centered square, lanczos"
"""The contract. It goes into every digest and cache key; change it whenever the pixels of any image change."""

MAX_PIXELS = 50_000_000
MIN_SIDE = 8
MAX_ASPECT = 4

# Pillow also opens formats that start other programs (EPS) or are never faces; only these are tried.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000")


class Unusable(Exception):
    """The image cannot be used; the message is the reason, from a small fixed vocabulary."""


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def strict_warnings() -> Iterator[None]:
    """Around any decoding: a bomb's warning becomes an error, other remarks about odd files are dropped.

    Python's warning filters belong to the process, so this is entered once around a pool of threads, not in each.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(data: bytes, size: int) -> npt.NDArray[np.uint8]:
    """One image file as a crop [size,size,3] uint8 RGB; raises `Unusable` with the reason, and nothing else."""
    if not data:
        raise Unusable("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable("more than 50 megapixels") from None
    except Exception:
        # Pillow's plugins raise whatever they stumble on: OSError, SyntaxError, struct.error, KeyError, ...
        page = data[:1000].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<script"))
        raise Unusable("a web page, not an image" if page else "not an image") from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Unusable("more than 50 megapixels")
        if min(width, height) < MIN_SIDE:
            raise Unusable(f"a side under {MIN_SIDE} pixels")
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise Unusable(f"a sliver, one side more than {MAX_ASPECT} times the other")
        try:
            image.load()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise Unusable("more than 50 megapixels") from None
        except Exception:
            raise Unusable("truncated or corrupt") from None
        try:
            return _crop(_eight_bit(_upright(image)), size)
        except Unusable:
            raise
        except Exception:
            raise Unusable(f"colors of kind {image.mode} cannot be made 8-bit RGB") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image  # EXIF that cannot be read says nothing about the orientation


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB, or RGBa: premultiplied, whose color channels *are* the picture laid over black."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise Unusable("32-bit integers outside 0..65535")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        floats = np.asarray(image)
        if not np.isfinite(floats).all() or floats.min() < 0 or floats.max() > 255:
            raise Unusable("floats outside 0..255")
        scale = 255.0 if floats.max() <= 1 else 1.0
        return Image.fromarray(np.rint(floats * scale).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGBa")
    return image.convert("RGB")


def _crop(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if side == size:
        left, top = left // 1, top // 1  # half a pixel of centering is not worth a resampling
    square = image.resize(
        (size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side), reducing_gap=3.0
    )
    return np.array(square, dtype=np.uint8)[:, :, :3]  # [size,size,3]
