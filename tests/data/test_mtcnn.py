"""The detector: its networks against plain torch, its parts against loops, the whole on pasted generated faces."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.nn import functional

from faceloss.data.photographs import mtcnn, mtcnn_nets
from faceloss.data.photographs.detector import choose_detector, open_detector
from faceloss.errors import BadInput

pytestmark = pytest.mark.usefixtures("detection")


@pytest.fixture(scope="module")
def detector(detection):
    return open_detector(choose_detector("mtcnn"))


def plain(name, pictures):
    """A network as published, layer by layer: (face probability, corrections, landmarks)."""
    weights = iter(mtcnn_nets._weights(name))
    pools = {"p": [2, 0, 0], "r": [3, 3, 0], "o": [3, 3, 2, 0]}[name]
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127.5) / 128
    take = lambda: torch.from_numpy(next(weights))  # noqa: E731
    for pool in pools:
        x = functional.conv2d(x, take().permute(3, 2, 0, 1), take())
        x = functional.prelu(x, take().reshape(-1))
        x = functional.max_pool2d(x, pool, 2, ceil_mode=True) if pool else x
    if name == "p":
        boxes = functional.conv2d(x, take().permute(3, 2, 0, 1), take())
        face = functional.conv2d(x, take().permute(3, 2, 0, 1), take()).softmax(1)[:, 1]
        return face, boxes.permute(0, 2, 3, 1), None
    x = x.permute(0, 3, 2, 1).reshape(len(x), -1)
    x = functional.linear(x, take().T, take())
    x = functional.prelu(x, take())
    heads = [functional.linear(x, take().T, take()) for _ in range(2 if name == "r" else 3)]
    return heads[-1].softmax(1)[:, 1], heads[0], heads[1] if name == "o" else None


@pytest.mark.parametrize(("name", "shape"), [("p", (2, 57, 70, 3)), ("r", (5, 24, 24, 3)), ("o", (5, 48, 48, 3))])
def test_the_networks_compute_what_was_published(detector, photograph, name, shape):
    scene = np.asarray(photograph(1, (20, 20, 150)))
    random = np.random.default_rng(0)
    corners = random.integers(0, 100, (shape[0], 2))
    pictures = np.stack([scene[y : y + shape[1], x : x + shape[2]] for y, x in corners])
    face, boxes, points = plain(name, pictures)
    found = detector._run(name, pictures)
    assert face.max() > 1e-4
    assert boxes.abs().max() > 0.05
    np.testing.assert_allclose(1 / (1 + np.exp(-found[..., -1])), face, atol=2e-5)
    np.testing.assert_allclose(found[..., :4], boxes, atol=2e-5)
    if points is not None:
        np.testing.assert_allclose(found[:, 4:14], points, atol=2e-5)


@pytest.mark.parametrize("height", [12, 13, 14, 15, 44, 45, 46, 47, 131])
def test_bands_give_the_map_of_the_whole(detector, monkeypatch, height):
    pictures = np.random.default_rng(0).integers(0, 256, (2, height, 60, 3), dtype=np.uint8)
    monkeypatch.setattr(mtcnn, "BAND_PIXELS", 2 * 2 * 60 * 9)  # nine rows of the map
    whole, bands = detector._run("p", pictures), detector.maps(pictures)
    assert whole.std() > 0.01
    assert bands.shape == whole.shape
    np.testing.assert_allclose(bands, whole, atol=1e-6)


def test_pasted_faces_are_found_where_they_are(detector, photograph):
    places = [[(20, 30, 90)], [(10, 20, 80), (120, 90, 90)], [(5, 5, 70), (110, 10, 75), (60, 105, 85)]]
    pictures = [photograph(n, *places[n % 3]) for n in range(9)]
    found = detector.detect(pictures, [20.0] * 9)
    for number, faces in enumerate(found):
        assert len(faces) == len(places[number % 3]), number
        for left, top, side in places[number % 3]:
            inside = [
                f for f in faces if left < f.landmarks[2, 0] < left + side and top < f.landmarks[2, 1] < top + side
            ]
            assert len(inside) == 1
            eyes_and_mouth = inside[0].landmarks
            assert eyes_and_mouth[0, 0] < eyes_and_mouth[1, 0]  # left eye left, mouth below the nose
            assert eyes_and_mouth[3:, 1].min() > eyes_and_mouth[2, 1] > eyes_and_mouth[:2, 1].max() - 2
            assert 0.4 * side < inside[0].side < 1.1 * side
            assert inside[0].score > 0.9


def test_the_company_of_a_picture_changes_nothing(detector, photograph):
    pictures = [photograph(n, (20 + n, 30, 90), width=220 + 20 * (n % 2)) for n in range(5)]
    together = detector.detect(pictures, [20.0] * 5)
    for picture, faces in zip(pictures, together, strict=True):
        (alone,) = detector.detect([picture], [20.0])
        assert len(alone) == len(faces) == 1
        np.testing.assert_array_equal(alone[0].landmarks, faces[0].landmarks)
        assert alone[0].box == faces[0].box


def test_coordinates_have_no_side(detector, photograph):
    """In the mirror everything is mirrored: half a pixel of a wrong convention would show as a shift."""
    shifts = []
    for number in range(12):
        picture = photograph(number, (60, 40, 110))
        (face,), (mirrored,) = detector.detect([picture, ImageOps.mirror(picture)], [30.0] * 2)
        back = mirrored.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [picture.width - 1, 0]
        shifts.append((face.landmarks - back).mean(0)[0] / 2)
    assert 0.01 < np.std(shifts) < 1.5
    assert abs(np.mean(shifts)) < 0.25


def test_a_larger_picture_has_the_same_faces(detector, photograph):
    small = photograph(3, (40, 30, 100))
    large = small.resize((880, 800), Image.Resampling.BICUBIC)
    (one,), (four,) = detector.detect([small, large], [20.0, 80.0])
    eyes = np.linalg.norm(one.landmarks[0] - one.landmarks[1])
    assert np.abs((four.landmarks + 0.5) / 4 - 0.5 - one.landmarks).max() < 0.08 * eyes


def test_nothing_is_found_in_nothing(detector):
    pictures = [Image.new("RGB", size, (120, 130, 140)) for size in ((8, 8), (11, 300), (300, 200))]
    assert detector.detect(pictures, [20.0, 5.0, 400.0]) == [[], [], []]
    assert detector.detect([], []) == []


@pytest.mark.parametrize("smaller", [False, True])
def test_suppression_keeps_what_a_plain_loop_keeps(smaller):
    random = np.random.default_rng(2)
    corner = random.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 50, (80, 2))], 1).astype(np.float32)
    kept = []
    for i, (left, t, r, b) in enumerate(boxes):
        for j in kept:
            L, T, R, B = boxes[j]
            shared = max(0, min(r, R) - max(left, L)) * max(0, min(b, B) - max(t, T))
            one, other = (r - left) * (b - t), (R - L) * (B - T)
            if shared > 0.4 * (min(one, other) if smaller else one + other - shared):
                break
        else:
            kept.append(i)
    assert 5 < len(kept) < 60
    assert mtcnn.keep(boxes, 0.4, smaller).tolist() == kept


def test_what_lies_beyond_the_picture_is_black():
    picture = Image.new("RGB", (40, 40), (90, 90, 90))
    (crop,) = mtcnn.cut(picture, np.array([[-20.0, -10.0, 28.0, 38.0]], np.float32), 24)
    assert (crop[5:, 10:] == 90).all()  # 20 of 48 pixels are left of the picture, 10 above
    assert not crop[:5].any()
    assert not crop[:, :10].any()


def test_other_weights_and_missing_packages_are_refused(monkeypatch):
    monkeypatch.setitem(mtcnn_nets._SHA256, "r", "0" * 64)
    with pytest.raises(BadInput, match=r"does not hold the weights of mtcnn 1\.0\.0"):
        choose_detector("mtcnn")
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"weights of MTCNN are not installed; .*faceloss\[detect\]"):
        choose_detector("mtcnn")
    with pytest.raises(BadInput, match="no detector 'haar'"):
        choose_detector("haar")
