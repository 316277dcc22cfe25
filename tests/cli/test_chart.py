"""Curves as text."""

import math

import pytest

from faceloss.cli.chart import FINE, PLAIN, Line, chart, ticks


def test_a_chart_in_full() -> None:
    falling = Line("cos", "*", [math.cos(math.pi * column / 6) for column in range(7)])
    zero = Line("zero", ".", [0.0] * 7)
    lines = chart("Title, unit", [falling, zero], PLAIN, rows=5, ends=(0, 180)).splitlines()
    assert lines[:6] == [
        "Title, unit   * cos   . zero",
        "     1 +**",
        "   0.5 +  *",
        "     0 +...*...",
        "  -0.5 +    *",
        "    -1 +     **",
    ]


def test_the_axis_says_the_angles() -> None:
    *_, floor, numbers = chart("", [Line("flat", "*", [0.0] * 60)], PLAIN, ends=(0, 180)).splitlines()
    assert floor == "       ++---------+---------+---------+---------+---------+--------+"
    assert numbers == "        0         30        60        90       120       150      180 deg"
    for angle in ("30", "60", "90"):  # each number stands below its notch
        assert floor[numbers.index(angle)] == "+"


def test_a_jump_is_joined_and_a_gap_is_not() -> None:
    jump = Line("jump", "*", [0.0, 4.0, math.nan, 0.0])
    lines = chart("", [jump], PLAIN, rows=5, ends=(0, 180)).splitlines()
    cells = [line[8:] for line in lines[1:6]]
    assert cells == [" *", " *", " *", " *", "*  *"]


def test_the_first_curve_is_on_top() -> None:
    over, under = Line("over", "*", [1.0, 1.0]), Line("under", ".", [1.0, 1.0])
    assert chart("", [over, under], PLAIN, ends=(0, 180)).splitlines()[1] == "     1 +**"


def test_marks_differ_so_that_no_color_is_needed() -> None:
    for drawn in (FINE, PLAIN):
        assert len({drawn.curve, drawn.reference, drawn.second}) == 3
    assert "".join(PLAIN).isascii()


@pytest.mark.parametrize(("low", "high"), [(-1.24, 1.0), (0.0, 31.6), (5.0, 5.0), (0.0, 0.0), (-7.0, 1.0), (0.3, 1e6)])
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low <= high <= marks[-1]
    assert 3 <= len(marks) <= 8
    assert (marks[-1] - marks[0]) <= 2.5 * max(high - low, high, 1.0)
