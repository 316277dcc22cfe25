"""Approximate indexes: what they find is scored exactly, what they miss is measured; without faiss one sentence."""

import importlib.util

import numpy as np
import pytest
from click.testing import CliRunner

from faceloss.cli.main import cli
from faceloss.errors import BadInput
from faceloss.evaluate import judge_rank
from faceloss.evaluate.index import _without_itself, judge_index
from faceloss.matching import approximate
from faceloss.matching.gallery import gallery
from faceloss.matching.nearest import nearest

try:
    import faiss
except ImportError:
    faiss = None
needs_faiss = pytest.mark.skipif(faiss is None, reason="FAISS IS ABSENT: approximate indexes were not tested")


@pytest.fixture
def faces(make_set):
    return make_set(identities=120, images=(1, 8), dim=16, noise=0.9)


def rows(judged):
    return {(r.metric, r.at): r for r in judged.rows}


@needs_faiss
@pytest.mark.parametrize("index", approximate.KINDS)
def test_an_index_that_misses_nothing_gives_the_exact_ranks(faces, index):
    """With 541 vectors there are 13 cells, all of which are looked into; the graph is searched to its end."""
    e, people = faces
    assert 300 < len(e) < 39 * approximate.PROBED
    found, exact = rows(judge_index(e, people, index).judged), rows(judge_rank(e, people))
    for k in (1.0, 5.0, 10.0):
        ours, theirs = found["rank", k], exact["rank", k]
        assert 0.3 < ours.value < 1
        assert (ours.value, ours.low, ours.high, ours.pairs) == (theirs.value, theirs.low, theirs.high, theirs.pairs)
    recall = found["recall", 1.0]
    assert (recall.value, recall.high, recall.pairs) == (1.0, 1.0, len(e))
    assert recall.low < 1
    near = approximate.approximate(e[:50], e, 7, index=index).nearest
    sure = nearest(e[:50], gallery(e), 7, screen="float32")
    assert (near.rows == sure.rows).all()
    assert (near.scores == sure.scores).all()


@needs_faiss
def test_what_an_index_misses_is_counted(faces, monkeypatch):
    monkeypatch.setattr(approximate, "PROBED", 1)
    e, people = faces
    found = judge_index(e, people, "ivf")
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    scores = unit.astype(np.float64) @ unit.T
    np.fill_diagonal(scores, -2)
    near = approximate.approximate(e, e, 11, index="ivf").nearest
    best = [
        next((s for r, s in zip(*pair, strict=True) if r != p), -2)
        for p, pair in enumerate(zip(*near[::-1], strict=True))
    ]
    recall = rows(found.judged)["recall", 1.0]
    assert recall.value == pytest.approx(np.mean(np.abs(np.array(best) - scores.max(axis=1)) < 1e-6))
    assert recall.low < recall.value < recall.high < 1
    mates = (people[:, None] == people) & ~np.eye(len(e), dtype=bool)
    hits = 0
    for p in np.flatnonzero(mates.any(axis=1)):
        own = [s for r, s in zip(near.rows[p], near.scores[p], strict=True) if r >= 0 and mates[p, r]]
        if own:
            others = zip(near.rows[p], near.scores[p], strict=True)
            hits += sum(r >= 0 and r != p and not mates[p, r] and s >= max(own) for r, s in others) == 0
    assert rows(found.judged)["rank", 1.0].value == pytest.approx(hits / mates.any(axis=1).sum())
    assert rows(found.judged)["rank", 1.0].value < rows(judge_rank(e, people))["rank", 1.0].value
    assert "1 of them looked into" in recall.note
    assert "built in" in found.said


def test_a_probe_is_left_out_wherever_it_stands():
    """A copy of a probe may come before it; where the index misses the probe itself, the last goes."""
    rows, scores = np.array([[4, 0, 2], [1, 3, 0], [0, 3, 4]]), np.arange(9.0, dtype=np.float32).reshape(3, 3)
    left = _without_itself(rows, scores)
    assert (left[0] == [[4, 2], [3, 0], [0, 3]]).all()
    assert (left[1] == [[0, 2], [4, 5], [6, 7]]).all()


@needs_faiss
def test_too_few_faces_have_no_rank(make_set):
    e, people = make_set(identities=4, images=(1, 2))
    assert {r.status for r in judge_index(e, people, "hnsw").judged.rows if r.metric == "rank"} == {"not measurable"}


@needs_faiss
def test_the_command_line_ranks_through_an_index(faces, tmp_path):
    e, people = faces
    np.savez(tmp_path / "f.npz", embeddings=e, identities=people)
    done = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "f.npz"), "--index", "hnsw"], standalone_mode=False)
    assert done.exception is None
    assert "rank, index hnsw: recall at 1" in done.stdout
    assert "32 links" in done.stdout
    assert "recall@1 against the exact search of" in done.stderr


def test_what_an_index_cannot_do_is_one_sentence(faces, tmp_path, monkeypatch):
    e, people = faces
    np.savez(tmp_path / "f.npz", embeddings=e, identities=people)
    np.save(tmp_path / "f.npy", e)
    with pytest.raises(BadInput, match="did you mean 'hnsw'"):
        approximate.approximate(e, e, index="hnws")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cases = {
        "pip install 'faceloss\\[faiss\\]'": ["f.npz"],
        "another protocol: --protocol rank": ["f.npz", "--protocol", "cross-matrix"],
        "holds no array named identities": ["f.npy"],
    }
    for sentence, words in cases.items():
        given = ["evaluate", str(tmp_path / words[0]), "--index", "ivf", *words[1:]]
        error = CliRunner().invoke(cli, given, standalone_mode=False).exception
        assert isinstance(error, BadInput)
        with pytest.raises(BadInput, match=sentence):
            raise error
