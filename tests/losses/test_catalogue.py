"""What the losses say about themselves is in the catalogue's words, and claims no more than there is a test for."""

import re
from pathlib import Path

import pytest

from faceloss import losses

HERE = Path(__file__).parent
PARITY = "pytorch-metric-learning 2.9"
SOURCES = (
    "formula read in its released code",
    "formula read in public code",
    "formula from a public summary",
    "textbook formula",
)


@pytest.mark.parametrize("name", losses.names())
def test_family_and_source_are_known_words(name):
    about = losses.describe(name)
    assert about.family in losses.FAMILIES
    assert about.checked.startswith(SOURCES), f"{name}: 'Checked:' must begin with one of {SOURCES}"
    if "code" in about.checked:
        assert re.search(r"\(\S+/\S+?[,)]", about.checked), f"{name}: name the repository as (owner/name)"


def test_every_family_has_members():
    assert {losses.describe(name).family for name in losses.names()} == set(losses.FAMILIES)


@pytest.mark.parametrize("name", losses.names())
def test_who_claims_loops_has_them_and_the_other_way_round(name):
    """``agrees`` compares value and gradient with a naive form written in the test."""
    has = re.search(r"^\s*agrees\(", (HERE / f"test_{name}.py").read_text(encoding="utf-8"), flags=re.M)
    claims = "value and gradient against loops in its test" in losses.describe(name).checked
    assert claims == bool(has), f"{name}: 'Checked:' {claims=}, tests/losses/test_{name}.py calls agrees: {bool(has)}"


def test_who_claims_parity_is_compared_and_the_other_way_round():
    text = (HERE / "test_parity_pml.py").read_text(encoding="utf-8")
    compared = {name for name in losses.names() if f'"{name}"' in text}
    claim = {name for name in losses.names() if PARITY in losses.describe(name).checked}
    assert compared, "tests/losses/test_parity_pml.py names no loss"
    assert sorted(claim - compared) == [], f"'Checked:' claims {PARITY}, but test_parity_pml.py does not name them"
    assert sorted(compared - claim) == [], (
        f"test_parity_pml.py compares them; write '; value and gradient against {PARITY}.' at the end of 'Checked:' "
        "in their files, then `make docs`"
    )
