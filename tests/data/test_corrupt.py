"""Corruptions of crops: level 0 leaves every bit, levels rise, and mean the same at 64 and 112 pixels."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from faceloss.data.corrupt import CORRUPTIONS, LEVELS, UNIT, corrupt, corruptions_of
from faceloss.data.load import load_faces
from faceloss.errors import BadInput

KEYS = [f"image {i}" for i in range(6)]


@pytest.fixture(scope="module")
def crops():
    """Six built-in faces, by size; those of 112 pixels are the same pictures enlarged."""
    faces = load_faces("builtin", size=64)
    small = np.asarray(faces.pixels[np.arange(0, 6 * 24, 24)])
    large = [np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.BICUBIC)) for image in small]
    return {64: small, 112: np.stack(large)}


def harm(before, after):
    """Root mean square change of each crop [N]."""
    change = after.astype(np.float64) - before
    return np.sqrt((change**2).mean(axis=(1, 2, 3)))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_level_0_is_the_crop_and_every_level_is_worse_than_the_one_before(crops, name):
    pixels = crops[64]
    same = corrupt(pixels, name, 0, KEYS)
    assert np.array_equal(same, pixels)
    same[:] = 0
    assert pixels.any()  # a copy was handed out
    harms = [harm(pixels, corrupt(pixels, name, level, KEYS)).mean() for level in LEVELS]
    assert harms[0] > 1
    assert (np.diff(harms) > 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_level_takes_the_same_from_a_face_at_64_and_at_112_pixels(crops, name):
    """The large crop, corrupted and reduced, is nearer to the small one of that level than any other level is."""
    small, large = crops[64], crops[112]
    levels = np.stack([corrupt(small, name, level, KEYS) for level in (0, *LEVELS)])
    for level in LEVELS:
        worse = corrupt(large, name, level, KEYS)
        reduced = np.stack([np.asarray(Image.fromarray(x).resize((64, 64), Image.Resampling.BICUBIC)) for x in worse])
        distances = [harm(reduced, other).mean() for other in levels]
        assert int(np.argmin(distances)) == level, distances
        assert min(distances) < 0.5 * sorted(distances)[1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_happens_to_an_image_depends_on_its_key_alone(crops, name):
    pixels = crops[64]
    whole = corrupt(pixels, name, 3, KEYS)
    part = corrupt(pixels[[4, 1]], name, 3, [KEYS[4], KEYS[1]])
    assert np.array_equal(part, whole[[4, 1]])
    assert np.array_equal(corrupt(pixels, name, 3), corrupt(pixels, name, 3, range(6)))
    other = corrupt(pixels, name, 3, [f"other {i}" for i in range(6)])
    assert np.array_equal(other, whole) == (name != "occlusion")


def test_what_the_numbers_say_is_what_is_done():
    """Each corruption measured in its own unit on a pattern that shows it."""
    flat = np.full((1, 112, 112, 3), 60, np.uint8)
    for level, factor in enumerate(CORRUPTIONS["brightness"].levels, start=1):
        assert abs(int(corrupt(flat, "brightness", level)[0, 0, 0, 0]) - 60 * factor) <= 1
    stripes = flat.copy()
    stripes[:, :, ::2] = 180
    for level, factor in enumerate(CORRUPTIONS["contrast"].levels, start=1):
        found = corrupt(stripes, "contrast", level)
        assert abs(int(found.max()) - int(found.min()) - 120 * factor) <= 2
    point = np.zeros((1, 112, 112, 3), np.uint8)
    point[:, 50:62, 50:62] = 255
    x = np.arange(112)
    for level, sigma in enumerate(CORRUPTIONS["blur"].levels, start=1):
        profile = corrupt(point, "blur", level)[0, :, :, 0].astype(np.float64).sum(axis=0)
        mean = (x * profile).sum() / profile.sum()
        variance = ((x - mean) ** 2 * profile).sum() / profile.sum() - (12**2 - 1) / 12
        assert variance == pytest.approx(sigma**2, rel=0.1)
    gray = np.full((8, 112, 112, 3), 10, np.uint8)
    for level, share in enumerate(CORRUPTIONS["occlusion"].levels, start=1):
        covered = (corrupt(gray, "occlusion", level) == 127).all(axis=3)
        assert covered.mean(axis=(1, 2)) == pytest.approx(share, rel=0.03)
        assert len(np.unique(covered.reshape(8, -1), axis=0)) == 8  # each image its own place
    for level, share in enumerate(CORRUPTIONS["mask"].levels, start=1):
        masked = (corrupt(gray, "mask", level)[0] > 60).any(axis=2)
        assert masked.any(axis=1).mean() == pytest.approx(share, abs=0.01)
        columns = np.flatnonzero(masked.any(axis=0))
        assert columns.mean() == pytest.approx(56, abs=1)  # about the middle of the mouth


def test_a_mask_covers_the_mouth_before_the_nose_and_never_the_eyes():
    gray = np.full((1, 112, 112, 3), 10, np.uint8)
    covered = [(corrupt(gray, "mask", level)[0] > 60).any(axis=2) for level in LEVELS]
    points = {"left eye": (38, 52), "right eye": (74, 52), "nose": (56, 72), "mouth": (56, 92)}
    seen = {part: [bool(mask[y, x]) for mask in covered] for part, (x, y) in points.items()}
    assert seen == {
        "left eye": [False] * 5, "right eye": [False] * 5,
        "nose": [False, False, True, True, True], "mouth": [False, True, True, True, True],
    }  # fmt: skip
    for earlier, later in pairwise(covered):
        assert (earlier & ~later).sum() < 0.03 * earlier.sum()  # it grows upwards
        assert later.sum() > 1.15 * earlier.sum()


def test_an_occlusion_grows_where_it_is():
    gray = np.full((5, 64, 64, 3), 10, np.uint8)
    squares = [(corrupt(gray, "occlusion", level) == 127).all(axis=3) for level in LEVELS]
    for earlier, later in pairwise(squares):
        inside = (earlier & later).sum() / earlier.sum()
        assert inside > 0.95


def test_crops_of_other_shapes():
    wide = np.random.default_rng(0).integers(0, 256, (2, 112, 96, 3), dtype=np.uint8)
    for name in CORRUPTIONS:
        assert corrupt(wide, name, 4).shape == wide.shape
    columns = np.flatnonzero((corrupt(np.zeros_like(wide), "mask", 3)[0] > 60).any(axis=(0, 2)))
    assert columns.mean() == pytest.approx(48, abs=1)  # 112x96 are the middle columns of 112x112
    tiny = wide[:, :20, :20]
    assert np.array_equal(corrupt(tiny, "downscale", 2), tiny)  # 28 pixels are more than there are
    assert not np.array_equal(corrupt(tiny, "downscale", 4), tiny)
    assert UNIT == 112


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("blurr", 1), "no corruption named 'blurr'; did you mean 'blur'"),
        (("blur", 6), "whole number from 0 to 5; given 6"),
        (("blur", 1.5), "whole number from 0 to 5; given 1.5"),
        (("blur", 1, ["one key"]), "1 keys were given for 6 crops"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(crops, words, sentence):
    with pytest.raises(BadInput, match=sentence):
        corrupt(crops[64], *words)


def test_pixels_that_are_none():
    for pixels in (np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((2, 3, 8, 8), np.uint8)):
        with pytest.raises(BadInput, match=r"Crops must be uint8 \[N,H,W,3\]"):
            corrupt(pixels, "blur", 1)


def test_names_of_corruptions():
    assert corruptions_of("all") == tuple(CORRUPTIONS)
    assert corruptions_of(" mask , blur,blur") == ("blur", "mask")
    with pytest.raises(BadInput, match="did you mean 'jpeg'"):
        corruptions_of("blur,jpg")
    with pytest.raises(BadInput, match="No corruption is named"):
        corruptions_of(" , ")
