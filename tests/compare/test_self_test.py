"""The walk of a known picture into a network: right as it is, and every fault planted on the way is found and named."""

import re

import numpy as np
import pytest
import torch

from faceloss.compare import self_test as module
from faceloss.compare.self_test import FAULTS, TOLERANCE, self_test
from faceloss.data import decode
from faceloss.data.photographs import align


def test_as_it_is_it_is_right_and_blind_to_nothing() -> None:
    checked = self_test()
    assert checked.fault == ""
    assert checked.off <= 0.6  # rounding
    assert checked.noticed.keys() == FAULTS.keys()
    assert min(checked.noticed.values()) > 20 * TOLERANCE


def swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    right = decode._crop
    monkeypatch.setattr(decode, "_crop", lambda image, size: np.ascontiguousarray(right(image, size)[..., ::-1]))


def mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    right = decode._crop
    monkeypatch.setattr(decode, "_crop", lambda image, size: np.ascontiguousarray(right(image, size)[:, ::-1]))


def half_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic: coordinates of pixel centers taken for those of corners."""
    right = align.warp

    def warp(picture: object, matrix: np.ndarray, crop: tuple[int, int]) -> object:
        return right(picture, matrix + np.array([0, 0, 0.5]), crop)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "warp", warp)


def zero_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "to_input", lambda pixels, _: torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)


def not_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "to_input", lambda pixels, _: torch.from_numpy(pixels).permute(0, 3, 1, 2).float())


def another_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of ImageNet, as many networks have it."""
    mean, std = (torch.tensor(values)[None, :, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    scaled = lambda pixels, _: (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std  # noqa: E731
    monkeypatch.setattr(module, "to_input", scaled)


def another_template(monkeypatch: pytest.MonkeyPatch) -> None:
    right = align.template("112")
    monkeypatch.setattr(module, "template", lambda size: right._replace(landmarks=right.landmarks - [8, 0]))


def turned_template(monkeypatch: pytest.MonkeyPatch) -> None:
    right = align.template("112")
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    monkeypatch.setattr(module, "template", lambda size: right._replace(landmarks=(right.landmarks - 56) @ turn.T + 56))


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (swapped, "channels swapped"),
        (mirrored, "mirrored"),
        (half_a_pixel, r"shifted by \+0\.[56] pixels to the right and \+0\.[56] down"),
        (zero_to_one, r"scaled otherwise: 0\.499 times the contrast, \+64 levels"),
        (not_scaled, "scaled otherwise: 127 times"),
        (another_mean, "scaled otherwise"),
        (another_template, r"aligned to another template: -8\.\d pixels to the right"),
        (turned_template, r"aligned to another template: .* turned by \+5\.\d degrees"),
    ],
)
def test_a_fault_on_the_way_is_found_and_named(monkeypatch: pytest.MonkeyPatch, plant: object, told: str) -> None:
    plant(monkeypatch)  # type: ignore[operator]
    checked = self_test()
    assert checked.off > 5 * TOLERANCE
    assert re.match(told, checked.fault), checked.fault


def test_a_blind_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAULTS, "nothing at all", module.Fault("channels swapped"))
    assert self_test().fault == "the self-test is blind to: nothing at all"
