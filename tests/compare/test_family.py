"""What every comparison over seeds has in common."""

from typing import Any

import numpy as np
import pytest

from faceloss.compare.family import decide, over_seeds, seeds_of


def test_seeds_are_those_that_all_labels_have_in_order() -> None:
    found = {("a", 100): {"x"}, ("a", 8): {"x"}, ("a", 3): {"x", "y"}, ("b", 100): {"x"}, ("b", 3): {"x"}, ("b", 8): {}}
    assert seeds_of(found, "x", "a") == [3, 8, 100]
    assert seeds_of(found, "x", "a", "b") == seeds_of(found, "x", "b", "a") == [3, 100]
    assert seeds_of(found, "y", "a", "b") == seeds_of(found, "x", "c") == []


def test_a_mean_needs_value_and_influences_of_every_seed() -> None:
    records = [{"value": value, "pairs": 9, "note": note} for value, note in ((0.2, "whole"), (0.4, ""))]
    psi = [np.array([0.1, -0.1, 0.0]), np.array([0.0, 0.1, -0.1])]
    whole = over_seeds(records, psi)
    assert (whole["status"], whole["value"], whole["note"]) == ("measured", pytest.approx(0.3), "whole")
    assert whole["low"] < 0.3 < whole["high"]
    assert whole["spread"] == pytest.approx(0.2 / np.sqrt(2))
    assert over_seeds(records[:1], psi[:1])["spread"] is None
    silent = [records[0], {**records[1], "value": None, "note": "too few"}]
    for lacking, note in ((over_seeds(records, [psi[0], None]), "whole"), (over_seeds(silent, psi), "too few")):
        assert (lacking["status"], lacking["seeds"], lacking["pairs"], lacking["note"]) == (
            "not measurable",
            2,
            9,
            note,
        )
        assert {lacking[name] for name in ("value", "low", "high", "spread")} == {None}


def test_verdicts_are_adjusted_over_the_family_and_a_divergence_stays() -> None:
    def row(p: float, verdict: str = "not measurable") -> dict[str, Any]:
        return {"low": 0.1, "high": 0.2, "p": p, "p_holm": None, "seeds": 3, "verdict": verdict}

    family = [row(0.01), row(0.04), row(0.03, "diverged")]
    decide(family, larger_is_better=True)
    assert [each["p_holm"] for each in family] == pytest.approx([0.03, 0.06, 0.06])
    assert [each["verdict"] for each in family] == ["better", "no difference found", "diverged"]
    decide(family, larger_is_better=False)
    assert [each["verdict"] for each in family] == ["worse", "no difference found", "diverged"]
