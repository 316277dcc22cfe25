"""The mean face of a set, and how that of another set differs: in place, size, tilt, colors and levels.

Aligned faces have a sharp mean: eyes and mouth lie where the template has them, whoever is shown. A mean of many people
shows nobody, and tells what no single picture does: that a set was aligned to another template, that its channels are
swapped, that its values are scaled otherwise.

What it can tell was measured on photographs aligned to one template by the same tool, decoded at 64 x 64, means of
2,000 images, in pixels of a 112 x 112 crop: between two halves of a set the shift is within 0.2 pixels; between LFW and
two sets of celebrities up to 0.8, the size within 5 %, the tilt within 1 degree. Photographs differ by that much, so
less than `SHIFT`, `SIZE` and `TILT` is no finding: half a pixel cannot be seen in this way, but the middle 96 columns
of a crop for the whole of it (14 % larger) can, and so can every step of more than a pixel.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from faceloss.data.duplicates import average
from faceloss.data.faces import Faces

SIDE = 32
MOST = 2000  # images that a mean is taken of
GROUPS = 8  # of identities; what they differ by tells how sure a number is
FEWEST = 16  # identities of which a mean shows nobody
SHIFT, SIZE, TILT = 1.0, 0.06, 3.0  # pixels of 112, share, degrees
SURE = 4.0  # standard errors that a finding is away from nothing
ALIKE = 0.9  # correlation of two mean faces, below which they cannot be laid one on the other
COLORED = 5.0  # levels of red minus blue in the middle, below which a set is gray
CONTRAST, BRIGHTNESS = 2.5, 80.0  # times, and levels
DARK = 8.0  # levels of the brightest place of a mean face, below which values of 0..1 were taken for levels

Image32 = npt.NDArray[np.float64]  # [32,32,3] or, gray, [32,32]
_GRAY = np.array([0.299, 0.587, 0.114])
_STEPS = 10


class Seen(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def beyond(self, limit: float) -> bool:
        """Whether it is surely more than nothing, and more than ``limit``."""
        return abs(self.value) > max(limit, SURE * self.error)


class Difference(NamedTuple):
    """How a set lies against another: as the mean face of the one must be moved to get that of the other."""

    right: Seen  # pixels of a crop of 112
    down: Seen
    larger: Seen  # share
    turned: Seen  # degrees, clockwise
    contrast: float  # of the set by that of the other
    brighter: float  # levels, of the mean
    red: Seen  # levels, red minus blue in the middle of the set
    red_there: float  # of the other
    correlation: float  # once laid one on the other


def mean_faces(faces: Faces) -> npt.NDArray[np.float64]:
    """The mean faces [8,32,32,3] of eight groups of identities, in levels; of up to 2,000 images, evenly chosen."""
    rows = np.unique(np.linspace(0, len(faces) - 1, min(len(faces), MOST)).astype(np.int64))
    labels = faces.labels[rows]
    groups = (labels if len(np.unique(labels)) >= FEWEST else np.arange(len(rows))) % GROUPS
    total, count = np.zeros((GROUPS, *faces.pixels.shape[1:])), np.bincount(groups, minlength=GROUPS)
    for start in range(0, len(rows), 256):
        some = slice(start, start + 256)
        pixels, inside = faces.pixels[rows[some]], groups[some]
        for group in np.unique(inside).tolist():
            total[group] += pixels[inside == group].sum(axis=0)
    means = total[count > 0] / count[count > 0][:, None, None, None]
    return smaller(means)


def smaller(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Square images [...,H,H,3] averaged down (or spread) to [...,32,32,3]."""
    weights = average(images.shape[-2])
    return np.moveaxis(weights @ np.moveaxis(images, -1, -3) @ weights.T, -3, -1)


def to_text(faces: Faces) -> str | None:
    """The mean face as it is kept with a model, 6,144 hexadecimal digits; None of fewer than 16 identities."""
    if len(faces.identities) < FEWEST:
        return None
    return bytes(np.rint(mean_faces(faces).mean(0)).astype(np.uint8)).hex()


def from_text(text: str) -> Image32:
    """What `to_text` kept: [32,32,3]. Raises ValueError for anything else."""
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(SIDE, SIDE, 3).astype(np.float64)


def compare(groups: npt.NDArray[np.float64], other: Image32) -> Difference:
    """How the mean faces ``groups`` [G,32,32,3] of a set differ from the one of ``other`` [32,32,3]."""
    seen, there = groups.mean(0) @ _GRAY, other @ _GRAY
    starts = [np.array([0.0, down, larger, 0.0]) for larger in (0.0, -0.3, 0.4) for down in (0.0, -4.0, 4.0)]
    moved, correlation = max((_register(seen, there, start) for start in starts), key=lambda found: found[1])
    each = np.array([_register(group @ _GRAY, there, moved)[0] for group in groups])
    errors = each.std(axis=0, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.full(4, np.inf)
    unit = np.array([112 / SIDE, 112 / SIDE, 1, np.degrees(1)])
    weights = _WINDOW / _WINDOW.sum()
    levels = [(weights * image).sum() for image in (seen, there)]
    spread = [
        np.sqrt((weights * (image - level) ** 2).sum()) for image, level in zip((seen, there), levels, strict=True)
    ]
    right, down, larger, turned = map(Seen, (moved * unit).tolist(), (errors * unit).tolist())
    return Difference(
        right,
        down,
        larger,
        turned,
        contrast=float(spread[0] / max(spread[1], 1e-6)),
        brighter=float(levels[0] - levels[1]),
        red=redness(groups),
        red_there=redness(other[None]).value,
        correlation=float(correlation),
    )


def findings_alone(groups: npt.NDArray[np.float64]) -> tuple[list[str], list[str]]:
    """What is wrong with mean faces [G,32,32,3] by themselves, and what cannot be told from them; sentences.

    Skin of every tone has more red than blue, and a picture of levels 0..255 has levels.
    """
    if groups.mean(0).max() < DARK:
        return ["The faces are nearly black: values of 0 to 1 were written where levels of 0 to 255 belong."], []
    red = redness(groups)
    if red.value < 0 and red.beyond(COLORED):
        blue = f"In the middle of the mean face blue is {-red.value:.0f} levels above red, where skin has more red"
        return [f"{blue}: the channels are swapped (BGR for RGB)."], []
    if not red.beyond(COLORED):
        return [], ["The faces are gray, or nearly: swapped channels would not show."]
    return [], []


def findings(difference: Difference) -> tuple[list[str], list[str]]:
    """How a set differs from the training faces of a model, and what cannot be told; sentences."""
    found, open_ = [], []
    d = difference
    if d.contrast > CONTRAST or d.contrast < 1 / CONTRAST or abs(d.brighter) > BRIGHTNESS:
        found.append(
            f"The levels are others than in training: {d.contrast:.2g} times the contrast, {d.brighter:+.0f} levels; "
            "values were scaled otherwise (0..1, -1..1 and 0..255 taken one for the other)."
        )
    elif d.red.value * d.red_there < 0 and d.red.beyond(COLORED) and abs(d.red_there) > COLORED:
        found.append(
            f"Red minus blue in the middle of the mean face is {d.red.value:+.0f} levels, in training "
            f"{d.red_there:+.0f}: the channels are swapped (BGR and RGB)."
        )
    elif not (d.red.beyond(COLORED) and abs(d.red_there) > COLORED):
        open_.append("The faces, or those of training, are gray or nearly: swapped channels would not show.")
    if d.correlation < ALIKE:
        open_.append(
            f"The mean face and that of training cannot be laid one on the other (correlation {d.correlation:.2f}): "
            "these are other kinds of pictures, or much of them is black; their alignment cannot be compared."
        )
        return found, open_
    shifted = d.right.beyond(SHIFT) or d.down.beyond(SHIFT)
    if shifted or d.larger.beyond(SIZE) or d.turned.beyond(TILT):
        found.append(
            f"The faces lie otherwise than in training: {_way(d.right.value, 'right', 'left')} and "
            f"{_way(d.down.value, 'down', 'up')} in crops of 112, {1 + d.larger.value:.2f} times as large, turned by "
            f"{d.turned.value:+.1f} degrees; they were aligned to another template, or shifted."
        )
    else:
        open_.append(
            f"The faces lie as in training to within {max(SHIFT, SURE * d.right.error, SURE * d.down.error):.1f} "
            "pixels of 112; half a pixel is less than what sets of photographs differ by, and would not show."
        )
    return found, open_


def _way(value: float, ahead: str, back: str) -> str:
    return f"{abs(value):.1f} pixels {ahead if value >= 0 else back}"


def redness(groups: npt.NDArray[np.float64]) -> Seen:
    """Levels of red minus blue in the middle of the mean faces [G,32,32,3]."""
    each = ((groups[..., 0] - groups[..., 2]) * _WINDOW).sum(axis=(1, 2)) / _WINDOW.sum()
    error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.inf
    return Seen(float(each.mean()), float(error))


_AT = np.arange(SIDE) - (SIDE - 1) / 2
_Y, _X = np.meshgrid(_AT, _AT, indexing="ij")
_INSIDE = (np.abs(_X) < SIDE / 2 - 3) & (np.abs(_Y) < SIDE / 2 - 3)
_WINDOW = np.exp(-(_X**2 + _Y**2) / (2 * (0.2 * SIDE) ** 2)) * _INSIDE  # the face, without hair and background


def _register(seen: Image32, other: Image32, start: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """(right, down, larger, turned) of ``seen`` against ``other`` and their correlation then.

    Least squares over place, size, tilt, contrast and brightness, linearized at each step (Lucas and Kanade, 1981).
    """
    root = np.sqrt(_WINDOW).reshape(-1, 1)
    moved = start
    for _ in range(_STEPS):
        image = _back(seen, moved)
        down, right = np.gradient(image)
        parts = [right, down, right * _X + down * _Y, down * _X - right * _Y, image, np.ones_like(image)]
        columns = np.stack(parts, -1).reshape(-1, 6)
        step = np.linalg.lstsq(columns * root, other.reshape(-1, 1) * root, rcond=None)[0][:, 0]
        moved = moved + step[:4] / (step[4] if abs(step[4]) > 1e-3 else 1.0)
        if not np.isfinite(moved).all() or np.abs(moved[:2]).max() > SIDE / 3 or np.abs(moved[2:]).max() > 0.8:
            return start, -1.0  # ran away
    a, b = (image - (_WINDOW * image).sum() / _WINDOW.sum() for image in (_back(seen, moved), other))
    scale = np.sqrt((_WINDOW * a * a).sum() * (_WINDOW * b * b).sum())
    return moved, float((_WINDOW * a * b).sum() / max(scale, 1e-9))


def _back(image: Image32, moved: npt.NDArray[np.float64]) -> Image32:
    """The image with (right, down, larger, turned) undone."""
    right, down, larger, turned = moved.tolist()
    cos, sin = (1 + larger) * np.cos(turned), (1 + larger) * np.sin(turned)
    middle = SIDE / 2
    x, y = middle + right - cos * middle + sin * middle, middle + down - sin * middle - cos * middle
    # Bilinear: Pillow's bicubic moves a ramp by more than it was asked for.
    return np.asarray(
        Image.fromarray(image.astype(np.float32)).transform(
            (SIDE, SIDE), Image.Transform.AFFINE, (cos, -sin, x, sin, cos, y), Image.Resampling.BILINEAR
        ),
        dtype=np.float64,
    )
