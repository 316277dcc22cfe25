"""Mean faces tell swapped channels, other scaling and another template from right data, and say what they cannot."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloss.data.appearance import compare, findings, findings_alone, from_text, mean_faces, to_text
from faceloss.data.cache import read_faces
from faceloss.data.faces import Faces
from faceloss.data.load import load_faces, open_named

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def halves() -> tuple[Faces, Faces]:
    """The built-in faces, 4 images each of 80 people to train on and of 80 others to use."""
    faces = load_faces("builtin", size=64)
    faces = faces.take(np.arange(0, len(faces), 6))
    return faces.take(faces.labels % 2 == 0), faces.take(faces.labels % 2 == 1)


def moved(right: float, down: float, larger: float = 0.0) -> Change:
    """A change that moves what is shown, in pixels of a crop of 112."""
    a, unit = 1 / (1 + larger), 64 / 112
    matrix = (a, 0, 32 - 32 * a - right * unit * a, 0, a, 32 - 32 * a - down * unit * a)

    def change(image: np.ndarray) -> np.ndarray:
        source = Image.fromarray(image)
        return np.asarray(source.transform((64, 64), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR))

    return change


def middle_of_112x96(image: np.ndarray) -> np.ndarray:
    """What a 112 x 96 crop of the same face shows, once the middle square is cut out and enlarged."""
    return np.asarray(Image.fromarray(image[4:60, 4:60]).resize((64, 64), Image.Resampling.LANCZOS))


def changed(faces: Faces, change: Change) -> Faces:
    return replace(faces, pixels=np.stack([change(image) for image in faces.pixels[:]]))


def test_right_data_raise_no_alarm(halves: tuple[Faces, Faces]) -> None:
    train, use = halves
    text = to_text(train)
    assert text is not None
    difference = compare(mean_faces(use), from_text(text))
    found, untold = findings(difference)
    assert found == []
    assert "half a pixel is less than" in untold[0]
    assert difference.correlation > 0.98
    assert findings_alone(mean_faces(use)) == ([], [])
    assert abs(difference.right.value) < 0.3
    assert abs(difference.larger.value) < 0.02


FAULTS: dict[str, tuple[Change, str]] = {
    "BGR": (lambda image: image[..., ::-1], "the channels are swapped"),
    "0..1 as levels": (lambda image: np.rint(image / 255).astype(np.uint8), "0.00"),
    "dark": (lambda image: (image / 8).astype(np.uint8), "values were scaled otherwise"),
    "112 x 96": (middle_of_112x96, "aligned to another template"),
    "smaller": (moved(0, 0, -0.25), "aligned to another template"),
    "far down": (moved(0, 8), "8."),
    "right": (moved(1.7, 0), "pixels right"),
    "left": (moved(-1.7, 0), "pixels left"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found_and_named(halves: tuple[Faces, Faces], fault: str) -> None:
    train, use = halves
    change, words = FAULTS[fault]
    text = to_text(train)
    assert text is not None
    found, _ = findings(compare(mean_faces(changed(use, change)), from_text(text)))
    assert len(found) == 1
    assert words in found[0]
    alone, _ = findings_alone(mean_faces(changed(use, change)))
    assert bool(alone) == (fault in ("BGR", "0..1 as levels"))


def test_how_far_is_measured(halves: tuple[Faces, Faces]) -> None:
    _, use = halves
    there = mean_faces(use).mean(0)
    for right, down, larger in ((0.5, 0.0, 0.0), (0.0, -2.0, 0.0), (3.0, 1.0, 0.1), (0.0, 0.0, -0.2)):
        difference = compare(mean_faces(changed(use, moved(right, down, larger))), there)
        assert difference.right.value == pytest.approx(right, abs=0.1)
        assert difference.down.value == pytest.approx(down, abs=0.1)
        assert difference.larger.value == pytest.approx(larger, abs=0.01)
        assert abs(difference.turned.value) < 0.3


def test_what_cannot_be_told_is_said(halves: tuple[Faces, Faces]) -> None:
    train, use = halves
    there = mean_faces(train).mean(0)
    half, untold = findings(compare(mean_faces(changed(use, moved(0.5, 0))), there))
    assert half == []
    assert "would not show" in untold[0]
    gray = changed(use, lambda image: np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8))
    found, untold = findings(compare(mean_faces(gray), there))
    assert found == []
    assert "swapped channels would not show" in untold[0]
    assert "would not show" in findings_alone(mean_faces(gray))[1][0]
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    found, untold = findings(compare(mean_faces(changed(use, lambda image: image // 8 + noise // 2)), there))
    assert any("cannot be laid one on the other" in sentence for sentence in untold)
    few = use.take(np.flatnonzero(use.labels < 15))
    assert to_text(few) is None  # a mean of so few may show somebody
    assert len(mean_faces(few.take([0, 1]))) == 2


@pytest.mark.real
def test_photographs_of_two_sources_raise_no_alarm(real_faces_folder: Path) -> None:
    """LFW beside two sets of celebrities, all aligned to one template; swapped channels and another view are found."""
    sets = {}
    for name in ("lfw", "pins", "celeba"):
        source = open_named(real_faces_folder / f"{name}.tar")
        sets[name] = read_faces(source._replace(entries=source.entries[:: len(source.entries) // 500]), 64)
    for name, other in (("lfw", "pins"), ("celeba", "pins"), ("lfw", "celeba")):
        there = mean_faces(sets[other]).mean(0)
        assert findings(compare(mean_faces(sets[name]), there))[0] == []
        for fault in ("BGR", "112 x 96"):
            change, words = FAULTS[fault]
            (found,) = findings(compare(mean_faces(changed(sets[name], change)), there))[0]
            assert words in found
