"""Landmarks -> similarity -> crop: exact where mathematics says what must come out."""

import numpy as np
import pytest
from PIL import Image

from faceloss.data.photographs.align import SIZES, apply, inverse, outside, similarity, template, warp
from faceloss.errors import BadInput


def umeyama(source, target):
    """The published algorithm, by singular value decomposition."""
    s0, d0 = source.mean(0), target.mean(0)
    u, d, vt = np.linalg.svd((target - d0).T @ (source - s0) / len(source))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / ((source - s0) ** 2).sum(1).mean()
    return np.concatenate([scale * rotation, (d0 - scale * rotation @ s0)[:, None]], 1)


@pytest.mark.parametrize("size", SIZES)
def test_the_similarity_is_that_of_umeyama(size):
    random = np.random.default_rng(1)
    landmarks = template(size).landmarks
    for _ in range(20):
        angle, scale = random.uniform(-3, 3), random.uniform(0.1, 9)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        noisy = landmarks @ turn.T + random.uniform(-300, 300, 2) + random.normal(0, 4 * scale, (5, 2))
        found, expected = similarity(noisy, landmarks), umeyama(noisy, landmarks)
        assert np.abs(apply(found, noisy) - landmarks).max() > 0.5  # the points do not fit: the fit is a choice
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(apply(inverse(found), apply(found, noisy)), noisy, atol=1e-8)


def test_landmarks_that_are_no_face_are_refused():
    landmarks = template("112").landmarks
    for broken in (np.full((5, 2), 7.0), np.full((5, 2), np.nan), np.full((5, 2), np.inf)):
        with pytest.raises(ValueError, match="landmarks in one point"), np.errstate(invalid="ignore"):
            similarity(broken, landmarks)
    random = np.random.default_rng(0).normal(0, 1e9, (5, 2))
    with pytest.raises(ValueError, match="landmarks that are no face"):
        similarity(random, landmarks)


def test_the_templates_show_the_same_view():
    arcface = template("112").landmarks
    np.testing.assert_allclose(template("112x96").landmarks, arcface - [8, 0])
    for size, side in (("96", 96), ("64", 64)):
        # The share of the crop left and above of each landmark, from the edges of pixels.
        np.testing.assert_allclose((template(size).landmarks + 0.5) / side, (arcface + 0.5) / 112)
    assert (template("112x96").height, template("112x96").width) == (112, 96)
    with pytest.raises(BadInput, match="no size of crops named '113'; did you mean '112'"):
        template("113")


# Enlarging, nothing, reducing by less than a block, by blocks, and by many.
@pytest.mark.parametrize(("scale", "slope"), [(2.5, 2.0), (1.0, 2.0), (0.6, 1.2), (0.3, 0.6), (0.13, 0.25)])
def test_a_ramp_is_where_it_was(scale, slope):
    """A linear picture stays linear under any resampling, so every pixel of the crop has one right value."""
    side = int(240 / slope)
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    # Fractions survive 8 bits as the mean of dithered pixels do not: the tolerance below is for rounding.
    ramp = np.rint(np.stack([x * slope, y * slope, (x + y) * slope / 2], -1)).astype(np.uint8)
    center, turn = side / 2 - 3.3, 0.4
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.concatenate([scale * rotation, ([[55.5], [50.2]] - scale * rotation @ [[center], [center]])], 1)
    crop = np.asarray(warp(Image.fromarray(ramp), matrix, (112, 96)), np.float64)
    grid = np.stack(np.meshgrid(np.arange(96), np.arange(112)), -1).reshape(-1, 2).astype(np.float64)
    at = apply(inverse(matrix), grid)
    inside = ((at > 3 / scale) & (at < side - 3 / scale)).all(1)
    assert inside.sum() > 1000
    right = np.stack([at[:, 0] * slope, at[:, 1] * slope, at.sum(1) * slope / 2], -1)
    off = crop.reshape(-1, 3)[inside] - right[inside]
    # Pillow rounds down: half a level. Half a pixel would be more than a level (and a pixel of the crop at least two).
    assert np.all(np.abs(off.mean(0) + 0.3) < 0.35)
    assert np.abs(off).max() < 2.5


def test_a_large_photograph_does_not_alias():
    x, y = np.meshgrid(np.arange(900), np.arange(900))
    fine = np.where((x + y) % 2, 250, 10).astype(np.uint8)
    matrix = np.array([[0.12, 0, 3.0], [0, 0.12, 2.0]])
    picture = Image.fromarray(np.stack([fine] * 3, -1))
    crop = np.asarray(warp(picture, matrix, (96, 96)), np.float64)[5:-5, 5:-5]
    assert abs(crop.mean() - 130) < 2
    assert crop.std() < 2


def test_outside_is_black_and_counted():
    picture = Image.new("RGB", (200, 160), (200, 150, 100))
    inside = np.array([[1.0, 0, -20], [0, 1.0, -20]])
    assert outside(inside, picture.size, (112, 112)) == 0
    half = np.array([[1.0, 0, 56], [0, 1.0, -20]])  # the left half of the crop is left of the picture
    assert outside(half, picture.size, (112, 112)) == 0.5
    crop = np.asarray(warp(picture, half, (112, 112)))
    assert (crop[:, :55] == 0).all()
    assert (crop[:, 58:] == [200, 150, 100]).all()
    far = np.array([[0.2, 0, 500], [0, 0.2, 500]])
    assert outside(far, picture.size, (64, 64)) == 1
    assert not np.asarray(warp(picture, far, (64, 64))).any()
