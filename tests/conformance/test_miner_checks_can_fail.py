"""Each check of miners fails on a miner that is broken in just the way it is there to find."""

import itertools

import pytest
import torch

from faceloss.checks.miners import MINER_CHECKS
from faceloss.losses import mining
from faceloss.losses.mining import Pairs, Triplets


def triplets(pick):
    """A miner from ``pick``, which changes what the sound one picked: (triplets, distances, labels, generator)."""

    def of(dim):
        return lambda distances, labels, generator: pick(
            mining.semi_hard(distances, labels, generator), distances, labels, generator
        )

    return of


def pairs(pick):
    """The same of pairs."""

    def of(dim):
        return lambda distances, labels, generator: pick(
            mining.all_pairs(distances, labels, generator), distances, labels, generator
        )

    return of


def first_of_all(found, distances, labels, generator):
    """The first row as anchor whether or not there is a positive."""
    return Triplets(*(column[:1] if len(column) else torch.zeros(1, dtype=torch.int64) for column in found))


BROKEN_MINERS = {
    "a row with itself": ("picks_tuples", triplets(lambda t, d, y, g: t._replace(positive=t.anchor))),
    "a positive of another": ("picks_tuples", triplets(lambda t, d, y, g: t._replace(positive=t.negative))),
    "a negative of its own": ("picks_tuples", triplets(lambda t, d, y, g: t._replace(negative=t.positive))),
    "a row beyond the batch": ("picks_tuples", triplets(lambda t, d, y, g: t._replace(negative=t.negative + len(y)))),
    "one column too long": ("picks_tuples", triplets(lambda t, d, y, g: t._replace(negative=t.negative.repeat(2)))),
    "a mask": ("picks_tuples", triplets(lambda t, d, y, g: t._replace(anchor=t.anchor.bool()))),
    "each tuple twice": ("picks_tuples", triplets(lambda t, d, y, g: Triplets(*(c.repeat(2) for c in t)))),
    "a bare tensor": ("picks_tuples", triplets(lambda t, d, y, g: torch.stack(t))),
    "a tuple where there is none": ("picks_tuples", triplets(first_of_all)),
    "pairs that are said to be others": ("picks_tuples", pairs(lambda p, d, y, g: p._replace(same=~p.same))),
    "all skipped": ("skips_rows_without", triplets(lambda t, d, y, g: Triplets(*(c[:0] for c in t)))),
    "one identity skipped": ("skips_rows_without", triplets(lambda t, d, y, g: Triplets(*(c[y[t[0]] > 0] for c in t)))),
    "genuine pairs skipped": ("skips_rows_without", pairs(lambda p, d, y, g: Pairs(*(c[~p.same] for c in p)))),
    "a draw from the global generator": (
        "same_generator",
        triplets(lambda t, d, y, g: Triplets(*(c[torch.rand(len(c)) < 0.5] for c in t))),
    ),
    "distances changed in place": ("same_generator", triplets(lambda t, d, y, g: (d.fill_(0), t)[1])),
    "a draw by nothing": ("same_generator", triplets(lambda t, d, y, g: Triplets(*(c.roll(next(CALLS)) for c in t)))),
    "the first of the batch": ("batch_order", triplets(lambda t, d, y, g: Triplets(*(c[:5] for c in t)))),
}
CALLS = itertools.count()


@pytest.mark.parametrize("wrong", BROKEN_MINERS)
def test_a_broken_miner_is_found(wrong):
    name, make = BROKEN_MINERS[wrong]
    check = next(check for check in MINER_CHECKS if check.__name__ == name)
    with pytest.raises(AssertionError):
        check(make)


@pytest.mark.parametrize("sound", [triplets, pairs])
@pytest.mark.parametrize("check", MINER_CHECKS, ids=lambda check: check.__name__)
def test_the_sound_miner_passes(sound, check):
    check(sound(lambda found, distances, labels, generator: found))


def test_every_check_has_a_planted_bug():
    assert {name for name, _ in BROKEN_MINERS.values()} == {check.__name__ for check in MINER_CHECKS}
