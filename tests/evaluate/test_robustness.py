"""Corrupted probes against a clean gallery: counted by plain loops, level 0 is the clean evaluation to the bit."""

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import Condition, judge_matrix, judge_pairs, judge_robustness
from faceloss.evaluate.bootstrap import subject_bootstrap, weighted_tar
from faceloss.evaluate.matrix import matrix_dyads
from faceloss.evaluate.protocol import judge_protocol, load_protocol
from faceloss.evaluate.robustness import Pairs
from faceloss.evaluate.rows import result_record
from faceloss.evaluate.statistics import vector_variance
from faceloss.evaluate.twins import faces, twin


def a_set(sizes, seed=0, noise=0.6, dim=16):
    rng = np.random.default_rng(seed)
    e, labels = faces(rng, np.asarray(sizes), dim, noise)
    order = rng.permutation(len(e))
    return e[order], labels[order], rng


def worse(e, rng, scale):
    return e + scale * rng.normal(size=e.shape).astype(np.float32)


def unit(e):
    e = e.astype(np.float64)
    return e / np.linalg.norm(e, axis=1, keepdims=True)


def counted(gallery, probes, labels, far):
    """FNMR over pairs, FNMR as a mean over identities, and the FMR that was attained: loops over all ordered pairs."""
    score = unit(gallery) @ unit(probes).T
    n = len(labels)
    impostor = sorted((score[i, j] for i in range(n) for j in range(n) if labels[i] != labels[j]), reverse=True)
    kept_out = impostor[2 * int(far * len(impostor) / 2 + 1e-9)]  # a pair, compared both ways, counts as one
    rejected, pairs = {}, {}
    for i in range(n):
        for j in range(n):
            if i != j and labels[i] == labels[j]:
                pairs[labels[i]] = pairs.get(labels[i], 0) + 1
                rejected[labels[i]] = rejected.get(labels[i], 0) + (score[i, j] <= kept_out)
    shares = [rejected[name] / pairs[name] for name in pairs]
    return sum(rejected.values()) / sum(pairs.values()), float(np.mean(shares)), np.mean(np.array(impostor) > kept_out)


def by_condition(rows):
    return {(row.corruption, row.level): row for row in rows}


def test_the_numbers_are_those_of_plain_loops():
    for sizes, metric, place in (([4] * 50, "fnmr", 0), ([2, 3, 4, 5, 6] * 10, "fnmr by identity", 1)):
        e, labels, rng = a_set(sizes)
        probes = worse(e, rng, 0.5)
        rows = by_condition(judge_robustness(e, [Condition("fog", 3, probes)], labels))
        row = rows["fog", 3]
        expected = counted(e, probes, labels, row.at)
        assert (row.metric, row.at) == (metric, 1e-2)
        assert 0.05 < expected[place] < 0.95
        assert expected[place] != pytest.approx(counted(e, e, labels, row.at)[place], abs=0.05)
        assert row.value == pytest.approx(expected[place], abs=1e-12)
        assert row.attained == pytest.approx(expected[2], abs=1e-12)
        assert row.pairs == sum(n * (n - 1) // 2 for n in sizes)
        assert row.low < row.value < row.high


@pytest.mark.parametrize("sizes", [[4] * 60, [1, 2, 3, 4, 5, 6, 7] * 10])
def test_level_0_is_the_clean_cross_matrix_to_the_bit(sizes):
    e, labels, _ = a_set(sizes)
    clean = judge_robustness(e, [Condition("none", 1, e.copy())], labels)
    metric = "tar" if len(set(sizes)) == 1 else "tar by identity"
    whole = next(row for row in judge_matrix(e, labels).rows if (row.metric, row.at) == (metric, clean[0].at))
    assert 0 < whole.value < 1
    for row in clean[:2]:  # clean probes under another name are level 0 again
        assert (row.value, row.attained) == (1 - whole.value, whole.attained)
        assert row.threshold == pytest.approx(whole.threshold, abs=2e-7)  # a pair's two scores differ in the last bit
        assert (row.pairs, row.subjects) == (whole.pairs, whole.subjects)
        assert (1 - row.high, 1 - row.low) == pytest.approx((whole.low, whole.high), abs=2e-3)  # another slope
    assert (clean[0].corruption, clean[0].level, clean[1].level) == ("", 0, 1)
    assert np.array_equal(clean[0].influence, clean[1].influence)


def test_pairs_compared_both_ways_are_taken_back_as_often():
    """What is counted doubly per two subjects scales with the square of how often a pair is compared."""
    sizes = np.array([3, 1, 4, 2])
    codes = np.array([0 * 4 + 1, 0 * 4 + 2, 0 * 4 + 2, 2 * 4 + 3])
    once = matrix_dyads(codes, 0.1, sizes, 35)
    assert once > 0
    assert matrix_dyads(np.repeat(codes, 2), 0.1, sizes, 70, ways=2) == once != matrix_dyads(codes, 0.1, sizes, 70)


def test_of_a_pair_list_the_first_image_stays_as_it_is():
    arrays = twin("lfw")
    e, names = arrays["embeddings"], arrays["identities"]
    first, second, same, fold = arrays["pairs"].T
    pairs = Pairs(first, second, same)
    rng = np.random.default_rng(1)
    moved = worse(e, rng, 1.0)
    only_first = np.where(np.isin(np.arange(len(e)), second)[:, None], e, moved)  # no second image is touched
    assert (only_first != e).any()
    found = by_condition(judge_robustness(e, [Condition("a", 1, moved), Condition("b", 1, only_first)], names, pairs))
    whole = next(r for r in judge_pairs(e, first, second, same, fold, names).rows if (r.metric, r.at) == ("tar", 0.1))
    clean = found["", 0]
    assert (clean.value, clean.low, clean.attained) == (1 - whole.value, pytest.approx(1 - whole.high), whole.attained)
    assert found["b", 1].value == clean.value
    assert found["a", 1].value > clean.value + 0.05
    score = (unit(e)[first] * unit(moved)[second]).sum(axis=1)
    impostor = np.sort(score[same == 0])[::-1]
    kept_out = impostor[int(0.1 * len(impostor))]
    assert found["a", 1].value == pytest.approx(np.mean(score[same == 1] <= kept_out))
    unknown = judge_robustness(e, [Condition("a", 1, moved)], None, pairs)
    assert unknown[1].value == found["a", 1].value
    assert "subjects unknown" in unknown[1].note


def test_the_interval_is_that_of_the_subject_bootstrap():
    e, labels, rng = a_set([4] * 40, noise=0.7)
    probes = worse(e, rng, 0.3)
    row = judge_robustness(e, [Condition("fog", 1, probes)], labels)[1]
    one, two = np.nonzero(~np.eye(len(e), dtype=bool))
    score = (unit(e) @ unit(probes).T)[one, two]
    same = labels[one] == labels[two]
    statistic = weighted_tar(score, same, row.at)
    drawn = subject_bootstrap(statistic, labels[one], labels[two], 40, replicates=150)
    assert vector_variance(row.influence) ** 0.5 == pytest.approx(drawn.error, rel=0.3)


def test_means_over_levels_and_over_all():
    arrays = twin("robustness")
    rows = by_condition(judge_protocol(load_protocol("robustness"), arrays).rows)
    assert len(rows) == 1 + 35 + 7 + 1
    each = [rows["blur", level] for level in (1, 2, 3, 4, 5)]
    mean = rows["blur", None]
    assert mean.value == pytest.approx(np.mean([row.value for row in each]))
    assert mean.influence == pytest.approx(np.mean([row.influence for row in each], axis=0))
    assert rows["all", None].value == pytest.approx(np.mean([r.value for (n, k), r in rows.items() if n and k]))
    values = [rows["", 0].value, *[rows["mask", level].value for level in (1, 2, 3, 4, 5)]]
    assert (np.diff(values) > 0).all()  # the twin gets worse with every level
    assert rows["mask", 5].low > rows["", 0].high  # and the test can show it
    one = judge_robustness(arrays["embeddings"], [Condition("fog", 2, arrays["corrupted"][3])], arrays["identities"])
    assert [(row.corruption, row.level) for row in one] == [("", 0), ("fog", 2), ("fog", None)]
    record = result_record(mean)
    assert (record["corruption"], "level" in record) == ("blur", False)
    assert result_record(rows["", 0])["level"] == 0


def test_a_protocol_asks_for_some_conditions(tmp_path):
    arrays = twin("robustness")
    file = tmp_path / "mine.toml"
    file.write_text('kind = "robustness"\n[settings]\ncorruptions = ["jpeg", "blur"]\nlevels = [2, 4]\n')
    asked = []
    found = judge_protocol(
        load_protocol(str(file)), arrays, lambda what, done, total: asked.append((what, done, total))
    )
    names = [(row.corruption, row.level) for row in found.rows]
    assert names[:5] == [("", 0), ("jpeg", 2), ("jpeg", 4), ("blur", 2), ("blur", 4)]
    whole = by_condition(judge_protocol(load_protocol("robustness"), arrays).rows)
    assert found.rows[1].value == whole["jpeg", 2].value != whole["blur", 2].value
    assert asked == [("robustness", k, 4) for k in (1, 2, 3, 4)]
    for text, sentence in (
        ("corruptions = 'blur'\nlevels = [1]", "must be a list of names"),
        ("corruptions = ['blur']\nlevels = [6]", "must be numbers between 1 and 5"),
        ("corruption = ['blur']", "did you mean 'corruptions'"),
    ):
        file.write_text(f'kind = "robustness"\n[settings]\n{text}\n')
        with pytest.raises(BadInput, match=sentence):
            load_protocol(str(file))
    file.write_text('kind = "robustness"\n[settings]\ncorruptions = ["fog"]\nlevels = [1]\n')
    with pytest.raises(BadInput, match="lack fog 1, which the protocol asks for; given: brightness 1"):
        judge_protocol(load_protocol(str(file)), arrays)


def test_a_condition_without_a_direction_is_not_measurable_and_neither_is_its_mean():
    e, labels, rng = a_set([4] * 50)
    black = e.copy()
    black[7] = 0
    conditions = [Condition("fog", 1, worse(e, rng, 0.1)), Condition("fog", 2, black), Condition("ice", 1, e)]
    rows = by_condition(judge_robustness(e, conditions, labels))
    states = {key: row.status for key, row in rows.items()}
    assert states == {
        ("", 0): "measured", ("fog", 1): "measured", ("fog", 2): "not measurable", ("ice", 1): "measured",
        ("fog", None): "not measurable", ("ice", None): "measured", ("all", None): "not measurable",
    }  # fmt: skip
    assert "1 of 200 embeddings under fog 2 are zero vectors" in rows["fog", 2].note
    assert rows["all", None].note == rows["fog", 2].note


def test_too_few_pairs_are_not_measurable():
    e, labels, _ = a_set([3] * 8)
    rows = judge_robustness(e, [Condition("fog", 1, e)], labels)
    assert {row.status for row in rows} == {"not measurable"}
    assert "24 genuine pairs of 8 identities" in rows[0].note
    e, labels, _ = a_set([17, 2])  # 34 impostor pairs
    assert "needs 300 impostor pairs, there are 34" in judge_robustness(e, [], labels)[0].note


def test_what_cannot_be_meant_is_one_sentence():
    e, labels, _ = a_set([4] * 50)
    with pytest.raises(BadInput, match="know who is on the images"):
        judge_robustness(e, [])
    with pytest.raises(BadInput, match=r"under fog 1 have shape \(199, 16\), those of the clean images \(200, 16\)"):
        judge_robustness(e, [Condition("fog", 1, e[1:])], labels)
    with pytest.raises(BadInput, match="belong to one identity"):
        judge_robustness(e, [], np.zeros(200, dtype=int))
    arrays = twin("robustness")
    with pytest.raises(BadInput, match="34 conditions were given for 35 sets"):
        judge_protocol(load_protocol("robustness"), {**arrays, "conditions": arrays["conditions"][1:]})
