"""Look-ahead search: which two are tried, when scores are believed, and where the mean goes."""

import math

import pytest

from faceloss.search.lookahead import LookAhead


def make(**settings):
    return LookAhead([1.0, -2.0], lambda x: {"x": x[0], "y": x[1]}, **{"candidates": 4, "seed": 2, **settings})


def test_the_mean_is_a_candidate_and_the_others_are_around_it():
    policy = make(deviation=0.5)
    draws = policy.draws(0)
    assert draws[0] == [1.0, -2.0]
    assert len(draws) == 4
    far = [abs(x - mu) / 0.5 for draw in draws[1:] for x, mu in zip(draw, draws[0], strict=True)]
    assert 0.2 < sum(far) / len(far) < 2
    assert [course(0.0) for course in policy.ask(0)] == [{"x": x, "y": y} for x, y in draws]


def test_the_best_scored_is_tried_beside_the_mean():
    assert make().keep(0, [9.0, 1.0, 3.0, 2.0]) == [0, 2]
    assert make().keep(0, []) == [0, 1]
    assert make().keep(0, [1.0, math.nan, 3.0, 2.0]) == [0, 1]


def test_the_mean_moves_toward_a_better_candidate_and_stays_otherwise():
    policy = make(rate=0.5)
    draw = policy.draws(0)[2]
    policy.tell(0, {0: 1.0, 2: 1.5})
    assert policy.mean == pytest.approx([(1.0 + draw[0]) / 2, (-2.0 + draw[1]) / 2])
    before = list(policy.mean)
    policy.tell(1, {0: 1.0, 3: 0.5})
    assert policy.mean == before


def test_scores_that_were_wrong_are_no_longer_believed_and_can_win_it_back():
    policy = make()
    scores = [0.0, 1.0, 3.0, 2.0]
    chosen = []
    for epoch in range(3):
        chosen.append(policy.keep(epoch, scores)[1])
        policy.tell(epoch, {0: 1.0, 2: 0.5}, scores)  # scored higher than the mean, and worse
    assert chosen == [2, 2, 1]
    assert policy.right < 0.5
    for epoch in range(3, 6):
        policy.tell(epoch, {0: 1.0, 1: 2.0}, scores)
    assert policy.keep(6, scores) == [0, 2]


def test_two_are_tried_for_a_share_of_the_epoch():
    assert make(tried=0.25).rungs == ((0.25, 1), (1.0, 1))
    assert make(tried=1.0).rungs == ((1.0, 1),)


def test_it_climbs():
    """With rewards that fall with the distance from (3, 0), the mean gets there without scores."""
    policy = LookAhead([1.0, -2.0], lambda x: {}, candidates=2, deviation=0.5, rate=1.0, seed=1)
    for epoch in range(60):
        draws = policy.draws(epoch)
        policy.tell(epoch, {i: -math.dist(draws[i], (3.0, 0.0)) for i in policy.keep(epoch, [])})
    assert math.dist(policy.mean, (3.0, 0.0)) < 0.7


def test_a_restored_search_continues_to_the_bit():
    one = make()
    one.tell(0, {0: 1.0, 3: 2.0}, [0.0, 1.0, 2.0, 3.0])
    other = make()
    other.restore(one.state())
    assert other.draws(1) == one.draws(1) != make().draws(1)
    assert other.state() == one.state()


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"tried": 2.0}, {"candidates": 1}, {"deviation": -1.0}, {"scored": -1}]
)
def test_impossible_searches_are_refused(wrong):
    with pytest.raises(ValueError, match="A look-ahead search needs"):
        make(**wrong)


@pytest.mark.parametrize("rewards", [{0: 1.0}, {1: 1.0, 2: 2.0}, {0: 1.0, 1: math.inf}, {0: 1.0, 1: 1.0, 2: 1.0}])
def test_a_missing_or_broken_reward_is_refused(rewards):
    with pytest.raises(ValueError, match="One finite reward for the mean"):
        make().tell(0, rewards)
