"""Courses of losses: found in the file, given what they ask for, told in words."""

from pathlib import Path

import pytest

from faceloss import losses
from faceloss.losses import courses, outside

MINE = '''"""Mine: a cosine softmax with a margin that rises.

    loss = CosFace with margin m and s = 10

m margin.

Paper: none; made up for a test, 2026.
Family: margin.
Batches: shuffled.
Course: m rises from 0, so that a test can see it.
Deviations: none.
Checked: nothing.
"""

from faceloss.losses.core import Loss, Number
from faceloss.losses.cosface import psi
from faceloss.losses.heads import ClassHead


def course(progress, *, m):
    return {"m": m * progress}


def build(dim: int, classes: int, *, m: float = 0.1) -> Loss:
    return ClassHead(dim, classes, scale=Number(10.0), psi=psi, hyperparameters={"m": Number(m, low=0)})
'''


@pytest.fixture
def mine(tmp_path: Path):
    (tmp_path / "mine.py").write_text(MINE)
    yield losses.add(tmp_path / "mine.py")
    outside.drop("mine")


def test_of_a_loss_without_one_nothing_moves():
    assert losses.course("cosface")(0.0) == {}
    assert losses.course("cosface", m=0.2)(0.7) == {}
    assert losses.describe("cosface").course == ""


def test_it_is_given_the_hyperparameters_that_it_asks_for():
    assert losses.course("asoftmax", lam=7.0)(0.9) == {"lam": 7.0}
    assert losses.course("asoftmax", lam=7.0, m=3.0)(0.0) == {"lam": 1000.0}


def test_a_file_of_ones_own_has_one(mine):
    assert losses.course(mine, m=0.4)(0.25) == {"m": 0.1}
    assert losses.course(mine)(0.5) == {"m": 0.05}
    assert losses.describe(mine).course == "m rises from 0, so that a test can see it."


def test_one_that_asks_for_what_there_is_not_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text(MINE.replace("*, m):", "*, margin):"))
    name = losses.add(tmp_path / "mine.py")
    with pytest.raises(TypeError, match="course asks for 'margin', which is none of its hyperparameters: m"):
        losses.course(name)
    outside.drop("mine")


def test_in_words():
    assert courses.in_words(losses.course("cosface")) == ""
    assert courses.in_words(losses.course("arcface", warmup=0)) == ""
    assert courses.in_words(lambda progress: {"m": 0.3 * min(1.0, 2 * progress), "n": 1.0, "s": 1000 * progress}) == (
        "m = 0, 0.03, 0.06, 0.15, 0.3, 0.3, 0.3; s = 0, 50, 100, 250, 500, 750, 1000 "
        "after 0, 5, 10, 25, 50, 75, 100 % of the training"
    )


WARM = {
    "arcface": {"m": 0.5},
    "arcnegface": {"m": 0.5, "alpha": 1.2},
    "combined": {"m1": 1.2, "m2": 0.3, "m3": 0.2},
    "elasticface": {"m": 0.5, "sd": 0.05},
    "vpl": {"m": 0.5},
}


@pytest.mark.parametrize("name", WARM)
def test_a_margin_warms_up_in_a_straight_line(name):
    ends = WARM[name]
    course = losses.course(name, warmup=0.4, **ends)
    none = {key: 1.0 if key in ("m1", "alpha") else 0.0 for key in ends}
    assert course(0.0) == none
    assert course(0.1) == pytest.approx({key: none[key] + 0.25 * (end - none[key]) for key, end in ends.items()})
    for progress in (0.4, 0.7, 1.0):
        assert course(progress) == pytest.approx(ends)
    assert losses.course(name, warmup=0, **ends)(0.0) == pytest.approx(ends)
    assert losses.course(name)(0.25) != losses.course(name)(0.5) == losses.course(name)(0.75)


def test_all_that_warm_up_are_tested_above():
    assert set(WARM) == {name for name in losses.own_names() if "warmup" in losses.describe(name).hyperparameters}


@pytest.mark.parametrize("name", WARM)
def test_a_warm_up_longer_than_the_training_is_refused(name):
    with pytest.raises(ValueError, match="warmup must be"):
        losses.build(name, dim=4, classes=3, warmup=1.5)
