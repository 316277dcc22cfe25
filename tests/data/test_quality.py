"""Quality of crops: what was done to an image is what its measures say."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from faceloss.data.faces import Rows
from faceloss.data.quality import BLOCK, MEASURES, quality


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Eight smooth pictures in color."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, (8, 6, 6, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((48, 48), Image.Resampling.BICUBIC)) for c in coarse])


def test_each_measure_sees_what_was_done(crops):
    rng = np.random.default_rng(1)
    plain = quality(crops)
    assert set(plain) == set(MEASURES)
    assert {values.shape for values in plain.values()} == {(8,)}
    blurred = quality(np.stack([np.asarray(Image.fromarray(c).filter(ImageFilter.GaussianBlur(2))) for c in crops]))
    assert (blurred["sharpness"] < 0.75 * plain["sharpness"]).all()
    brighter = quality(crops + np.uint8(40))
    assert np.allclose(brighter["brightness"] - plain["brightness"], 40, atol=1e-3)
    assert np.allclose(brighter["contrast"], plain["contrast"], rtol=1e-4)
    flat = quality(((crops.astype(np.float64) - 128) / 2 + 128).round().astype(np.uint8))
    assert np.allclose(flat["contrast"], plain["contrast"] / 2, rtol=0.05)
    noise = rng.normal(0, 9, (8, 48, 48, 1))
    noisy = quality(np.clip(crops + noise, 0, 255).round().astype(np.uint8))
    assert np.allclose(noisy["noise"], 9, rtol=0.15)
    assert (plain["noise"] < 3).all()


def test_hand_values():
    """One bright pixel in the middle of black: a Laplacian of -4 v there and v at its four neighbors."""
    image = np.zeros((1, 5, 5, 3), dtype=np.uint8)
    image[0, 2, 2] = 90
    found = quality(image)
    assert found["sharpness"][0] == pytest.approx((16 + 4) * 90**2 / 9, rel=1e-6)
    assert found["brightness"][0] == pytest.approx(90 / 25, rel=1e-6)
    assert found["noise"][0] == pytest.approx(np.sqrt(np.pi / 2) / 6 * 90 * (4 + 4 * 2 + 4 * 1) / 9, rel=1e-6)


def test_images_are_read_some_at_a_time(crops):
    numbers = np.arange(BLOCK + 5) % 8
    many, few = quality(Rows(crops, numbers)), quality(crops)
    assert all(np.array_equal(many[name], few[name][numbers]) for name in MEASURES)
    assert quality(crops[:0])["noise"].shape == (0,)
