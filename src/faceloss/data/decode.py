"""From the bytes of an image file to an RGB picture or to one square crop of it, always in the same way.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

PREPROCESSING = "1: exif, first frame, 8-bit RGB over black, centered square, lanczos"
"""The contract. It goes into every digest and cache key; change it whenever the pixels of any image change."""

MAX_PIXELS = 50_000_000
MIN_SIDE = 8
MAX_ASPECT = 4
_BAND = 2_000_000  # pixels that are converted at a time

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
    return _crop(picture(data).image, size)


class Picture(NamedTuple):
    """A whole decoded image."""

    image: Image.Image  # upright, 8-bit RGB
    width: int  # of the image in the file, upright; the decoded one may be smaller
    height: int
    kind: str  # of the file, by its content: "JPEG", "PNG", ...
    changes: tuple[str, ...]  # what was done to the pixels, in words from a small fixed vocabulary


def picture(data: bytes, *, aspect: int = MAX_ASPECT, before: Callable[[int, int, bool], int] | None = None) -> Picture:
    """One image file as an upright 8-bit RGB image; raises `Unusable` with the reason, and nothing else.

    ``aspect`` is how many times longer one side may be than the other. ``before(width, height, shrinks)`` is called
    when nothing but the header has been read; where ``shrinks``, in JPEG files, it may answer 2, 4 or 8, and the image
    is decoded at that fraction of its size, for less time and memory. Else it answers 1.
    """
    if not data:
        raise Unusable("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable("more than 50 megapixels") from None
    except Exception:
        # Pillow's plugins raise whatever they stumble on: OSError, SyntaxError, struct.error, KeyError, ...
        raise Unusable(_what_else(data)) from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Unusable("more than 50 megapixels")
        if min(width, height) < MIN_SIDE:
            raise Unusable(f"a side under {MIN_SIDE} pixels")
        if max(width, height) > aspect * min(width, height):
            raise Unusable(f"a sliver, one side more than {aspect} times the other")
        try:
            changes = _before(image)
            # TIFF forgets its orientation once loaded; a PNG that is asked before would load, and hide what breaks.
            orientation = _orientation(image) if image.format == "TIFF" else 1
            shrinks = image.format in ("JPEG", "MPO")
            divisor = before(width, height, shrinks) if before is not None else 1
            if divisor > 1:
                image.draft("", (width // divisor, height // divisor))
            image.load()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise Unusable("more than 50 megapixels") from None
        except Exception:
            raise Unusable("truncated or corrupt") from None
        shrunk = image.width < width
        orientation = _orientation(image) if orientation == 1 else orientation
        changes += ["decoded at a fraction of its size"] if shrunk else []
        changes += ["turned upright by EXIF"] if orientation != 1 else []
        try:
            upright = _upright(image)
            if not shrunk:
                width, height = upright.size
            elif orientation >= 5:
                width, height = height, width
            return Picture(_eight_bit(upright), width, height, image.format or "", tuple(changes))
        except Unusable:
            raise
        except Exception:
            raise Unusable(f"colors of kind {image.mode} cannot be made 8-bit RGB") from None


def _what_else(data: bytes) -> str:
    """The reason for a file that is no image that can be opened."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
        return "HEIC, which cannot be read here"
    page = data[:1000].lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<script"))
    return "a web page, not an image" if page else "not an image"


_MODES = {"L": "gray", "1": "gray", "P": "palette", "CMYK": "CMYK", "YCbCr": "YCbCr", "LAB": "Lab", "HSV": "HSV"}
_MODES |= {"LA": "gray", "La": "gray", "PA": "palette", "F": "floats", "I": "32-bit integers"}


def _before(image: Image.Image) -> list[str]:
    """What an opened image, not yet loaded, will lose on its way to 8-bit RGB."""
    changes = [f"{_MODES[image.mode]} to RGB"] if image.mode in _MODES else []
    if image.mode.startswith("I;16"):
        changes.append("gray to RGB")
    if image.mode.startswith("I;16") or any(";16" in str(tile[-1]) for tile in getattr(image, "tile", [])):
        changes.append("16 bits to 8")
    if image.has_transparency_data:
        changes.append("alpha channel over black")
    if getattr(image, "is_animated", False):
        changes.append("first of several frames")
    return changes


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:
        return 1  # EXIF that cannot be read says nothing about the orientation
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)  # else it would copy images that need no turning too
    except Exception:
        return image  # EXIF that cannot be read says nothing about the orientation
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB, made in bands of rows: what lies between two kinds of pixels is never as large as the image."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    scale = 1.0
    if image.mode == "I":
        low, high = _extremes(image)
        if low < 0 or high > 65535:
            raise Unusable("32-bit integers outside 0..65535")
    if image.mode == "F":
        low, high = _extremes(image)
        if not 0 <= low <= high <= 255:
            raise Unusable("floats outside 0..255")
        scale = 255.0 if high <= 1 else 1.0
    made = Image.new("RGB", image.size)
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        made.paste(_band(band, scale), (0, top))
    return made


def _extremes(image: Image.Image) -> tuple[float, float]:
    low, high = image.getextrema()
    assert not isinstance(low, tuple)
    assert not isinstance(high, tuple)
    return low, high


def _band(image: Image.Image, scale: float) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "F":
        floats = np.asarray(image)
        if not np.isfinite(floats).all():
            raise Unusable("floats outside 0..255")
        return Image.fromarray(np.rint(floats * scale).astype(np.uint8))
    if image.has_transparency_data:
        # Premultiplied color channels *are* the picture laid over black.
        return Image.merge("RGB", image.convert("RGBA").convert("RGBa").split()[:3])
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
    return np.array(square, dtype=np.uint8)  # [size,size,3]
