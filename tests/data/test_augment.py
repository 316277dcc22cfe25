"""Augmentation depends on (seed, epoch, image) only, and does what it says."""

import numpy as np
import pytest

from faceloss.data.augment import Augmentation, augment

PIXELS = np.random.default_rng(0).integers(40, 200, (24, 16, 16, 3), dtype=np.uint8)
STILL = {"flip": 0.0, "shift": 0.0, "brightness": 0.0, "contrast": 0.0, "color": 0.0}


def test_independent_of_order_batch_and_size_of_the_set():
    whole = Augmentation(1, 2, 24)
    everything = whole(PIXELS, np.arange(24))
    assert (everything != PIXELS).mean() > 0.8
    order = np.random.default_rng(1).permutation(24)
    np.testing.assert_array_equal(whole(PIXELS[order], order), everything[order])
    np.testing.assert_array_equal(whole(PIXELS[5:7], [5, 6]), everything[5:7])
    np.testing.assert_array_equal(Augmentation(1, 2, 9000)(PIXELS, np.arange(24)), everything)
    np.testing.assert_array_equal(augment(PIXELS[order], seed=1, epoch=2, index=order), everything[order])


def test_seed_epoch_and_image_all_count():
    one = Augmentation(1, 2, 30)(PIXELS, np.arange(24))
    assert (Augmentation(2, 2, 30)(PIXELS, np.arange(24)) != one).mean() > 0.5
    assert (Augmentation(1, 3, 30)(PIXELS, np.arange(24)) != one).mean() > 0.5
    assert (Augmentation(1, 2, 30)(PIXELS, np.arange(1, 25)) != one).mean() > 0.5


def test_nothing_asked_nothing_done():
    before = PIXELS.copy()
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(Augmentation(0, 0, 1, **STILL)(every, [0]), every)
    Augmentation(0, 0, 24)(PIXELS, np.arange(24))
    np.testing.assert_array_equal(PIXELS, before)


def test_one_batch_takes_the_strengths_and_refuses_others():
    strengths = STILL | {"rotation": 20, "erase": 0.5}
    expected = Augmentation(1, 2, 24, **strengths)(PIXELS, np.arange(24))
    np.testing.assert_array_equal(augment(PIXELS, seed=1, epoch=2, index=np.arange(24), **strengths), expected)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rotate'"):
        augment(PIXELS, seed=1, epoch=2, index=np.arange(24), rotate=20)


def test_mirror():
    always = Augmentation(0, 0, 24, **STILL | {"flip": 1.0})
    np.testing.assert_array_equal(always(PIXELS, np.arange(24)), PIXELS[:, :, ::-1])
    half = Augmentation(0, 0, 4000, **STILL | {"flip": 0.5})
    mirrored = (half(np.broadcast_to(PIXELS[:1], (4000, 16, 16, 3)), np.arange(4000)) != PIXELS[0]).any(axis=(1, 2, 3))
    assert mirrored.mean() == pytest.approx(0.5, abs=0.03)


def test_shift_moves_whole_pixels_and_repeats_the_border():
    moved = Augmentation(0, 0, 400, **STILL | {"shift": 0.125})(np.repeat(PIXELS[:1], 400, axis=0), np.arange(400))
    padded = np.pad(PIXELS[0], ((2, 2), (2, 2), (0, 0)), mode="edge")
    places = {(y, x): padded[y : y + 16, x : x + 16].tobytes() for y in range(5) for x in range(5)}
    assert len(set(places.values())) == 25
    found = {image.tobytes() for image in moved}
    assert found == set(places.values())


def slopes(images):
    """Change of the gray level from column to column and from row to row, in the middle of ramps [N,H,W,3]."""
    levels = images[:, 12:-12, 12:-12, 0].astype(float)
    return (
        np.diff(levels, axis=2).mean(axis=(1, 2)),
        np.diff(levels, axis=1).mean(axis=(1, 2)),
        levels.mean(axis=(1, 2)),
    )


RAMP = np.broadcast_to((4 * np.arange(48, dtype=np.uint8) + 30)[None, None, :, None], (300, 48, 48, 3))


def test_zoom_about_the_middle_keeps_its_bounds():
    across, down, middle = slopes(Augmentation(0, 0, 300, **STILL | {"zoom": 0.25})(RAMP, np.arange(300)))
    factor = 4 / across
    assert (factor.min(), factor.max()) == (pytest.approx(0.75, abs=0.02), pytest.approx(1.25, abs=0.02))
    assert factor.mean() == pytest.approx(1, abs=0.03)
    assert np.abs(down).max() < 0.02
    assert middle == pytest.approx(RAMP[0, 0, :, 0].mean(), abs=1)


def test_rotation_about_the_middle_keeps_its_bounds():
    across, down, middle = slopes(Augmentation(0, 0, 300, **STILL | {"rotation": 20})(RAMP, np.arange(300)))
    degrees = np.degrees(np.arctan2(down, across))
    assert (degrees.min(), degrees.max()) == (pytest.approx(-20, abs=0.5), pytest.approx(20, abs=0.5))
    assert np.hypot(across, down) == pytest.approx(4, abs=0.05)  # nothing is stretched
    assert middle == pytest.approx(RAMP[0, 0, :, 0].mean(), abs=1)


@pytest.mark.parametrize(("zoom", "rotation", "shift"), [(0.5, 45, 0.5), (0.0, 180, 0.0)])
def test_what_comes_in_from_outside_repeats_the_border(zoom, rotation, shift):
    light = np.full((200, 48, 48, 3), 200, np.uint8)
    moves = STILL | {"zoom": zoom, "rotation": rotation, "shift": shift}
    assert (Augmentation(0, 0, 200, **moves)(light, np.arange(200)) == 200).all()


def test_mirror_and_rotation_together():
    """A mirrored image is turned as any other: the mirror comes first."""
    turned = Augmentation(3, 0, 300, **STILL | {"rotation": 20})(RAMP[:, :, ::-1], np.arange(300))
    both = Augmentation(3, 0, 300, **STILL | {"rotation": 20, "flip": 1.0})(RAMP, np.arange(300))
    assert np.abs(both.astype(int) - turned).max() <= 1
    unmirrored = Augmentation(3, 0, 300, **STILL | {"rotation": 20})(RAMP, np.arange(300))
    assert (both != unmirrored).any(axis=(1, 2, 3)).all()


def test_erasing_paints_one_rectangle_of_the_stated_size():
    light = np.full((4000, 32, 32, 3), 200, np.uint8)
    erased = (Augmentation(0, 0, 4000, **STILL | {"erase": 0.5})(light, np.arange(4000)) == 127).all(axis=3)
    some = erased.any(axis=(1, 2))
    assert some.mean() == pytest.approx(0.5, abs=0.05)
    heights, widths = erased[some].any(axis=2).sum(axis=1), erased[some].any(axis=1).sum(axis=1)
    assert (erased[some].sum(axis=(1, 2)) == heights * widths).all()  # a full rectangle
    for sides in (heights, widths):
        assert (sides.min(), sides.max()) == (8, 16)
    assert erased.any(axis=(0, 2)).all()  # every row is reached,
    assert erased.any(axis=(0, 1)).all()  # and every column


def test_brightness_contrast_and_color_stay_in_their_bounds():
    grey = np.full((500, 8, 8, 3), 100, np.uint8)
    index = np.arange(500)
    bright = Augmentation(0, 0, 500, **STILL | {"brightness": 0.2})(grey, index)[:, 0, 0].astype(int)
    assert (bright == bright[:, :1]).all()
    assert (bright.min(), bright.max()) == (pytest.approx(100 - 25.5, abs=1.5), pytest.approx(100 + 25.5, abs=1.5))
    assert bright.mean() == pytest.approx(100, abs=2)
    contrast = Augmentation(0, 0, 500, **STILL | {"contrast": 0.5})(grey, index)[:, 0, 0].astype(int)
    assert (contrast.min(), contrast.max()) == (pytest.approx(86, abs=1.5), pytest.approx(114, abs=1.5))
    color = Augmentation(0, 0, 500, **STILL | {"color": 0.1})(grey, index)[:, 0, 0].astype(int)
    assert np.ptp(color, axis=1).mean() > 5
    assert np.abs(color - 100).max() <= 17
    extreme = np.repeat(np.array([0, 255], np.uint8), 250)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    strong = Augmentation(0, 0, 500, **STILL | {"brightness": 0.4})(extreme, index)
    assert strong[:250].max() <= 51  # clipped, not wrapped around
    assert strong[250:].min() >= 204


def test_gray_levels_are_rounded():
    middle = np.full((100, 8, 8, 3), 128, np.uint8)  # half a level beside the middle: 127.995 to 128.005
    assert (Augmentation(0, 0, 100, **STILL | {"contrast": 0.01})(middle, np.arange(100)) == 128).all()


def test_a_read_only_map_is_fine():
    still = PIXELS.copy()
    still.flags.writeable = False
    assert Augmentation(0, 0, 24)(still, np.arange(24)).shape == PIXELS.shape
