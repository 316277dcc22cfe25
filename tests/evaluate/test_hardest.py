"""The hardest errors are those that a search through all pairs finds."""

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import hardest
from faceloss.evaluate.hardest import hardest_of_matrix, hardest_of_pairs


def faces(people=30, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(people), rng.integers(1, 9, people)))
    e = rng.normal(size=(people, dim))[labels] + 0.7 * rng.normal(size=(len(labels), dim))
    return e / np.linalg.norm(e, axis=1, keepdims=True), labels


def by_search(e, labels, threshold, most):
    matches, missed = {}, {}
    for i in range(len(e)):
        for j in range(i + 1, len(e)):
            score = float(e[i] @ e[j])
            who = tuple(sorted((labels[i], labels[j])))
            if labels[i] == labels[j] and score < threshold:
                missed[who] = min(missed.get(who, (2.0,)), (score, i, j))
            if labels[i] != labels[j] and score >= threshold:
                matches[who] = max(matches.get(who, (-2.0,)), (score, i, j))
    return sorted(matches.values(), reverse=True)[:most], sorted(missed.values())[:most]


@pytest.mark.parametrize("rows", [1, 7, 40, 10_000])
@pytest.mark.parametrize("threshold", [0.5, 0.9, 0.99999])
def test_all_pairs_of_a_set(monkeypatch, rows, threshold):
    monkeypatch.setattr(hardest, "ROWS", rows)
    e, labels = faces()
    matches, missed = by_search(e, labels, threshold, 6)
    assert len(missed) == 6
    assert len(matches) == (6 if threshold < 0.99 else 0)
    found = hardest_of_matrix(3 * e, [f"p{label:02d}" for label in labels], threshold)
    for pairs, wanted in ((found.false_matches, matches), (found.false_non_matches, missed)):
        assert [{p.first, p.second} for p in pairs] == [{i, j} for _, i, j in wanted]
        assert [p.score for p in pairs] == pytest.approx([score for score, _, _ in wanted], abs=1e-6)


def test_pairs_of_a_list():
    e, labels = faces(seed=1)
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, len(e), (2, 4000))
    a, b = a[a != b], b[a != b]
    same = labels[a] == labels[b]
    found = hardest_of_pairs(e, a, b, same, 0.6, labels, most=4)
    score = np.einsum("md,md->m", e[a], e[b])
    assert len(found.false_matches) == len(found.false_non_matches) == 4
    assert found.false_matches[0].score == pytest.approx(score[~same].max())
    assert found.false_non_matches[0].score == pytest.approx(score[same].min())
    people = [frozenset((labels[p.first], labels[p.second])) for p in found.false_matches]
    assert len(set(people)) == 4
    assert all(labels[p.first] == labels[p.second] for p in found.false_non_matches)
    # Of people unknown, a pair is a pair: the same two come again.
    alone = hardest_of_pairs(e, a, b, same, 0.6, most=4)
    assert [p.score for p in alone.false_non_matches] == pytest.approx(sorted(score[same])[:4])
    none = hardest_of_pairs(e, a, b, same, 1.1, labels)
    assert none.false_matches == ()
    assert len(none.false_non_matches) == 6
    with pytest.raises(BadInput, match="equally long"):
        hardest_of_pairs(e, a, b[:-1], same, 0.6)
