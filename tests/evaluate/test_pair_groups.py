"""Groups of a pair list at one threshold: equal to the full matrix where all pairs are listed, and what is refused."""

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import judge_groups, judge_pair_groups, ten_folds
from faceloss.evaluate.protocol import judge_protocol, load_protocol
from faceloss.evaluate.twins import GROUPS, twin


def faces(seed, people=40, images=5, dim=24, vague=1.0):
    """Four groups alike, but that images of "west" vary ``vague`` times as much."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4 * people), images)
    noise = 0.8 * rng.uniform(0.6, 1.4, 4 * people) * np.where(np.arange(4 * people) % 4 == 3, vague, 1.0)
    e = rng.normal(size=(4 * people, dim))[labels] + noise[labels, None] * rng.normal(size=(len(labels), dim))
    return e, labels, np.array(GROUPS)[labels % 4]


def lists(seed, each=100, people=80, **planted):
    """As RFW: in each of four groups ten folds of ``each`` genuine and impostor pairs."""
    e, labels, names = faces(seed, people, **planted)
    rng, parts = np.random.default_rng(seed + 1000), []
    for name in GROUPS:
        rows = np.flatnonzero(names == name)
        a, b = rows[np.stack(np.triu_indices(len(rows), 1))]
        for same in (True, False):
            pick = rng.choice(np.flatnonzero((labels[a] == labels[b]) == same), 10 * each, replace=same)
            parts.append(np.stack([a[pick], b[pick], np.full(10 * each, same), np.arange(10 * each) % 10]))
    return (e, *np.concatenate(parts, axis=1), names, labels)


def by_name(rows):
    return {(row.metric, row.group, row.other): row for row in rows}


def test_a_list_of_all_pairs_is_the_full_matrix():
    """The same people, pairs and groups by two ways of counting: equal to the last influence."""
    e, labels, names = faces(0, people=25)
    names = np.where(np.arange(len(names)) % 50 == 0, "", names)  # some images of unknown groups
    names = np.where(np.arange(len(names)) % 31 == 0, "north", names)  # and some people in two
    a, b = np.triu_indices(len(e), 1)
    order = np.random.default_rng(1).permutation(len(a))
    a, b = np.where(order % 2, a[order], b[order]), np.where(order % 2, b[order], a[order])
    whole = judge_groups(e, labels, names)
    listed = judge_pair_groups(e, a, b, labels[a] == labels[b], None, names, labels)
    assert any(row.other and row.metric == "fmr" and row.value for row in whole)
    found = by_name(listed)
    for row in whole:
        twin_row = found[row.metric, row.group, row.other]
        assert (twin_row.status, twin_row.pairs, twin_row.at) == (row.status, row.pairs, row.at)
        numbers = [(x.value, x.low, x.high, x.threshold, x.p) for x in (row, twin_row)]
        for one, other in zip(*numbers, strict=True):
            assert one == other or other == pytest.approx(one, rel=1e-5, abs=1e-9)
        if row.influence is not None:
            np.testing.assert_allclose(twin_row.influence, row.influence, atol=1e-9)
    left = "pairs of images without a group left out"
    assert left in found["fmr", "east", ""].note
    assert {row.status for row in listed if row.metric.startswith("accuracy")} == {"not measurable"}
    assert found["accuracy", "east", ""].note == "the list has no folds"


def test_accuracies_share_the_thresholds_of_all_groups():
    """By loops, on the twin of RFW; and the protocol of ``faceloss evaluate`` tells the same."""
    arrays = twin("rfw")
    a, b, same, fold = arrays["pairs"].T
    e = arrays["embeddings"].astype(np.float64)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    score, same = np.sum(e[a] * e[b], axis=1), same == 1
    group = arrays["groups"][a]
    thresholds = ten_folds(score, same, fold).thresholds
    rows = by_name(judge_pair_groups(arrays["embeddings"], a, b, same, fold, arrays["groups"], arrays["identities"]))
    accuracies = {}
    for name in GROUPS:
        right = [
            np.mean((score[own] >= thresholds[k]) == same[own])
            for k in range(10)
            for own in [(group == name) & (fold == k)]
        ]
        accuracies[name] = np.mean(right)
        row = rows["accuracy", name, ""]
        assert row.value == pytest.approx(accuracies[name], abs=1e-12)
        assert row.low < row.value < row.high
        assert row.at is None
        assert (row.pairs, row.errors) == (600, round(600 * (1 - row.value)))
    for name in GROUPS:
        others = np.mean([value for other, value in accuracies.items() if other != name])
        assert rows["accuracy to the others", name, ""].value == pytest.approx(accuracies[name] - others)
    worst, best = min(accuracies, key=accuracies.get), max(accuracies, key=accuracies.get)
    assert len(set(accuracies.values())) > 1
    gap, ratio = rows["accuracy gap", worst, best], rows["accuracy ratio", worst, best]
    assert gap.value == pytest.approx(accuracies[best] - accuracies[worst])
    assert ratio.value == pytest.approx((1 - accuracies[worst]) / (1 - accuracies[best]))
    outcome = judge_protocol(load_protocol("rfw"), arrays)
    assert [row._replace(influence=None) for row in outcome.groups] == [
        row._replace(influence=None) for row in rows.values()
    ]


def test_small_fars_are_not_measurable_on_short_lists():
    """300 impostor pairs within each group carry FAR 1e-1 and nothing smaller; RFW's 3,000 carry 1e-2."""
    arrays = twin("rfw")
    a, b, same, fold = arrays["pairs"].T
    given = (arrays["embeddings"], a, b, same, fold, arrays["groups"], arrays["identities"])
    rows = by_name(judge_pair_groups(*given))
    assert rows["fmr", "west", ""].at == 0.1
    assert rows["fmr", "west", ""].status == "measured"
    rows = by_name(judge_pair_groups(*given, far=0.05))  # 60 errors expected of all, 15 of a group
    assert rows["fmr", "west", ""].status == rows["fmr gap", "", ""].status == "not measurable"
    assert rows["fmr", "west", ""].note == "needs 600 impostor pairs, there are 300"
    assert rows["fnmr", "west", ""].status == "measured"
    rows = by_name(judge_pair_groups(*given, far=1e-2))
    assert rows["fnmr", "west", ""].status == "not measurable"
    assert by_name(judge_pair_groups(*lists(0, each=300)))["fmr", "west", ""].at == 1e-2


def test_a_planted_bias_is_found_and_an_absent_one_is_not():
    called = []
    for seed in range(60):
        rows = judge_pair_groups(*lists(seed, each=60, people=40))
        called.append({r.metric for r in rows if "others" in r.metric and r.verdict in ("better", "worse")})
    for metric in ("fmr", "fnmr", "accuracy"):  # nominal: 5 % of the sets
        assert np.mean([f"{metric} to the others" in some for some in called]) <= 0.11, metric
    for seed in range(10):
        rows = by_name(judge_pair_groups(*lists(seed, each=60, people=40, vague=1.6)))
        assert rows["fnmr to the others", "west", ""].verdict == "worse"
        assert rows["accuracy to the others", "west", ""].verdict == "worse"
        assert rows["accuracy to the others", "west", ""].value < 0
        assert next(row for key, row in rows.items() if key[0] == "accuracy gap").group == "west"


def test_without_names_every_pair_is_its_own():
    given = lists(0, each=60)
    named, nameless = (by_name(judge_pair_groups(*given[:6], who)) for who in (given[6], None))
    for metric in ("fmr", "fnmr", "accuracy"):
        one, other = named[metric, "west", ""], nameless[metric, "west", ""]
        assert one.value == other.value
        assert other.note == "subjects unknown: every pair counted as its own"
    wide = [named["fnmr", "west", ""], nameless["fnmr", "west", ""]]
    assert wide[0].high - wide[0].low > 1.2 * (wide[1].high - wide[1].low)  # people have several pairs


def test_what_cannot_be_meant_is_refused():
    e, a, b, same, fold, names, labels = lists(0, each=5)
    with pytest.raises(BadInput, match=r"Pairs of 1 groups were given \(east\); 2 to 32"):
        judge_pair_groups(e, a, b, same, fold, np.where(names == "east", names, ""), labels)
    with pytest.raises(BadInput, match="one text for each of"):
        judge_pair_groups(e, a, b, same, fold, names[1:], labels)
    with pytest.raises(BadInput, match="marked same or different against their identities"):
        judge_pair_groups(e, a, b, 1 - same, fold, names, labels)
    with pytest.raises(BadInput, match="compare an image with itself"):
        judge_pair_groups(e, a, a, same, fold, names, labels)
