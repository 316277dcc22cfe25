"""The section on identification: CMC, and open sets of several galleries of which some are computed, not measured."""

import csv
import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from faceloss.report import answer, identification, tables, write_tables
from faceloss.report.markup import text
from faceloss.report.records import read_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory, save, make_study, more) -> Path:
    study = make_study()
    return save(tmp_path_factory.mktemp("open"), study.records() + more.open_sets(study), study.costs())


def section(folder: Path) -> str:
    return text(identification.section(read_records(folder)))


def test_each_gallery_has_its_own_rate_and_threshold(folder):
    shown = section(folder)
    assert shown.count("<svg") == 2
    assert "TPIR at FPIR 1e-1<small>10 enrolled</small>" in shown
    assert "TPIR at FPIR 1e-1<small>100 enrolled</small>" in shown
    assert "<small>score ≥ 0.410</small>" in shown  # the median of 0.40, 0.41 and 0.42
    assert "Difference to softmax<small>TPIR at FPIR 1e-1, 100 enrolled</small>" in shown
    assert shown.count("○ no difference found") == 6


def test_what_the_probes_cannot_carry_is_not_measurable(folder):
    shown = section(folder)
    assert shown.count('<td class="n absent">not measurable</td>') == 7 * 2
    lines = list(csv.DictReader(io.StringIO(write_tables(folder, "csv")[0].read_text())))
    hard = [x for x in lines if (x["metric"], x["at"]) == ("tpir", "0.01")]
    assert len(hard) == 14
    assert {(x["status"], x["value"], x["low"], x["high"]) for x in hard} == {("not measurable", "", "", "")}
    assert len([x for x in lines if (x["metric"], x["at"]) == ("tpir", "0.1") and float(x["value"]) > 0]) == 14


def test_what_is_extrapolated_says_so_and_is_in_no_table(folder):
    shown = section(folder)
    assert ">1,000 enrolled, extrapolated</text>" in shown
    assert shown.count(">computed, not measured</text>") == 1
    assert "Dotted: extrapolated from 100 enrolled" in shown
    for name in ("csv", "markdown", "latex"):
        table = write_tables(folder, name)[0].read_text()
        assert "1,000 enrolled" not in table
        assert "1000 enrolled" not in table


def test_every_loss_has_a_line_in_every_panel_and_the_computed_ones_are_dotted(folder):
    draw, _, _ = identification.open_set(read_records(folder), "lfw")
    figure = Figure()
    draw(figure)
    measured, also, computed = figure.axes
    for axes, height in ((measured, 0.1), (also, 0.2), (computed, 0.3)):
        lines = axes.get_lines()
        assert len(lines) == 7
        assert min(float(line.get_ydata()[0]) for line in lines) == pytest.approx(height, rel=0.05)
    dashes = [{line._unscaled_dash_pattern for line in axes.get_lines()} for axes in figure.axes]
    assert dashes[2] == {(0, (1, 2))}
    assert len(dashes[0]) == len(dashes[1]) > 2


def test_without_extrapolation_there_is_no_word_of_it(tmp_path, save, make_study, more):
    study = make_study()
    rows = [row for row in more.open_sets(study) if "extrapolated_from" not in row]
    shown = section(save(tmp_path, study.records() + rows))
    assert ">100 enrolled</text>" in shown
    assert "xtrapolated" not in shown
    assert "computed, not measured" not in shown


def test_open_sets_leave_the_one_table_and_what_ranks_alone(folder, tmp_path, save, make_study):
    plain = read_records(save(tmp_path, make_study().records()))
    found = read_records(folder)
    assert tables.main_columns(found) == tables.main_columns(plain)
    assert answer.primary(found) == answer.primary(plain)
    assert "tpir" in {key.metric for key in tables.columns(found)}
    shown = text(tables.all_results(found))
    here = shown[shown.index("lfw (open set, 10 enrolled)") :]
    assert here.index("Attained FPIR") < here.index("</thead>")
    assert here.index("9.9e-2") < here.index("</table>")
    assert "Attained FPIR" not in shown[: shown.index("lfw (open set, 10 enrolled)")]


def test_curves_are_medians_over_seeds(tmp_path, save, make_study, more):
    study = make_study(labels=["softmax"])
    rows = more.open_sets(study)
    for row in rows:
        if row["kind"] == "open set":
            row["fnir"] = [[0.2, 0.9, 0.3][row["seed"]]] * len(row["fpir"])
        if row.get("name") == "cmc":
            row["rank"], row["rate"] = [[1, 2, 4], [0.1, 0.2, 0.3]] if row["seed"] else [[1, 4], [0.5, 1.0]]
    records = read_records(save(tmp_path, rows))
    line = identification._middle([c for c in records.open_sets if c.gallery == 10])
    assert set(line[1].round(6)) == {0.3}
    draw = identification.cmc(records)
    figure = Figure()
    draw(figure)
    (drawn,) = figure.axes[0].get_lines()
    assert list(drawn.get_xdata()) == [1, 2, 4, 10]
    assert list(drawn.get_ydata()) == pytest.approx([0.1, 0.2, 0.3, 0.3])


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(fnir=row["fnir"][:-1]) if row["kind"] == "open set" else None,
        lambda row: row.update(fpir=[0.0] * 60) if row["kind"] == "open set" else None,
        lambda row: row.update(fpir=[0.5] * 60) if row["kind"] == "open set" else None,
        lambda row: row.update(rank=[0, 1], rate=[0.0, 1.0]) if row.get("name") == "cmc" else None,
        lambda row: row.update(rank=[], rate=[]) if row.get("name") == "cmc" else None,
    ],
)
def test_curves_of_other_forms_still_give_a_page(tmp_path, save, make_study, more, change):
    study = make_study(labels=["softmax", "cosface"])
    rows = more.open_sets(study)
    for row in rows:
        change(row)
    assert "TPIR at FPIR 1e-1" in section(save(tmp_path, study.records() + rows))


def test_a_study_without_open_sets_has_no_section(whole):
    assert identification.section(read_records(whole)) == []
