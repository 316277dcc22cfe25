"""T19: the reward-guided mean finds the best value; as published it never moves. And its update by hand."""

import math
import statistics

import pytest

from faceloss import losses
from faceloss.search.guided import AsPublished, Guided, margin, nats

BEST = 0.6


def play(policy, updates, reward=lambda x: -((x - BEST) ** 2)):
    for epoch in range(updates):
        draws = policy.draws(epoch)
        if len(policy.ask(epoch)) == policy.width:
            policy.tell(epoch, {i: sum(map(reward, draw)) for i, draw in enumerate(draws)})
    return policy


def reached(make, *, updates=20, seeds=40):
    """The mean over seeds of where the mean gets with the reward -(x - BEST)^2."""
    ends = [play(make(seed), updates).mean[0] for seed in range(seeds)]
    return statistics.mean(ends), statistics.stdev(ends)


@pytest.mark.parametrize("start", [0.0, 0.3, 1.2])
def test_the_mean_reaches_the_best_value(start):
    mean, spread = reached(lambda seed: Guided([start], candidates=8, seed=seed), updates=40)
    assert abs(mean - BEST) < 0.05
    assert spread < 0.15


def test_every_coordinate_reaches_its_best_value():
    policy = play(Guided([0.0, 1.2, BEST], candidates=16, seed=4), 60)
    assert policy.mean == pytest.approx([BEST] * 3, abs=0.2)


def test_as_published_the_mean_never_moves():
    mean, spread = reached(lambda seed: AsPublished(candidates=8, seed=seed))
    assert mean == 0.0
    assert spread == 0.0


def test_as_published_the_first_two_epochs_are_a_margin_of_a_third():
    policy = AsPublished(s=32.0, candidates=4)
    for epoch in (0, 1):
        (only,) = policy.ask(epoch)
        assert nats(only(0.0)["a"]) / 32 == pytest.approx(1 / 3, abs=1e-5)
    values = [course(0.0)["a"] for course in policy.ask(2)]
    assert len(set(values)) == 4
    assert max(values) <= 0
    expected = [-abs(x) * math.exp(32 / 3) for (x,) in policy.draws(2)]
    assert values == pytest.approx(expected)


def test_the_first_step_of_adam_is_the_rate_in_the_direction_of_the_better_draw():
    policy = Guided([0.5], candidates=2, rate=0.05)
    (one,), (two,) = policy.draws(0)
    assert one != two
    policy.tell(0, {0: 1.0, 1: 3.0})
    direction = math.copysign(1, (two - 0.5) - (one - 0.5))
    assert policy.mean[0] == pytest.approx(0.5 + 0.05 * direction, rel=1e-6)


def test_equal_rewards_say_nothing():
    policy = Guided([0.5])
    policy.tell(0, dict.fromkeys(range(4), 2.0))
    assert policy.mean == [0.5]


def test_the_scale_and_the_level_of_rewards_do_not_matter():
    means = [
        play(Guided([0.2], seed=3), 5, lambda x, scale=scale, level=level: level - scale * (x - BEST) ** 2).mean[0]
        for scale, level in ((1, 0), (100, -7))
    ]
    assert means[0] != 0.2
    assert means[0] == pytest.approx(means[1], rel=1e-9)


def test_a_restored_search_continues_to_the_bit():
    straight, stopped = Guided([0.2, 0.4], seed=1), Guided([0.2, 0.4], seed=1)
    for epoch in range(6):
        if epoch == 3:
            state = stopped.state()
            stopped = Guided([9.0, 9.0], seed=1)
            stopped.restore(state)
        for policy in (straight, stopped):
            policy.tell(epoch, {i: -abs(x - BEST) + y for i, (x, y) in enumerate(policy.draws(epoch))})
    assert straight.state() == stopped.state()
    assert straight.mean != [0.2, 0.4]


def test_draws_depend_on_seed_and_epoch_only():
    assert Guided([0.5], seed=1).draws(4) == Guided([0.5], seed=1).draws(4)
    assert Guided([0.5], seed=1).draws(4) != Guided([0.5], seed=2).draws(4)
    assert Guided([0.5], seed=1).draws(4) != Guided([0.5], seed=1).draws(5)


def test_the_control_has_equal_candidates_on_batches_of_their_own_and_learns_nothing():
    policy = Guided([0.5], same=True)
    assert policy.own_batches
    assert policy.draws(0) == [[0.5]] * 4
    policy.tell(0, {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0})
    assert policy.mean == [0.5]
    assert not Guided([0.5]).own_batches


def test_a_candidate_is_a_margin_of_so_many_nats():
    """ln(1 - a) = u: CosFace with m = u / s; at u = 0.35 * 32 that is its default."""
    loss = losses.build("search_softmax", dim=4, classes=3, s=32.0)
    loss.set_hyperparameters(margin(0.35 * 32))
    assert nats(loss.hyperparameters()["a"].item()) / 32 == pytest.approx(0.35)
    assert margin(-3.0)["a"] == 0.0


@pytest.mark.parametrize("wrong", [{"deviation": 0.0}, {"candidates": 1}, {"rate": -1.0}, {"mean": [math.nan]}])
def test_impossible_searches_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 2 candidates; given mean"):
        Guided(**{"mean": [0.5], **wrong})


@pytest.mark.parametrize("rewards", [{0: 1.0}, {0: 1.0, 1: math.nan, 2: 0.0, 3: 2.0}, {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}])
def test_a_missing_or_broken_reward_is_refused(rewards):
    with pytest.raises(ValueError, match="One finite reward for each of 4 candidates"):
        Guided([0.5]).tell(0, rewards)
