"""The section "Why": numbers as the records have them, plain sentences, no claim, and nothing without records."""

import csv
import re
from io import StringIO

import numpy as np
import pytest

from faceloss.report import markup, why, why_numbers, write_tables
from faceloss.report.det import of_families
from faceloss.report.records import read_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_searched, save):
    """Nine losses, so that families are drawn; one has no class vectors, one diverged once, one is searched for."""
    labels = ("softmax", "normface", "cosface", "arcface", "triplet", "magface", "circle", "coco")
    study = make_searched(["search_softmax"], labels=labels, seeds=(0, 1, 2), epochs=6, why=True)
    return save(tmp_path_factory.mktemp("why"), study.records(), study.costs())


@pytest.fixture(scope="module")
def records(folder):
    return read_records(folder)


def drawn(records) -> str:
    return markup.text(why.section(records, lambda *_: None))


@pytest.fixture(scope="module")
def section(records):
    return drawn(records)


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))


def test_figures_and_tables_in_order(section):
    titles = re.findall(r"<figcaption><b>(.*?)</b>", section)
    assert titles == [
        "Gradient weight against angle.", "The same, family by family.",
        "Angles of the training samples over the epochs.",
        "Who carries the gradient, and what the norm goes with.", "The factor h of the losses that were searched for.",
        "How near the images of an identity are.", "The same on the test, family by family.",
    ]  # fmt: skip
    assert re.findall(r"<h3>(.*?)</h3>", section) == [
        "Angles and gradient", "The embedding once trained", "Neural collapse, training faces", "Neural collapse, test",
        "Norm and quality",
    ]  # fmt: skip


def test_curves_are_means_over_the_samples_of_all_seeds(records):
    found = [e for e in records.epochs if e.label == "magface" and e.target_weights]
    assert len(found) == 2  # one seed diverged
    weights = why_numbers.weights(records, "magface")
    counts = np.array([e.target_angles for e in found])
    for place, samples in enumerate(counts.sum(axis=0)):
        if samples < why_numbers.FEW:
            assert np.isnan(weights[place])
        else:
            assert weights[place] == pytest.approx(
                sum(e.target_angles[place] * (e.target_weights[place] or 0) for e in found) / samples
            )
    assert np.isfinite(weights).sum() > 5
    assert why_numbers.weights(records, "triplet") is None
    assert np.nansum(why_numbers.others(records, "triplet", "test", "lfw")) == pytest.approx(1)


def test_seeds_with_more_samples_at_an_angle_count_more(tmp_path, save, make_study):
    rows = make_study(labels=["softmax"], seeds=(0, 1), epochs=1, why=True).records()
    for row, (samples, weight) in zip([r for r in rows if r["kind"] == "epoch"], [(30, 0.1), (10, 0.9)], strict=True):
        row["target_angles"] = [0] * 10 + [samples] + [0] * 25
        row["target_weights"] = [None] * 10 + [weight] + [None] * 25
    found = read_records(save(tmp_path, rows))
    assert why_numbers.weights(found, "softmax")[10] == pytest.approx(0.3)
    assert why_numbers.median_angle(why_numbers.view(found), "softmax").value == pytest.approx(52.5)


def test_the_sentences_say_what_the_records_say_and_claim_no_cause(section, records):
    said = text(section)
    best = next(x for x in why_numbers.view(records).labels if x not in ("softmax", "triplet"))
    shares = {
        label: np.mean([e.hardest_tenth for e in why_numbers.last_epochs(records, label)])
        for label in (best, "softmax")
    }
    assert f"carried: {best} {100 * shares[best]:.0f} %; softmax {100 * shares['softmax']:.0f} %." in said
    assert abs(shares[best] - shares["softmax"]) > 0.02
    assert "does not show that it is the reason" in said
    assert "triplet has no class vectors" in said
    seen = why_numbers.view(records)
    column = next(c for c in why_numbers.COLUMNS if c.name == "Effective rank, test")
    ranks = {label: column.cell(seen, label).value for label in records.labels}

    low, high = (pick(ranks, key=ranks.get) for pick in (min, max))
    assert f"({low}) to {ranks[high]:.1f} ({high})" in said
    above = sum(n.low > 0 for n in records.norms.values() if n.metric == "rho sharpness")
    assert 0 < above <= 9
    assert f"with sharpness, above 0 for {above} and below 0 for 0 of 9 losses" in said
    for word in ("because", "therefore better", "causes", "thanks to"):
        assert word not in said


def test_tables_hold_intervals_and_spreads(section, records):
    said = text(section)
    norm = records.norms["cosface", "lfw", "rho sharpness"]
    assert f"{norm.value:.2f}[{norm.low:.2f},\u00a0{norm.high:.2f}]".replace("\u00a0", " ") in said.replace(
        "\u00a0", " "
    )
    nc1 = [c.nc1 for c in why_numbers.collapses(records, "cosface", "test", "lfw")]
    assert f"{np.mean(nc1):.3f} ± {np.std(nc1, ddof=1):.3f}" in said
    assert "The threshold is that of FAR 1e-3." in said
    rows = re.findall(r'<th scope="row">triplet</th>(.*?)</tr>', section)
    assert text(rows[0]).replace(" ", "") == "–––"


def test_panels_share_their_axes(section, records):
    """All panels of a figure have ticks of one axis only: those of the outer ones."""
    lines = -(-len(of_families(records)) // 3)
    assert lines > 1
    figure = re.findall(r'aria-label="The same, family by family\.".*?</svg>', section, flags=re.S)[0]
    assert figure.count(">150<") == 3  # the lowest panel of each of three columns
    assert figure.count(">0.5<") + figure.count(">0.50<") + figure.count(">0.4<") == lines
    assert not re.search(r"#[0-9a-fA-F]{6}", figure)


def test_tables_are_exported(folder, records):
    paths = write_tables(folder, "csv")
    assert [path.name for path in paths] == ["report.csv", "report-why.csv", "report-cost.csv", "report-curves.csv"]
    found = {row["label"]: row for row in csv.DictReader(StringIO(paths[1].read_text(encoding="utf-8")))}
    assert list(found) == why_numbers.view(records).labels
    norm = records.norms["arcface", "lfw", "rho noise"]
    row = found["arcface"]
    assert (row["Norm and noise, rho"], row["Norm and noise, rho low"]) == (repr(norm.value), repr(norm.low))
    assert found["triplet"]["Gradient of the hardest tenth"] == ""
    markdown = write_tables(folder, "markdown")[1].read_text(encoding="utf-8").splitlines()
    assert len(markdown) == 2 + len(records.labels)
    latex = write_tables(folder, "latex")[1].read_text(encoding="utf-8")
    assert latex.startswith(r"\begin{tabular}{lr")
    assert max(map(ord, latex)) < 128


def test_the_same_records_give_the_same_bytes(tmp_path, save, make_study):
    folder = save(tmp_path, make_study(["softmax", "cosface"], seeds=(0,), epochs=2, why=True).records())
    assert drawn(read_records(folder)) == drawn(read_records(folder))
    for name in ("csv", "markdown", "latex"):
        first = [path.read_bytes() for path in write_tables(folder, name)]
        assert len(first) == (4 if name == "csv" else 3)  # curves are for spreadsheets alone
        assert first == [path.read_bytes() for path in write_tables(folder, name)]


def test_older_records_have_no_such_section_and_no_such_file(tmp_path, save, make_study):
    study = make_study(labels=["softmax", "cosface"], seeds=(0,), epochs=2)
    old = save(tmp_path, study.records())
    (old / "report-why.csv").write_text("of another time")
    assert drawn(read_records(old)) == ""
    assert [path.name for path in write_tables(old, "csv")] == ["report.csv", "report-cost.csv", "report-curves.csv"]
    assert not (old / "report-why.csv").exists()
    assert why.grid(read_records(old)) == []


def test_a_run_that_stopped_early_shows_what_there_is(tmp_path, save, make_study):
    rows = make_study(labels=["softmax", "cosface"], seeds=(0,), epochs=3, why=True).records()
    rows = [r for r in rows if r["kind"] not in ("collapse", "norm summary") and r.get("epoch") != 3]
    shown = drawn(read_records(save(tmp_path, rows)))
    assert "Angles of the training samples over the epochs." in shown
    assert "Of the loss alone" in shown
    assert "How near the images" not in shown
    assert "The embedding once trained" not in shown


def test_a_control_of_the_baseline_is_not_set_beside_it(tmp_path, save, make_study):
    labels = ["softmax", "softmax (identity-balanced)"]
    said = text(drawn(read_records(save(tmp_path, make_study(labels, seeds=(0,), epochs=1, why=True).records()))))
    assert re.search(r"carried: softmax \d+ %\. The easiest half carried: softmax \d+ %\.", said)
