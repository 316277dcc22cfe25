"""Copies of a picture are told from other pictures of the same person, at the thresholds that were measured."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from faceloss.data.duplicates import BITS, CORRELATION, copies, near, prints
from faceloss.data.faces import Faces
from faceloss.data.load import load_faces


@pytest.fixture(scope="module")
def builtin() -> Faces:
    faces = load_faces("builtin", size=64)
    return faces.take(np.arange(0, len(faces), 2))  # 160 identities, 12 images each


def set_of(faces: Faces, pixels: np.ndarray) -> Faces:
    """``faces`` with other pixels, and files that are therefore others."""
    return replace(faces, pixels=pixels, hashes=tuple(f"other {row}" for row in range(len(faces))), prints=None)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def scaled(image: np.ndarray, side: int) -> np.ndarray:
    there = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(there.resize((len(image), len(image)), Image.Resampling.LANCZOS))


def lit(image: np.ndarray, gain: float, offset: float) -> np.ndarray:
    return np.clip(image * float(gain) + offset, 0, 255).astype(np.uint8)


CHANGES = {
    "JPEG 75": lambda image: jpeg(image, 75),
    "JPEG 30": lambda image: jpeg(image, 30),
    "0.75 of the size": lambda image: scaled(image, 48),
    "half the size, JPEG 75": lambda image: jpeg(scaled(image, 32), 75),
    "1.5 times the size": lambda image: scaled(image, 96),
    "20 levels darker": lambda image: lit(image, 1, -20),
    "15 % brighter": lambda image: lit(image, 1.15, 0),
    "darker, JPEG 60": lambda image: jpeg(lit(image, 0.8, 0), 60),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_and_only_they(builtin: Faces, change: str) -> None:
    rows = np.random.default_rng(0).choice(len(builtin), 200, replace=False)
    original = builtin.take(rows)
    changed = set_of(original, np.stack([CHANGES[change](image) for image in original.pixels[:]]))
    found = copies(changed, builtin)
    assert found.first.tolist() == list(range(200))  # each once: all found, no other picture of the person
    assert found.second.tolist() == rows.tolist()
    assert not found.exact.any()
    assert found.correlation.min() > CORRELATION + 0.02  # the margin that the docstring tells
    assert found.bits.max() <= 5


@pytest.mark.parametrize("change", ["JPEG 75", "half the size, JPEG 75", "darker, JPEG 60"])
def test_mirrored_copies_are_found_and_only_they(builtin: Faces, change: str) -> None:
    rows = np.random.default_rng(1).choice(len(builtin), 200, replace=False)
    original = builtin.take(rows)
    # Every second one is mirrored.
    images = [image[:, ::-1] if k % 2 else image for k, image in enumerate(original.pixels[:])]
    changed = set_of(original, np.stack([CHANGES[change](np.ascontiguousarray(image)) for image in images]))
    found = copies(changed, builtin)
    assert found.first.tolist() == list(range(200))  # recall 1, precision 1: no other picture of the person either
    assert found.second.tolist() == rows.tolist()
    assert found.mirrored.tolist() == [k % 2 == 1 for k in range(200)]
    assert found.correlation.min() > CORRELATION + 0.02
    within = copies(both_of(original, changed))
    assert within.first.tolist() == list(range(200))
    assert within.second.tolist() == list(range(200, 400))
    assert within.mirrored.sum() == 100


def both_of(a: Faces, b: Faces) -> Faces:
    """The images of two sets as one set."""
    return replace(
        a,
        pixels=np.concatenate([a.pixels[:], b.pixels[:]]),
        labels=np.concatenate([a.labels, b.labels]),
        files=(*a.files, *b.files),
        hashes=(*a.hashes, *b.hashes),
        prints=None,
    )


def test_the_hash_of_the_mirror_image_needs_no_pixels(builtin: Faces) -> None:
    some = builtin.pixels[:300]
    first, second, bits = near(prints(some), prints(some[:, :, ::-1]), bits=0, mirrored=True)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) >= {(k, k) for k in range(300)}
    assert not bits.any()
    first, second, _ = near(prints(some), prints(some[:, :, ::-1]), bits=0)
    assert not len(first)  # faces are not that symmetric


def test_different_pictures_of_a_person_are_no_copies(builtin: Faces) -> None:
    assert len(copies(builtin)) == 0
    first, second, _ = near(prints(builtin.pixels[:]))
    same = builtin.labels[first] == builtin.labels[second]
    assert same.any(), "some pictures of a person are within the bits: the correlation is needed"


def test_exact_files_are_found_whatever_they_show(builtin: Faces) -> None:
    two = builtin.take([3, 3, 40])
    black = replace(two, pixels=np.zeros((3, 64, 64, 3), np.uint8), prints=None)
    found = copies(black)
    assert (found.first.tolist(), found.second.tolist(), found.exact.tolist()) == ([0], [1], [True])
    assert len(copies(set_of(black, black.pixels))) == 0  # plain pictures are copies of nothing else
    assert prints(np.full((1, 64, 64, 3), 90, np.uint8)).tolist() == [0]


def test_the_block_search_equals_counting_one_by_one() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(1, 2**63, 150, dtype=np.uint64)
    flips = rng.integers(0, 12, 20_000)
    b = rng.choice(a, 20_000)
    for bit in range(12):  # different bits: so many differ as flips says
        b = np.where(flips > bit, b ^ np.uint64(1 << (5 * bit)), b)
    expected = {
        (i, j) for i, x in enumerate(a.tolist()) for j, y in enumerate(b.tolist()) if (x ^ y).bit_count() <= BITS
    }
    first, second, bits = near(a, b)
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert len(expected) == len(first) > 10_000
    assert set(bits.tolist()) == set(range(BITS + 1))
    inside = near(np.concatenate([a, a[:5] ^ np.uint64(3)]))
    assert [column.tolist() for column in inside] == [[0, 1, 2, 3, 4], [150, 151, 152, 153, 154], [2] * 5]


def test_hashes_travel_with_a_subset(builtin: Faces) -> None:
    known = replace(builtin, prints=prints(builtin.pixels[:]))
    some = known.take([7, 0])
    assert some.prints is not None
    assert some.prints.tolist() == prints(builtin.pixels[[7, 0]]).tolist()
