"""Ranks and nearest neighbors are those of the whole matrix of scores."""

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import metrics
from faceloss.matching import nearest, ranks
from faceloss.matching.gallery import gallery, quantized
from faceloss.matching.screen import KINDS
from faceloss.matching.vectors import unit


@pytest.fixture
def search(make_set):
    """Probes of 60 identities, some without a mate, and a gallery of 400; a third of the probes are hard."""

    def make(kind: str, dim: int = 40):
        e, labels = make_set(kind, 500, dim)
        return e[:100], labels[:100], e[100:], np.where(labels[100:] % 5 == 0, 10_000 + labels[100:], labels[100:])

    return make


@pytest.mark.parametrize("screen", [*KINDS, "auto"])
def test_ranks_are_those_of_all_scores(search, brute, small_blocks, kind_of_set, screen):
    probes, who, others, whom = search(kind_of_set)
    found = ranks.ranks(probes, who, gallery(others, normalized=True), whom, screen=screen)
    wanted = metrics.mate_ranks(brute(probes, others), who, whom)
    assert (found == wanted).all()
    assert 0 < np.sum(wanted == 0) < 60
    if kind_of_set == "generic":
        assert len(np.unique(wanted)) > 20
    if kind_of_set == "one point":
        assert wanted.max() > 390  # a collapsed network earns nothing


@pytest.mark.parametrize("screen", KINDS)
def test_leave_one_out_is_the_plain_one(make_set, brute, small_blocks, kind_of_set, screen):
    e, labels = make_set(kind_of_set, 330, 36)
    labels = np.where(labels == labels[5], np.arange(len(labels)) + 9000, labels)  # some have no mate
    scores = brute(e, e)
    np.fill_diagonal(scores, -2)
    mates = (labels[:, None] == labels[None]) & ~np.eye(len(e), dtype=bool)
    best = np.where(mates, scores, -np.inf).max(1)
    wanted = np.where(mates.any(1), 1 + np.sum((scores >= best[:, None]) & (labels[:, None] != labels[None]), 1), 0)
    found = ranks.leave_one_out(e, labels, screen=screen)
    assert (found == wanted).all()
    assert (wanted == 0).any()
    if kind_of_set in ("generic", "grid"):
        assert (metrics.leave_one_out_ranks(e, labels) == wanted).mean() > 0.99


@pytest.mark.parametrize("screen", KINDS)
def test_ranks_among_more_and_more_distractors(make_set, brute, small_blocks, kind_of_set, screen):
    e, _ = make_set(kind_of_set, 900, 40)
    probes, mates, others = e[:70], 2 * np.roll(e[:70], 1, 0) + e[:70], e[140:]
    mates = (mates / np.linalg.norm(mates, axis=1, keepdims=True)).astype(np.float32)
    sizes = [1, 10, 100, 256, 700, len(others)]
    found = ranks.ranks_among(probes, mates, gallery(others, normalized=True), sizes, screen=screen)
    probes, mates = unit(probes).numpy(), unit(mates).numpy()
    bar, scores = np.diag(brute(probes, mates)), brute(probes, others)
    for column, size in enumerate(sizes):
        assert (found[:, column] == 1 + np.sum(scores[:, :size] >= bar[:, None], 1)).all()
    if kind_of_set == "generic":
        assert found.max() > 1


@pytest.mark.parametrize("screen", [*KINDS, "auto"])
@pytest.mark.parametrize("k", [1, 7])
def test_the_nearest_are_those_of_all_scores(search, brute, small_blocks, kind_of_set, screen, k):
    probes, who, others, whom = search(kind_of_set)
    probes = unit(probes).numpy()
    scores = brute(probes, others)
    source = gallery(others, normalized=True)
    found = nearest.nearest(probes, source, k, screen=screen)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # among equals the first
    assert (found.rows == order).all()
    assert (found.scores == np.take_along_axis(scores, order, 1)).all()
    apart = np.where(who[:, None] == whom[None], -np.inf, scores)
    found = nearest.nearest(probes, source, k, probe_labels=who, other_labels=whom, screen=screen)
    order = np.argsort(-apart, axis=1, kind="stable")[:, :k]
    assert (found.rows == order).all()
    assert (found.scores == np.take_along_axis(apart, order, 1)).all()


@pytest.mark.parametrize("k", [1, 7])
def test_few_probes_find_the_same(search, brute, kind_of_set, k, monkeypatch):
    """Their products are made in float32, without blocks of 64 probes; the answer is the same."""
    monkeypatch.setattr(nearest, "WIDE", 100)
    probes, who, others, whom = search(kind_of_set)
    few = unit(probes[:5]).numpy()
    calls: list[int] = []
    original = nearest.pair_scores
    monkeypatch.setattr(nearest, "pair_scores", lambda *a: calls.append(len(a[1])) or original(*a))
    for source in (gallery(others, normalized=True), gallery(3 * others), quantized(others)):
        scores = brute(few, source.unit(slice(None)).numpy())
        apart = np.where(who[:5, None] == whom[None], -np.inf, scores)
        found = nearest.nearest(few, source, k)
        named = nearest.nearest(few, source, k, probe_labels=who[:5], other_labels=whom)
        for result, expected in ((found, scores), (named, apart)):
            order = np.argsort(-expected, axis=1, kind="stable")[:, :k]
            assert (result.scores == np.take_along_axis(expected, order, 1)).all()
            assert (result.rows == order).all()
    assert calls
    if kind_of_set == "generic":
        assert max(calls) < 5 * 100 / 2  # few are scored exactly


def test_fewer_than_k_are_marked(search):
    probes, who, others, _ = search("generic")
    found = nearest.nearest(probes[:5], others[:9], 12)
    assert (found.rows[:, :9] >= 0).all()
    assert (found.rows[:, 9:] == -1).all()
    assert np.isneginf(found.scores[:, 9:]).all()
    one = np.full(9, who[0])
    assert (nearest.nearest(probes[:1], others[:9], 1, probe_labels=who[:1], other_labels=one).rows == -1).all()


def test_several_processes_rank_the_same(make_set, small_blocks):
    e, labels = make_set("generic", 600, 40)
    assert (ranks.leave_one_out(e, labels, workers=2) == ranks.leave_one_out(e, labels)).all()


def test_few_pairs_are_scored_one_by_one(make_set, monkeypatch):
    e, labels = make_set("generic", 3000, 128)
    seen = []
    original = ranks.pair_scores
    monkeypatch.setattr(ranks, "pair_scores", lambda *a: seen.append(len(a[1])) or original(*a))
    found = ranks.leave_one_out(e, labels, screen="int8")
    assert 0 < sum(seen[1:]) < 9_000_000 / 50
    assert (found > 1).any()


def test_what_cannot_be_searched(search):
    probes, who, others, whom = search("generic")
    for bad, sentence in ((np.nan, "NaN or inf"), (np.inf, "NaN or infinity"), (0.0, "zero vectors")):
        broken = probes.copy()
        broken[3] = bad
        with pytest.raises(BadInput, match=sentence):
            ranks.ranks(broken, who, others, whom)
        broken = others.copy()
        broken[33] = bad
        for normalized in (True, False):
            with pytest.raises(BadInput, match=f"1 of .* gallery vectors .*{sentence}"):
                nearest.nearest(probes, gallery(broken, normalized=normalized))
            with pytest.raises(BadInput, match=f"1 of .* gallery vectors .*{sentence}"):
                ranks.ranks(probes, who, gallery(broken, normalized=normalized), whom)
    with pytest.raises(BadInput, match="40 dimensions, the gallery 39"):
        nearest.nearest(probes, others[:, :39])
    with pytest.raises(BadInput, match="40 dimensions, the gallery 39"):
        ranks.ranks(probes, who, others[:, :39], whom)
    with pytest.raises(BadInput, match="one mate for each"):
        ranks.ranks_among(probes, probes[:50], others, [10])
    with pytest.raises(BadInput, match="must rise"):
        ranks.ranks_among(probes, probes, others, [10, 5])
    with pytest.raises(BadInput, match="400"):
        ranks.ranks_among(probes, probes, others, [401])
    with pytest.raises(BadInput, match="one side only"):
        nearest.nearest(probes, others, probe_labels=who)
    with pytest.raises(BadInput, match="whole number per image"):
        ranks.ranks(probes, who[:50], others, whom)
    with pytest.raises(BadInput, match="from 1"):
        nearest.nearest(probes, others, 0)
    with pytest.raises(BadInput, match="give numbers"):
        nearest.nearest(np.array([["a", "b"]]), others)
    with pytest.raises(BadInput, match="row of numbers"):
        nearest.nearest(probes, np.zeros((0, 40)))
