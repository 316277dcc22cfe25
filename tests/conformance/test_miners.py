"""Every miner joins by existing: a function of distances, labels and generator in ``faceloss.losses.mining``."""

import pytest

from faceloss.checks.miners import MINER_CHECKS, miners


def test_all_miners_are_found():
    some = {"all_triplets", "all_semi_hard", "all_pairs", "one_pair_each", "hard", "semi_hard", "distance_weighted"}
    assert some <= set(miners())
    assert not {"positives", "negatives", "identities"} & set(miners())


@pytest.mark.parametrize("name", miners())
@pytest.mark.parametrize("check", MINER_CHECKS, ids=lambda check: check.__name__)
def test_conforms(name, check):
    check(miners()[name])
