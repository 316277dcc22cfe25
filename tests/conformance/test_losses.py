"""Every loss joins by existing: all checks on all losses, in each of the settings that their signatures name."""

from pathlib import Path

import pytest

from faceloss import checks, losses

HERE = Path(__file__)
APPLICABLE = [
    pytest.param(check, case, id=f"{case.name}-{check.__name__}")
    for name in losses.own_names()
    for case in checks.cases(name)
    for check in checks.applicable(case)
]


@pytest.mark.parametrize(("check", "case"), APPLICABLE)
def test_conforms(check, case):
    check(case)


@pytest.mark.parametrize("name", losses.own_names())
def test_has_a_test_of_its_own(name):
    path = HERE.parents[1] / "losses" / f"test_{name}.py"
    assert path.exists(), f"The loss {name} has no tests/losses/test_{name}.py."
