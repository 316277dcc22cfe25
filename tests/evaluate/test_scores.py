"""Scores in and out, and agreement with other tools on the same scores."""

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import judge_pairs, judge_scores, metrics
from faceloss.evaluate.file import judge_input, read_input
from faceloss.evaluate.scores import judge_table, read_scores, scores_of, to_bytes
from faceloss.evaluate.twins import twin


@pytest.fixture(scope="module")
def table():
    arrays = twin("lfw")
    a, b, same, fold = arrays["pairs"].T
    return scores_of(arrays["embeddings"], a, b, same, fold, arrays["identities"])


@pytest.mark.parametrize("ending", [".csv", ".npz"])
def test_scores_read_back_to_the_bit_and_are_judged_as_their_embeddings(tmp_path, table, ending):
    file = tmp_path / f"scores{ending}"
    file.write_bytes(to_bytes(table, ending))
    back = read_scores(file)
    assert set(back) == {"label", "score", "first", "second", "fold"}
    for name in ("label", "score", "fold"):
        assert (back[name] == table[name]).all()
    arrays = twin("lfw")
    a, b, same, fold = arrays["pairs"].T
    whole = judge_pairs(arrays["embeddings"], a, b, same, fold, arrays["identities"])
    for found in (judge_table(back), judge_input(read_input(file)).judged[0]):
        assert [r.status for r in found.rows] == [r.status for r in whole.rows]
        for ours, theirs in zip(found.rows, whole.rows, strict=True):
            if theirs.value is not None:
                assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


def test_scores_alone_are_enough(tmp_path, table):
    file = tmp_path / "scores.csv"
    file.write_bytes(to_bytes({"label": table["label"], "score": table["score"]}, ".csv"))
    rows = {(r.metric, r.at): r for r in judge_table(read_scores(file)).rows}
    g, x = table["score"][table["label"] == 1], table["score"][table["label"] == 0]
    assert rows["tar", 0.1].value == metrics.tar_at_far(g, x, 0.1).tar
    assert "subjects unknown" in rows["tar", 0.1].note
    assert rows["accuracy", None].status == "not measurable"
    assert rows["tar", 0.001].status == "not measurable"


def test_scores_of_any_scale(table):
    """Distances turned round, logits: only the order matters, and there are no cosine histograms of them."""
    plain = judge_scores(table["score"], table["label"])
    wide = judge_scores(100 * table["score"] - 7, table["label"])
    assert [r.value for r in plain.rows] == pytest.approx([r.value for r in wide.rows])
    assert plain.scores is not None
    assert wide.scores is None


def test_scikit_learn_draws_the_same_curve(table):
    """Every point of roc_curve lies on ours, AUC is equal; TAR at a FAR is our step, never a point beyond the FAR."""
    sklearn = pytest.importorskip("sklearn.metrics", reason="SCIKIT-LEARN IS ABSENT: this agreement was not tested")
    label, score = table["label"], np.round(table["score"], 2)  # with ties
    assert len(np.unique(score)) < len(score) / 3
    g, x = score[label == 1], score[label == 0]
    far, tar, threshold = sklearn.roc_curve(label, score, drop_intermediate=False)
    ours = metrics.roc(g, x)
    assert ours.far == pytest.approx(far)
    assert ours.tar == pytest.approx(tar)
    assert (ours.threshold[1:] == threshold[1:]).all()
    assert metrics.auc(g, x) == pytest.approx(sklearn.roc_auc_score(label, score), abs=1e-12)
    assert metrics.auc(g, x) == pytest.approx(sklearn.auc(far, tar), abs=1e-12)
    for wanted in (0.1, 0.2):
        assert metrics.tar_at_far(g, x, wanted).tar == tar[far <= wanted].max()


def test_pyeer_agrees_but_for_its_rules(table):
    """pyeer accepts scores >= threshold as we do. Its EER is the middle of the two rates where they are nearest, ours
    lies on the line between two thresholds; its operating points go to the last FMR <= the wanted one, as ours do."""
    pyeer = pytest.importorskip("pyeer.eer_info", reason="PYEER IS ABSENT: this agreement was not tested")
    g, x = table["score"][table["label"] == 1], table["score"][table["label"] == 0]
    theirs = pyeer.get_eer_stats(list(g), list(x))
    assert metrics.eer(g, x).value == pytest.approx(theirs.eer, abs=1 / min(len(g), len(x)))
    assert theirs.eer_low - 1e-12 <= metrics.eer(g, x).value <= theirs.eer_high + 1e-12
    assert metrics.tar_at_far(g, x, 0.1).tar == pytest.approx(1 - theirs.fmr10, abs=1e-12)
    assert metrics.auc(g, x) == pytest.approx(theirs.auc, abs=1e-3)


def test_bob_measure_agrees_but_for_its_rules(table):
    """bob's far_threshold may accept one pair more or less than ours, who never exceed the FAR."""
    bob = pytest.importorskip("bob.measure", reason="BOB.MEASURE IS ABSENT: this agreement was not tested")
    g, x = table["score"][table["label"] == 1], table["score"][table["label"] == 0]
    assert bob.eer(x, g) == pytest.approx(metrics.eer(g, x).value, abs=1 / min(len(g), len(x)))
    ours = metrics.tar_at_far(g, x, 0.1)
    far, frr = bob.farfrr(x, g, ours.threshold)
    assert (far, 1 - frr) == pytest.approx((ours.attained, ours.tar))
    near = bob.farfrr(x, g, bob.far_threshold(x, g, 0.1))
    assert 1 - near[1] == pytest.approx(ours.tar, abs=0.02)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("label,score\n1,0.5\n0\n", "row 3: 1 values under 2"),
        ("label,scor\n1,0.5\n", "did you mean 'score'"),
        ("label\n1\n", "holds no score"),
        ("", "holds no label"),
        ("label,score\n1,high\n", "not a number"),
        ("label,score\nyes,0.5\n", "not a number"),
        ("label,score\n1,nan\n0,0.1\n", "1 of 2 scores are NaN"),
        ("label,score\n1,inf\n0,0.1\n", "NaN or infinite"),
        ("label,score\n2,0.5\n0,0.1\n", "0 or 1"),
        ("label,score,first\n1,0.5,anna\n", "both, first and second"),
        ("label,score,first,second\n1,0.5,anna,bert\n", "against their identities"),
        ("label,score\n", "not empty"),
    ],
)
def test_bad_scores_are_refused_in_one_sentence(tmp_path, text, sentence):
    file = tmp_path / "scores.csv"
    file.write_text(text)
    with pytest.raises(BadInput, match=sentence):
        judge_table(read_scores(file))


def test_other_bad_scores(tmp_path):
    with pytest.raises(BadInput, match="no file"):
        read_scores(tmp_path / "none.csv")
    np.savez(tmp_path / "s.npz", label=np.ones(3), score=np.ones(4))
    with pytest.raises(BadInput, match="differ in length"):
        read_scores(tmp_path / "s.npz")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot be read as text"):
        read_scores(tmp_path / "b.csv")
    with pytest.raises(BadInput, match=r"\.csv or \.npz"):
        to_bytes({}, ".txt")


def test_bob_measure_identifies_the_same_people():
    """bob's detection and identification rate, its false alarm rate and its CMC, on the searches of the open set.

    bob gives a tied mate the better rank, we the worse one; there are no ties here.
    """
    bob = pytest.importorskip("bob.measure", reason="BOB.MEASURE IS ABSENT: this agreement was not tested")
    from faceloss.evaluate import judge_open_set
    from faceloss.evaluate.openset import enroll

    arrays = twin("open-set")
    e, people = arrays["embeddings"].astype(np.float64), arrays["identities"]
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    roles = enroll(people)
    gallery, probes = np.flatnonzero(roles == "gallery"), np.flatnonzero(roles == "probe")
    searches = []
    for p in probes:
        score, own = e[gallery] @ e[p], people[gallery] == people[p]
        searches.append((score[~own], score[own] if own.any() else None))
    found = {(r.metric, r.at): r for r in judge_open_set(e, people, roles, sizes=[len(gallery)]).judged.rows}
    tpir = found["tpir", 0.1]
    assert 0.2 < tpir.value < 0.9
    assert bob.detection_identification_rate(searches, tpir.threshold) == pytest.approx(tpir.value)
    assert bob.false_alarm_rate(searches, tpir.threshold) == pytest.approx(tpir.attained)
    mated = [search for search in searches if search[1] is not None]
    for k in (1, 5, 10):
        assert bob.cmc(mated)[k - 1] == pytest.approx(found["rank", float(k)].value)
