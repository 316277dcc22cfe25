"""The learning rate at the steps where it can go wrong."""

import itertools

import pytest

from faceloss.train.schedule import learning_rate
from faceloss.train.settings import Recipe

STEPS = 10  # an epoch


def test_warm_up_rises_to_the_base_rate() -> None:
    recipe = Recipe(epochs=4, learning_rate=0.1, warmup_epochs=1)
    rates = [learning_rate(recipe, step, STEPS) for step in range(STEPS + 1)]
    assert rates[0] == pytest.approx(0.1 / 11)
    assert all(b > a for a, b in itertools.pairwise(rates))
    assert rates[STEPS] == pytest.approx(0.1)


def test_cosine_ends_near_zero_and_never_rises() -> None:
    recipe = Recipe(epochs=4, learning_rate=0.1, warmup_epochs=1)
    rates = [learning_rate(recipe, step, STEPS) for step in range(STEPS, 4 * STEPS)]
    assert all(b < a for a, b in itertools.pairwise(rates))
    assert learning_rate(recipe, 25, STEPS) == pytest.approx(0.05)
    assert 0 < rates[-1] < 0.001


def test_steps_fall_at_their_epochs() -> None:
    recipe = Recipe(epochs=4, learning_rate=0.1, warmup_epochs=0, schedule="step", step_epochs=(2, 3))
    rates = [learning_rate(recipe, step, STEPS) for step in (0, 19, 20, 29, 30, 39)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_a_warm_up_longer_than_the_run_is_only_a_warm_up() -> None:
    recipe = Recipe(epochs=1, learning_rate=0.1, warmup_epochs=5)
    assert learning_rate(recipe, STEPS - 1, STEPS) == pytest.approx(0.1 * 10 / 11)
