"""The shapes that courses are made of, against values worked by hand."""

import pytest

from faceloss.search.courses import constant, fall, rise


@pytest.mark.parametrize(
    ("progress", "over", "value"),
    [(0.0, 0.5, 0.0), (0.1, 0.5, 0.2), (0.5, 0.5, 1.0), (0.9, 0.5, 1.0), (0.0, 0.0, 1.0), (0.75, 1.0, 0.75)],
)
def test_rise_is_a_line_and_then_flat(progress: float, over: float, value: float) -> None:
    assert rise(progress, over=over) == pytest.approx(value, abs=1e-12)


def test_fall_is_that_of_the_released_code() -> None:
    """1000 (1 + 0.12 i)^-1 of 28,000 steps, as that release writes it: after 1,400 steps 1000/169."""
    assert fall(1400 / 28_000, start=1000.0, speed=0.12 * 28_000, power=1.0) == pytest.approx(1000 / 169)
    assert fall(0.0, start=1000.0, speed=3.0, power=35.0) == 1000.0


def test_constant_moves_nothing() -> None:
    assert constant(0.3) == {}
