"""docs/losses.md and its figures are what tools/make_docs.py writes today."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import make_docs  # noqa: E402 - found through the line above

NUMBER = r"-?\d+(?:\.\d+)?"
STALE = "stale; run `make docs` and commit what it writes"


@pytest.fixture(scope="module")
def fresh():
    """Page and figures as they would be written now."""
    facts = make_docs.by_family()
    curves = {about.name: make_docs.measured(about) for about in facts}
    return make_docs.page(facts, curves), make_docs.figures(curves)


def test_the_page_is_up_to_date(fresh):
    assert fresh[0] == make_docs.PAGE.read_text(encoding="utf-8"), f"docs/losses.md is {STALE}"


def test_the_figures_are_up_to_date(fresh):
    committed = {path.name: path.read_text(encoding="utf-8") for path in make_docs.FIGURES.iterdir()}
    assert sorted(committed) == sorted(fresh[1]), f"docs/losses/ is {STALE}"
    for name, text in fresh[1].items():
        assert same(text, committed[name]), f"docs/losses/{name} is {STALE}"


def same(one, other):
    """Equal but for the last decimal of a number, which another processor may round the other way."""
    if re.sub(NUMBER, "#", one) != re.sub(NUMBER, "#", other):
        return False
    pairs = zip(re.findall(NUMBER, one), re.findall(NUMBER, other), strict=True)
    return all(abs(float(a) - float(b)) < 0.15 for a, b in pairs)


def test_the_comparison_can_fail(fresh):
    text = fresh[1]["arcface.svg"]
    point = re.search(r'points="\S+ (\S+),(\S+) ', text)
    moved = text[: point.start(2)] + f"{float(point.group(2)) + 0.3:.1f}" + text[point.end(2) :]
    assert same(text, text)
    assert not same(text, moved)
    assert not same(text, text.replace("arcface", "cosface"))


def test_figures_are_small_and_carry_no_date(fresh):
    assert sum(map(len, fresh[1].values())) < 1.5e6
    assert not any(re.search(r"20\d\d-\d\d|<metadata|<script|font-face", text) for text in fresh[1].values())


def test_each_loss_is_in_both_tables_and_has_a_section(fresh):
    for about in make_docs.by_family():
        assert fresh[0].count(f"| [{about.name}](#{about.name}) |") == 2
        assert fresh[0].count(f"### {about.name}\n") == 1
        assert f"](losses/{about.name}.svg)" in fresh[0] or about.name == "npair"
