"""The answer box: the fixed words, the number that ranks, and how sure."""

import json

import pytest

from faceloss.report import answer
from faceloss.report.kinds import Key
from faceloss.report.records import read_records
from faceloss.report.words import digits, duration, interval, listed, number, power, signed

SAID = [
    "was better than",
    "better too",
    "o difference found",
    "worse",
    "diverged",
    "not measurable",
    "no loss was better",
]


def asked(save, folder, rows):
    records = read_records(save(folder, rows))
    return records, answer.sentences(records)


def test_answer_of_the_whole_study(whole):
    records = read_records(whole)
    assert answer.primary(records) == Key("lfw", "cross-matrix", "tar", 1e-3)
    first, second, third = answer.sentences(records)
    lead = records.summaries["cosface", answer.primary(records)]
    base = records.summaries["softmax", answer.primary(records)]
    assert lead.value > base.high > base.value
    assert first.startswith(
        f"On lfw (cross-matrix), cosface was better than softmax: TAR at FAR 1e-3 is {lead.value:.3f} ["
    )
    assert f"against {base.value:.3f} [" in first
    assert f"a difference of +{lead.value - base.value:.3f} [+" in first
    assert "arcface (+" in first
    assert first.endswith("(3 seeds, Holm-adjusted over 5 comparisons).")
    assert second == (
        "No difference found for normface and softmax (identity-balanced); "
        "triplet was worse than softmax (identity-balanced); magface (seed 2) diverged."
    )
    assert third == "3 seeds are exploratory: a claim needs 5; FAR 1e-5 and 1e-6 not measurable with these pairs."


def test_of_many_better_losses_the_first_three_are_spelled_out(tmp_path, save, make_study):
    rows = make_study().records()
    for r in rows:
        if r["kind"] == "difference" and r["at"] == 1e-3:
            r["verdict"] = "better"
    _, said = asked(save, tmp_path, rows)
    assert "arcface (+" in said[0]
    assert "and 3 more were better too (3 seeds" in said[0]
    assert len(said[0]) < 400


def test_five_seeds_carry_a_claim(tmp_path, save, make_study):
    _, said = asked(
        save, tmp_path, make_study(labels=["softmax", "cosface"], seeds=(0, 1, 2, 3, 4), epochs=1).records()
    )
    assert "was better than softmax" in said[0]
    assert said[-1].startswith("5 seeds are enough for a claim")


def test_on_two_seeds_nothing_is_better_whatever_the_records_say(tmp_path, save, make_study):
    rows = make_study(labels=["softmax", "cosface"], seeds=(0, 1), epochs=1).records()
    for r in rows:
        if r["kind"] == "difference" and r["verdict"] == "no difference found":
            r["verdict"] = "better"
    assert sum(r.get("verdict") == "better" for r in rows) > 3
    _, said = asked(save, tmp_path, rows)
    assert said[0].startswith("On lfw (cross-matrix), no loss was better than softmax: TAR at FAR 1e-3 of")
    assert said[1] == "No difference found for cosface."
    assert said[2].startswith("With 2 seeds no claim can be made")


def test_with_pairs_only_ten_fold_accuracy_ranks(tmp_path, save, make_study):
    rows = [r for r in make_study().records() if r.get("test") in (None, "lfw pairs")]
    records, said = asked(save, tmp_path, rows)
    assert answer.primary(records) == Key("lfw pairs", "ten folds", "accuracy", None)
    assert "Accuracy" in said[0]


def test_eer_and_auc_never_rank(tmp_path, save, make_study):
    rows = [
        r for r in make_study().records() if r["kind"] not in ("result", "summary") or r["metric"] in ("eer", "auc")
    ]
    records, said = asked(save, tmp_path, rows)
    assert records.keys
    assert answer.primary(records) is None
    assert said[0].startswith("Nothing has been measured yet")


def test_what_not_all_have_measured_does_not_rank(tmp_path, save, make_study):
    rows = make_study(labels=["softmax", "cosface"]).records()
    for r in rows:
        if r.get("at") == 1e-3 and r.get("label") == "cosface":
            r.update(status="not measurable", value=None)
    assert answer.primary(asked(save, tmp_path, rows)[0]).at == 1e-2


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("diverged", "cosface (seeds 0, 1 and 2) diverged."),
        ("collapsed", "diverged."),
        ("failed", "not measurable: cosface."),
    ],
)
def test_a_loss_that_never_finished_is_named(tmp_path, save, make_study, status, says):
    rows = make_study(labels=["softmax", "cosface"]).records()
    rows = [r for r in rows if r.get("label") != "cosface" or r["kind"] == "run"]
    for r in rows:
        if r["kind"] == "run" and r["label"] == "cosface":
            r["status"] = status
    _, said = asked(save, tmp_path, rows)
    assert "softmax has not been compared with another loss: TAR at FAR 1e-3 of softmax is 0." in said[0]
    assert said[1].endswith(says)


def test_words():
    assert power(0.001) == "1e-3"
    assert power(2.5e-6) == "2.5e-6"
    assert power(1.0) == "1e0"
    assert number(-0.00001, 3) == "0.000"
    assert number(-0.5, 2) == "−0.50"
    assert signed(0.25, 2) == "+0.25"
    assert signed(-0.0001, 2) == "0.00"
    assert interval(0.1, 0.25, 2) == "[0.10,\xa00.25]"
    assert interval(None, 0.2, 2) == ""
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""
    assert [duration(s) for s in (1.26, 300, 7300, None)] == ["1.3 s", "5.0 min", "2.0 h", "–"]


def test_digits_follow_the_narrowest_interval():
    assert digits([0.08, 0.4]) == 3  # half width 0.04: two digits of it
    assert digits([0.004]) == 4
    assert digits([]) == 3
    assert digits([0.9]) == 2
    assert digits([1e-9], most=4) == 4


def test_the_ranking_number_is_fixed_before_any_result(whole, save, tmp_path):
    """TAR by identity goes before TAR, 1e-3 before any other FAR, and the nearest one above where 1e-3 is too much."""
    rows = [json.loads(line) for line in (whole / "records.jsonl").read_text().splitlines()]
    even = [row | {"metric": "tar by identity"} for row in rows if row.get("metric") == "tar"]
    assert even
    records = read_records(save(tmp_path / "even", rows + even))
    assert answer.primary(records) == Key("lfw", "cross-matrix", "tar by identity", 1e-3)
    small = [row for row in rows + even if not (row.get("metric", "").startswith("tar") and (row["at"] or 1) <= 1e-3)]
    assert answer.primary(read_records(save(tmp_path / "small", small))) == Key(
        "lfw", "cross-matrix", "tar by identity", 1e-2
    )
