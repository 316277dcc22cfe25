"""Policies without rewards, successive halving, and the policies that belong to losses."""

import statistics

import pytest

from faceloss import losses
from faceloss.search.guided import margin, nats
from faceloss.search.policy import Policy, Random, Replay, halving, still


def test_a_policy_of_one_candidate_hands_out_its_course():
    policy = Policy(lambda progress: {"m": progress})
    assert [course(0.25) for course in policy.ask(3)] == [{"m": 0.25}]
    assert policy.width == 1
    assert policy.state() == {}


def test_random_draws_are_uniform_in_their_range_and_new_in_each_epoch():
    policy = Random(lambda u: {"u": u}, low=2.0, high=6.0, seed=5)
    drawn = [policy.ask(epoch)[0](0.0)["u"] for epoch in range(400)]
    assert min(drawn) >= 2.0
    assert max(drawn) <= 6.0
    assert statistics.mean(drawn) == pytest.approx(4.0, abs=0.2)
    assert statistics.pstdev(drawn) == pytest.approx(4 / 12**0.5, abs=0.1)
    assert len(set(drawn)) == 400
    assert drawn[7] == Random(lambda u: {"u": u}, low=2.0, high=6.0, seed=5).ask(7)[0](0.9)["u"]
    with pytest.raises(ValueError, match="given low 3 and high 2"):
        Random(margin, low=3, high=2, seed=0)


@pytest.mark.parametrize("candidates", [2, 3, 4, 5, 8, 16])
def test_halving_ends_with_one_at_the_end_of_the_epoch(candidates):
    rungs = halving(candidates)
    shares, kept = zip(*rungs, strict=True)
    assert shares[-1] == 1.0
    assert kept[-1] == 1
    assert list(shares) == sorted(set(shares))
    assert all(share > 0 for share in shares)
    assert list(kept) == sorted(kept, reverse=True)
    assert kept[0] < candidates


def cost(candidates):
    total, share, left = 0.0, 0.0, candidates
    for end, kept in halving(candidates):
        total, share, left = total + (end - share) * left, end, kept
    return total


def test_halving_of_eight_costs_two_and_a_half_epochs():
    assert cost(8) == 2.5
    assert cost(4) == 2.0


def test_a_replay_goes_through_its_schedule_and_more_slowly_in_a_longer_training():
    schedule = [{"a": -1.0}, {"a": -2.0}]
    assert [Replay(schedule, 2).ask(e)[0](0.0)["a"] for e in range(2)] == [-1.0, -2.0]
    assert [Replay(schedule, 5).ask(e)[0](0.0)["a"] for e in range(5)] == [-1.0, -1.0, -1.0, -2.0, -2.0]


def test_what_is_handed_out_is_a_copy():
    course = still({"a": 1.0})
    course(0.0)["a"] = 2.0
    assert course(0.0) == {"a": 1.0}


SEARCHES = ("search_softmax", "random_softmax", "am_lfs", "lookahead_margin")


@pytest.mark.parametrize("name", SEARCHES)
def test_a_loss_can_be_set_to_every_candidate_of_its_policy(name):
    policy = losses.policy(name, seed=3)
    loss = losses.build(name, dim=4, classes=3)
    for epoch in range(5):
        candidates = [course(epoch / 5) for course in policy.ask(epoch)]
        assert len(candidates) == policy.width
        for values in candidates:
            loss.set_hyperparameters(values)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_is_keyed_by_the_seed(name):
    one, same, other = (losses.policy(name, seed=seed).ask(2) for seed in (1, 1, 2))
    assert [course(0.0) for course in one] == [course(0.0) for course in same]
    assert [course(0.0) for course in one] != [course(0.0) for course in other]


def test_a_search_starts_where_the_loss_says():
    assert losses.policy("search_softmax", seed=0, a=-50.0).mean == pytest.approx([nats(-50.0)])
    start = losses.policy("lookahead_margin", seed=0, m2=0.3, s=20.0).ask(0)[0](0.0)
    assert start == pytest.approx({"m1": 1.0, "m2": 0.3, "m3": 0.2, "s": 20.0})
    assert losses.policy("am_lfs", seed=0, bins=1).mean == [1.0, 0.0, 1.0, 0.0]


def test_the_settings_of_a_search_reach_it():
    policy = losses.policy(
        "search_softmax", seed=0, candidates=8, deviation=3.0, rate=0.5, trial="halving", reward="tar"
    )
    assert (policy.width, policy.deviation, policy.rate, policy.reward) == (8, 3.0, 0.5, "tar")
    assert policy.rungs == halving(8)
    assert losses.policy("search_softmax", seed=0, method="same").own_batches
    assert losses.policy("lookahead_margin", seed=0, method="random").scored == 0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("search_softmax", {"candidates": 1}),
        ("am_lfs", {"deviation": 0.0}),
        ("lookahead_margin", {"tried": 1.5}),
        ("random_softmax", {"low": 3.0, "high": 2.0}),
    ],
)
def test_a_loss_refuses_an_impossible_search(name, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        losses.build(name, dim=4, classes=3, **wrong)


def test_a_loss_that_is_not_searched_keeps_its_course():
    (course,) = losses.policy("arcface", seed=0, m=0.4).ask(5)
    assert course(1.0) == losses.course("arcface", m=0.4)(1.0)
    assert course(0.1) != course(1.0)
