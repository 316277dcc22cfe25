"""The results as CSV, Markdown and LaTeX: the numbers of the records, in the order of the page, whatever names hold."""

import csv
import json
import re
from io import StringIO

import pytest
from click.testing import CliRunner

from faceloss.cli.report import report
from faceloss.errors import BadInput
from faceloss.report import answer, write_tables
from faceloss.report.export import grid
from faceloss.report.records import read_records

NASTY = r"a|b_c & 50% $x$ \{y} #1 ~^ <t> *z* [k]"


def lines(path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_csv_has_every_summary_unrounded(whole):
    rows = list(csv.DictReader(StringIO(write_tables(whole, "csv")[0].read_text(encoding="utf-8"))))
    records = [json.loads(line) for line in (whole / "records.jsonl").read_text().splitlines()]
    summaries = [r for r in records if r["kind"] == "summary"]
    assert len(rows) == len(summaries) > 50
    names = ("label", "test", "protocol", "metric", "at")
    known = {tuple(r[name] for name in names): r for r in rows}
    assert len(known) == len(rows)
    gaps = {tuple(r[name] for name in names): r for r in records if r["kind"] == "difference"}
    for want in summaries:
        key = tuple(want[name] for name in names)
        found = known[(*key[:4], "" if key[4] is None else str(float(key[4])))]
        for name in ("value", "low", "high", "spread"):
            assert found[name] == ("" if want[name] is None else repr(want[name]))
        assert found["status"] == want["status"]
        gap = gaps.get(key)
        assert found["verdict"] == (gap["verdict"] if gap else "")
        assert found["p_holm"] == ("" if gap is None or gap["p_holm"] is None else repr(gap["p_holm"]))
        assert found["baseline"] == (gap["baseline"] if gap else "")
    assert {row["verdict"] for row in rows} == {
        "better",
        "worse",
        "no difference found",
        "not measurable",
        "diverged",
        "",
    }


def test_csv_on_two_seeds_calls_nothing_better(tmp_path, save, make_study):
    rows = make_study(labels=["softmax", "cosface"], seeds=(0, 1), epochs=1).records()
    for r in rows:
        if r["kind"] == "difference":
            r["verdict"] = "better"
    table = list(csv.DictReader(StringIO(write_tables(save(tmp_path, rows), "csv")[0].read_text())))
    assert {row["verdict"] for row in table if row["label"] == "cosface"} == {"no difference found"}


def test_the_table_has_all_losses_in_the_order_of_rank(whole):
    records = read_records(whole)
    header, *body = grid(records)
    key = answer.primary(records)
    assert [row[0] for row in body] == answer.ranked(records, key)
    assert {len(row) for row in body} == {len(header)}
    assert "Images paid" not in header
    where = header.index("lfw (cross-matrix): TAR at FAR 1e-3")
    cell = records.summaries["cosface", key]
    cosface = body[0]
    assert cosface[where] == f"{cell.value:.3f} ± {cell.spread:.3f} [{cell.low:.3f}, {cell.high:.3f}]"
    assert cosface[2] == "better"
    assert cosface[1].startswith("+0.")
    by_name = {row[0]: row for row in body}
    assert by_name["softmax"][1:3] == ["", "baseline"]
    assert by_name["triplet"][1].endswith("against softmax (identity-balanced)")
    assert by_name["magface"][1:4] == ["", "diverged", "2 finished, 1 diverged"]
    assert by_name["cosface"][header.index("lfw (cross-matrix): TAR at FAR 1e-5 and below")] == "not measurable"


def test_a_search_says_what_it_paid(tmp_path, save, make_searched):
    study = make_searched(["search_softmax"], seeds=(0,), epochs=1)
    header, *body = grid(read_records(save(tmp_path, study.records())))
    paid = {row[0]: row[header.index("Images paid")] for row in body}
    assert paid == {"search_softmax": "4.00 ×", "softmax": "1.00 ×", "cosface": "1.00 ×"}
    rows = list(csv.DictReader(StringIO(write_tables(tmp_path, "csv")[0].read_text())))
    assert {r["label"]: (float(r["images_seen"]), float(r["images_tried"])) for r in rows}["search_softmax"] == (
        86_400,
        345_600,
    )


@pytest.fixture
def nasty(tmp_path, save, make_study):
    rows = make_study(labels=["softmax", "cosface"], seeds=(0, 1, 2), epochs=1).records()
    for r in rows:
        if r.get("label") == "cosface":
            r["label"] = NASTY
    return save(tmp_path, rows)


def test_markdown_cells_hold_any_name(nasty):
    found = lines(write_tables(nasty, "markdown")[0])
    assert len(found) == 4
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in found]
    assert len(set(bars)) == 1
    assert bars[0] > 8
    assert set(found[1]) == set("| -")
    name = re.split(r"(?<!\\)\|", found[2])[1].strip()
    assert re.sub(r"\\(.)", r"\1", name) == NASTY.replace("\\", "\\")
    assert not re.search(r"(?<!\\)[*_<\[]", name)


def test_latex_rows_hold_any_name(nasty):
    found = lines(write_tables(nasty, "latex")[0])
    assert found[0].startswith(r"\begin{tabular}{llllrr")
    assert found[1::2][:2] == [r"\toprule", r"\midrule"]
    rows = [line for line in found if line.endswith(r"\\")]
    assert len(rows) == 3
    columns = len(found[0].removeprefix(r"\begin{tabular}{").removesuffix("}"))
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
    assert r"a|b\_c \& 50\% \$x\$ \textbackslash{}\{y\} \#1 \textasciitilde{}\textasciicircum{} \textless{}t" in rows[1]
    text = re.sub(r"\\[a-z]+\{\}|\\.|\$\\?[a-z-]+\$", "", "".join(found[2:-2]))
    assert text.count("{") == text.count("}")
    assert not set("$#%_^~±×−") & set(text)
    assert max(map(ord, "".join(found))) < 128


def test_the_same_records_give_the_same_bytes(whole):
    for name in ("csv", "markdown", "latex"):
        assert write_tables(whole, name)[0].read_bytes() == write_tables(whole, name)[0].read_bytes()


def test_the_verb_writes_what_was_asked_for(tmp_path, save, make_study):
    folder = save(tmp_path, make_study(labels=["softmax"], seeds=(0,), epochs=1).records())
    done = CliRunner().invoke(report, [str(folder), "--format", "latex", "--format", "csv"], catch_exceptions=False)
    assert done.exit_code == 0
    names = ["report.html", "report.tex", "report-cost.tex", "report.csv", "report-cost.csv", "report-curves.csv"]
    assert [line.rsplit("/", 1)[1] for line in done.output.split()] == names
    assert not (folder / "report.md").exists()
    bad = CliRunner().invoke(report, [str(folder), "--format", "word"])
    assert bad.exit_code == 2
    with pytest.raises(BadInput, match=r"There is no format named 'word'. Known: csv, markdown, latex\."):
        write_tables(folder, "word")


def test_curves_are_a_line_a_point_and_csv_alone(tmp_path, save, make_study):
    rows = make_study(labels=["softmax", "cosface"], seeds=(0, 1), epochs=1).records()
    curve = {"kind": "curve", "label": "softmax", "loss": "softmax", "run": "r", "seed": 1, "test": "LFW"}
    rows = [row for row in rows if row["kind"] not in ("curve", "open set")] + [
        curve | {"name": "det", "far": [0.1, 0.01], "frr": [0.2, 0.3], "low": [0.1, None], "high": [0.4, None]},
        curve | {"name": "cmc", "rank": [1, 5], "rate": [0.5, 0.75]},
        curve | {"name": "scores", "edges": [-1, 0, 1], "genuine": [0.25, 0.75], "impostor": [0.9, 0.1]},
        curve | {"kind": "open set", "gallery": 100, "fpir": [0.5], "fnir": [0.125], "extrapolated_from": 10},
    ]
    written = {path.name: path for path in write_tables(save(tmp_path, rows), "csv")}
    header, *found = list(csv.reader(StringIO(written["report-curves.csv"].read_text())))
    assert header == ["curve", "test", "label", "seed", "gallery", "extrapolated_from", "x", "y", "low", "high"]
    where = ["LFW", "softmax", "1"]
    assert found == [
        ["det", *where, "", "", "0.1", "0.2", "0.1", "0.4"],
        ["det", *where, "", "", "0.01", "0.3", "", ""],
        ["cmc", *where, "", "", "1", "0.5", "", ""],
        ["cmc", *where, "", "", "5", "0.75", "", ""],
        ["genuine scores", *where, "", "", "-1.0", "0.25", "", ""],
        ["genuine scores", *where, "", "", "0.0", "0.75", "", ""],
        ["impostor scores", *where, "", "", "-1.0", "0.9", "", ""],
        ["impostor scores", *where, "", "", "0.0", "0.1", "", ""],
        ["open set", *where, "100", "10", "0.5", "0.125", "", ""],
    ]
    assert not [path for path in write_tables(tmp_path, "latex") if "curves" in path.name]
    save(tmp_path, [row for row in rows if row["kind"] not in ("curve", "open set")])
    assert not [path for path in write_tables(tmp_path, "csv") if "curves" in path.name]
