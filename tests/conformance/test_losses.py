"""Every loss joins by existing: all checks on all losses, in each of the settings that their signatures name."""

from functools import partial
from pathlib import Path

import loss_checks
import pytest

from faceloss import losses

HERE = Path(__file__)


def cases():
    """Each loss with its defaults, and once more for every other choice that a keyword offers."""
    for name in losses.names():
        about = losses.describe(name)
        settings = [{}]
        for keyword, known in about.hyperparameters.items():
            settings += [{keyword: choice} for choice in known.choices if choice != known.default]
        for setting in settings:
            label = "".join([name, *(f" {keyword}={choice}" for keyword, choice in setting.items())])
            make = partial(losses.build, name, **setting)
            yield loss_checks.Case(label, make, about, straight_through="straight-through" in setting.values())


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
