"""Reading records: what cannot be understood is refused with file and line; what is absent is absent."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceloss.errors import BadInput
from faceloss.report.records import read_records

RUN = {"kind": "run", "label": "softmax", "seed": 0, "status": "finished"}


def lines(folder: Path, *rows: str, name: str = "records.jsonl") -> Path:
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"kind":"run","label":"soft', "not one whole JSON object"),
        ("[1, 2]", "a record is a JSON object, this is a list"),
        ('{"label":"softmax"}', 'needs the key "kind"'),
        ('{"kind":"run","label":"softmax","seed":0}', "the run record cannot be used: status: field required"),
        ('{"kind":"run","label":"x","seed":"one","status":"finished"}', "seed: "),
        ('{"kind":"run","label":"x","seed":0,"status":"fine"}', "'finished', 'diverged', 'collapsed' or 'failed'"),
        (
            '{"kind":"difference","label":"x","baseline":"y","test":"t","protocol":"p","metric":"tar","verdict":"best"}',
            "no difference found",
        ),
        ("[" * 100_000, "not one whole JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, says):
    with pytest.raises(BadInput) as error:
        read_records(lines(tmp_path, json.dumps(RUN), "", bad))
    assert "records.jsonl, line 3: " in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "records.jsonl").write_bytes(json.dumps(RUN).encode() + b'\n{"kind": "\xff\xfe"}\n')
    with pytest.raises(BadInput, match="line 2"):
        read_records(tmp_path)


@pytest.mark.parametrize("content", ["", "\n\n", '{"kind":"from the future"}\n'])
def test_a_file_without_records_is_bad_input(tmp_path, content):
    (tmp_path / "records.jsonl").write_text(content)
    with pytest.raises(BadInput, match="holds no records"):
        read_records(tmp_path)


def test_costs_are_read_with_the_same_care(tmp_path):
    lines(tmp_path, json.dumps(RUN))
    assert read_records(tmp_path).costs == {}
    lines(tmp_path, '{"label":"softmax","seed":0,"seconds":2.5}', name="costs.jsonl")
    assert read_records(tmp_path).costs["softmax", 0].seconds == 2.5
    lines(tmp_path, '{"label":"softmax"}', name="costs.jsonl")
    with pytest.raises(BadInput, match=r"costs\.jsonl, line 1: the cost record"):
        read_records(tmp_path)


def test_not_a_number_is_no_value(tmp_path):
    epoch = '{"kind":"epoch","label":"a","seed":0,"epoch":1,"accuracy":NaN,"target_angle":1e999,"cross_entropy":0.5}'
    found = read_records(lines(tmp_path, epoch)).epochs[0]
    assert (found.accuracy, found.target_angle, found.cross_entropy) == (None, None, 0.5)


def test_an_unknown_kind_is_counted_and_a_later_record_counts(tmp_path):
    rows = [RUN, {"kind": "trial"}, {"kind": "trial"}, {**RUN, "status": "diverged"}]
    found = read_records(lines(tmp_path, *map(json.dumps, rows)))
    assert found.unknown == {"trial": 2}
    assert found.runs["softmax", 0].status == "diverged"


def test_labels_follow_the_study_with_the_baseline_first(tmp_path):
    study = {"kind": "study", "losses": ["cosface", "softmax", "arcface"], "baseline": "softmax", "seeds": [0, 1]}
    control = {**RUN, "label": "softmax (identity-balanced)", "loss": "softmax"}
    rows = [study, {**RUN, "label": "cosface", "loss": "cosface"}, {**RUN, "loss": "softmax"}, control]
    found = read_records(lines(tmp_path, *map(json.dumps, rows)))
    assert found.labels == ["softmax", "cosface", "softmax (identity-balanced)", "arcface"]
    assert ("arcface", 1) in found.missing
    assert ("softmax", 0) not in found.missing


def test_whole_study_is_read_completely(whole, make_study):
    found = read_records(whole)
    assert found.labels[0] == "softmax"
    assert set(found.labels) == set(make_study().labels)
    assert len(found.runs) == 21
    assert len(found.costs) == 21
    assert len(found.results) == 20 * 10
    assert found.missing == []
    ats = [key.at for key in found.keys if key.metric == "tar"]
    assert ats == sorted(ats, reverse=True)


value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KINDS = ["study", "data", "run", "epoch", "result", "summary", "difference", "curve", "other"]
KINDS += ["group", "group summary", "group difference", "open set", "failures"]
NAMES = [
    "label",
    "seed",
    "status",
    "test",
    "protocol",
    "metric",
    "at",
    "value",
    "low",
    "high",
    "far",
    "losses",
    "images",
    "gallery",
    "fpir",
    "verdict",
    "false_matches",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), rest=st.dictionaries(st.sampled_from(NAMES), value, max_size=8))
def test_no_record_ends_in_a_traceback(tmp_path, kind, rest):
    folder = lines(tmp_path, json.dumps(RUN), json.dumps({"kind": kind, **rest}))
    said = ""
    try:
        found = read_records(folder)
    except BadInput as error:
        said = str(error)
    assert "records.jsonl, line 2: " in said if said else ("softmax", 0) in found.runs


def test_a_number_that_was_refused_is_not_measured_even_where_it_stands(tmp_path, save):
    same = {"label": "a", "test": "t", "value": 0.5, "status": "not measurable"}
    rows = [{**same, "kind": "summary", "protocol": "rank", "metric": "rank"}]
    rows += [{**same, "kind": "group summary", "metric": "fmr", "group": "g"}]
    for status in ("not measurable", "measured"):
        found = read_records(save(tmp_path, [{**row, "status": status} for row in rows]))
        kept = [*found.summaries.values(), *found.groups]
        assert [record.measured for record in kept] == [status == "measured"] * 2
    found = read_records(save(tmp_path, [{**row, "status": "measured", "value": None} for row in rows]))
    assert not any(record.measured for record in [*found.summaries.values(), *found.groups])
