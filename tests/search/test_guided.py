"""T19: the reward-guided mean finds the best value; as published it never moves. And its update by hand."""

import math
import statistics

import pytest

from faceloss import losses
from faceloss.search.guided import AsPublished, Guided, margin

BEST = 0.6


def reached(make, *, updates=20, noise=0.0, seeds=40):
    """The mean over seeds of where the mean gets with the reward -(x - BEST)^2."""
    ends = []
    for seed in range(seeds):
        policy = make(seed)
        for epoch in range(updates):
            rewards = [-((x - BEST) ** 2) for x in policy.ask(epoch)]
            policy.tell(epoch, rewards)
        ends.append(policy.mean)
    return statistics.mean(ends), statistics.stdev(ends)


@pytest.mark.parametrize("start", [0.0, 0.3, 1.2])
def test_the_mean_reaches_the_best_value(start):
    mean, spread = reached(lambda seed: Guided(start, candidates=8, seed=seed), updates=40)
    assert abs(mean - BEST) < 0.05
    assert spread < 0.15


def test_as_published_the_mean_never_moves():
    mean, spread = reached(lambda seed: AsPublished(candidates=8, seed=seed))
    assert mean == 0.0
    assert spread == 0.0


def test_the_first_step_of_adam_is_the_rate_in_the_direction_of_the_better_draw():
    policy = Guided(0.5, candidates=2, rate=0.05)
    one, two = policy.ask(0)
    assert one != two
    policy.tell(0, [1.0, 3.0])
    direction = math.copysign(1, (two - 0.5) - (one - 0.5))
    assert policy.mean == pytest.approx(0.5 + 0.05 * direction, rel=1e-6)


def test_equal_rewards_say_nothing():
    policy = Guided(0.5)
    policy.tell(0, [2.0, 2.0, 2.0, 2.0])
    assert policy.mean == 0.5


def test_the_scale_and_the_level_of_rewards_do_not_matter():
    means = []
    for scale, level in ((1, 0), (100, -7)):
        policy = Guided(0.2, seed=3)
        for epoch in range(5):
            policy.tell(epoch, [level - scale * (x - BEST) ** 2 for x in policy.ask(epoch)])
        means.append(policy.mean)
    assert means[0] != 0.2
    assert means[0] == pytest.approx(means[1], rel=1e-9)


def test_a_restored_search_continues_to_the_bit():
    straight, stopped = Guided(0.2, seed=1), Guided(0.2, seed=1)
    for epoch in range(6):
        if epoch == 3:
            state = stopped.state()
            stopped = Guided(9.0, seed=1)
            stopped.restore(state)
        for policy in (straight, stopped):
            policy.tell(epoch, [-abs(x - BEST) for x in policy.ask(epoch)])
    assert straight.mean == stopped.mean
    assert straight.state() == stopped.state()


def test_draws_depend_on_seed_and_epoch_only():
    assert Guided(0.5, seed=1).ask(4) == Guided(0.5, seed=1).ask(4)
    assert Guided(0.5, seed=1).ask(4) != Guided(0.5, seed=2).ask(4)
    assert Guided(0.5, seed=1).ask(4) != Guided(0.5, seed=1).ask(5)


def test_a_candidate_is_a_margin_of_so_many_nats():
    """ln(1 - a) = u: CosFace with m = u / s; at u = 0.35 * 32 that is its default."""
    loss = losses.build("search_softmax", dim=4, classes=3, s=32.0)
    loss.set_hyperparameters(margin(0.35 * 32))
    assert math.log1p(-loss.hyperparameters()["a"].item()) / 32 == pytest.approx(0.35)
    assert margin(-3.0)["a"] == 0.0


@pytest.mark.parametrize("wrong", [{"deviation": 0.0}, {"candidates": 1}, {"rate": -1.0}, {"mean": math.nan}])
def test_impossible_searches_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 2 candidates; given mean"):
        Guided(**{"mean": 0.5, **wrong})


@pytest.mark.parametrize("rewards", [[1.0], [1.0, math.nan, 0.0, 2.0]])
def test_a_missing_or_broken_reward_is_refused(rewards):
    with pytest.raises(ValueError, match="One finite reward for each of 4 candidates"):
        Guided(0.5).tell(0, rewards)
