"""Every loss joins by existing: all checks on all losses, in each of the settings that their signatures name."""

from functools import partial
from pathlib import Path

import loss_checks
import pytest

from faceloss import losses

HERE = Path(__file__)

# What a case is given besides: hyperparameters without a default, and defaults that another setting makes idle.
GIVEN = {
    "adaface": {"h": 5.0},  # so that the norm of a batch is felt at the start, where its deviation counts as 100
    "x2_softmax": {"a": -0.25, "h": -0.4, "k": 1.0},  # no defaults are known
    "vpl": {"start": 0},  # so that memories count from the second step on
    "magface": {"a_low": 1.0, "a_high": 6.0},  # so that the norms of a batch lie between
    "am_lfs": {"bins": 2},  # so that a batch reaches every part of both functions
    "contrastive on=raw": {"m": 6.0},  # the radius is in units of the embedding
    "tse": {"alpha": 0.2},
    "center_invariant": {"gamma": 0.01},
    "sphereface2 kind=M": {"m": 1.7},  # a factor on the angle
}


def cases():
    """Each loss with its defaults, and once more for every other choice that a keyword offers."""
    for name in losses.names():
        about = losses.describe(name)
        settings = [{}]
        for keyword, known in about.hyperparameters.items():
            settings += [{keyword: choice} for choice in known.choices if choice != known.default]
        for setting in settings:
            label = "".join([name, *(f" {keyword}={choice}" for keyword, choice in setting.items())])
            make = partial(losses.build, name, **{**setting, **GIVEN.get(name, {}), **GIVEN.get(label, {})})
            choices = {keyword: known.default for keyword, known in about.hyperparameters.items()} | setting
            inexact = choices.get("gradient", "exact") != "exact"
            yield loss_checks.Case(label, make, about, straight_through=inexact)


def applicable():
    for case in cases():
        for check in loss_checks.CHECKS:
            if check.__name__ == "duplicates" and case.description.batches != "shuffled":
                continue  # a duplicate makes new pairs
            yield pytest.param(check, case, id=f"{case.name}-{check.__name__}")


@pytest.mark.parametrize(("check", "case"), list(applicable()))
def test_conforms(check, case):
    check(case)


@pytest.mark.parametrize("name", losses.names())
def test_has_a_test_of_its_own(name):
    path = HERE.parents[1] / "losses" / f"test_{name}.py"
    assert path.exists(), f"The loss {name} has no tests/losses/test_{name}.py."
