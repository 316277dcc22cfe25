"""The section on cost: every number from the records, what was not reached said, searches paying for all."""

import csv
import json
import re
from io import StringIO

import pytest

from faceloss.report import cost_section, write_report, write_tables
from faceloss.report.records import read_records
from faceloss.report.words import operations

ROWS = ["search_softmax", "lookahead_margin"]
LATENCIES = [
    {"what": "embed", "about": "1 crop", "calls": 90, "p50_ms": 4.321, "p95_ms": 6.0, "machine": "Linux, 1 thread"},
    {"what": "match", "about": "1 probe against 100,000", "calls": 80, "p50_ms": 12.34, "p95_ms": 123.4},
]


@pytest.fixture(scope="module")
def searched(make_searched, save, tmp_path_factory):
    study = make_searched(ROWS)
    return save(tmp_path_factory.mktemp("searched"), study.records(), study.costs())


def cells(page: str, label: str) -> list[str]:
    """The cells of a row of the cost table, their small print after a slash."""
    table = re.search(r'aria-label="Cost of each loss".*?</table>', page, flags=re.S)[0]
    row = re.search(rf'<tr[^>]*><th scope="row">{re.escape(label)}</th>(.*?)</tr>', table, flags=re.S)[1]
    return [re.sub(r"<[^>]+>", "", re.sub(r"<small>", " / ", cell)) for cell in re.findall(r"<td.*?</td>", row)]


def test_to_the_target(whole):
    records, page = read_records(whole), write_report(whole).read_text()
    epoch = {label: cost_section.to_target(records, label)["images"] / 7_200 for label in ("softmax", "cosface")}
    assert epoch["cosface"] < epoch["softmax"] < 12
    soon = cells(page, "cosface")
    assert soon[0] == "3 of 3"
    assert soon[1] == f"{7_200 * epoch['cosface']:,.0f} / {epoch['cosface'] / epoch['softmax']:.2f} × softmax"
    assert soon[2].startswith(f"{124.0 * 1.02 * epoch['cosface'] / 12:.1f} s / ")
    assert cells(page, "softmax")[:2] == ["3 of 3", f"{7_200 * epoch['softmax']:,.0f}"]
    assert cells(page, "normface")[0] == "2 of 3"  # the median of three, one of them never
    assert cells(page, "normface")[1] != "not reached"
    assert cells(page, "triplet")[:3] == ["0 of 3", "not reached", "not reached"]
    assert "95 % of what softmax gained over chance" in page
    assert "The rule is fixed" in page


def test_a_median_of_seeds_counts_one_that_never_arrived_as_never(make_study, save, tmp_path):
    study = make_study(labels=["softmax", "normface"], seeds=(0, 1))
    records = read_records(save(tmp_path, study.records(), study.costs()))
    assert cost_section.to_target(records, "normface")["images"] == float("inf")


def test_operations_of_a_run(whole):
    records, page = read_records(whole), write_report(whole).read_text()
    run = records.runs["cosface", 0]
    assert run.flops == (17_339_252_736 + 17_694_720 + 7_000_000) / 64 * 86_400
    assert cells(page, "cosface")[3] == f"{operations(run.flops)} / loss 0.14 %"
    assert "90.9 MFLOP to embed an image" in page


def test_a_search_pays_for_all_its_candidates(searched):
    records, page = read_records(searched), write_report(searched).read_text()
    found = cost_section.to_target(records, "search_softmax")
    assert found["all_images"] == 4 * found["images"]
    assert cells(page, "search_softmax")[1].endswith(f"{found['all_images']:,.0f} by all candidates")
    assert found["all_seconds"] == pytest.approx(3.5 * found["seconds"])
    plain, paid = records.runs["cosface", 0].flops, records.runs["search_softmax", 0].flops
    assert paid / plain == pytest.approx(4, rel=1e-2)
    (course, *_) = cost_section.courses(records)["search_softmax"]
    assert [images for images, _ in course[:3]] == [28_800, 57_600, 86_400]
    assert cost_section.courses(records)["cosface"][0][0][0] == 7_200


def test_figures_and_what_is_missing(whole, searched, make_study, save, tmp_path):
    page = write_report(whole).read_text()
    assert "How soon." in page
    assert "What it costs." in page
    study = make_study(labels=["softmax", "cosface"])
    new = ("flops_per_image", "flops_net_step", "flops_head_step", "batch", "images_seen")
    old = [
        {k: v for k, v in row.items() if k not in new} if row["kind"] in ("run", "epoch") else row
        for row in study.records()
        if row["kind"] != "target"
    ]
    folder = save(tmp_path / "old", old, study.costs())
    page = write_report(folder).read_text()
    section = page[page.index('id="cost"') : page.index('id="results"')]
    assert "How soon." not in section
    assert "Operations" not in section
    assert cells(page, "cosface")[0] == "2.0 min"  # what an older version kept is shown: CPU time, images/s, memory
    bare = [row for row in old if row["kind"] in ("study", "result", "summary")]
    assert 'id="cost"' not in write_report(save(tmp_path / "bare", bare)).read_text()


def test_latency_beside_the_records(whole, save, make_study, tmp_path):
    study = make_study(labels=["softmax", "cosface"])
    folder = save(tmp_path, study.records(), study.costs())
    assert "Latency" not in write_report(folder).read_text()
    (folder / "latency.jsonl").write_text("".join(json.dumps({"kind": "latency", **row}) + "\n" for row in LATENCIES))
    page = write_report(folder).read_text()
    for text in ("4.32 ms", "6.00 ms", "12.3 ms", "123 ms", "1 probe against 100,000", "Linux, 1 thread"):
        assert text in page


def table(folder, name):
    (path,) = [path for path in write_tables(folder, name) if path.stem == "report-cost"]
    return path.read_text(encoding="utf-8")


def test_csv_has_a_line_for_each_run(whole):
    lines = list(csv.DictReader(StringIO(table(whole, "csv"))))
    known = {(line["label"], int(line["seed"])): line for line in lines}
    costs = [json.loads(line) for line in (whole / "costs.jsonl").read_text().splitlines()]
    records = [json.loads(line) for line in (whole / "records.jsonl").read_text().splitlines()]
    assert len(known) == len(lines) == len(costs) == 21
    for cost in costs:
        line = known[cost["label"], cost["seed"]]
        for name in ("seconds", "cpu_seconds", "images_per_second", "peak_memory_mib"):
            assert line[name] == repr(cost[name])
        assert line["seconds_to_target"] == repr(cost.get("seconds_to_target", "")).strip("'")
    for record in records:
        line = known.get((record.get("label"), record.get("seed")))
        if record["kind"] == "run":
            assert (line["status"], line["images_seen"]) == (record["status"], str(record["images_seen"]))
        if record["kind"] == "target":
            assert (line["target"], line["target_status"]) == (repr(record["target"]), record["status"])
            assert line["target_images"] == str(record["images"] or "")
    assert known["magface", 2]["status"] == "diverged"


def test_a_search_pays_for_all_candidates_in_the_tables_too(searched):
    line = next(line for line in csv.DictReader(StringIO(table(searched, "csv"))) if line["label"] == ROWS[0])
    assert (line["images_seen"], line["images_tried"]) == ("86400", "345600")
    assert float(line["search_seconds"]) == 3.5 * float(line["seconds"])
    header, _, *body = table(searched, "markdown").splitlines()
    names = header.strip("| ").split(" | ")
    found = {b[0]: dict(zip(names, b, strict=True)) for b in (row.strip("| ").split(" | ") for row in body)}
    row = found["search\\_softmax"]
    assert (row["Images"], row["Images of all candidates"]) == ("86,400", "345,600")
    assert found["softmax"]["Images of all candidates"] == "–"
    page = cells(str(cost_section._table(read_records(searched))), ROWS[0])
    assert row["Operations of a run"] == page[3].split(" / ")[0]
    assert [row["CPU time"], row["Images/s"], row["Peak memory"]] == page[4:7]


def test_what_was_not_reached_is_said_and_unknown_columns_are_left_out(whole, make_study, save, tmp_path):
    rows = [row.strip("| ").split(" | ") for row in table(whole, "markdown").splitlines()]
    assert "Images of all candidates" not in rows[0]
    triplet = dict(zip(rows[0], next(row for row in rows if row[0] == "triplet"), strict=True))
    assert (triplet["Seeds at the target"], triplet["Images to it"]) == ("0 of 3", "not reached")
    few = [r for r in make_study(labels=["softmax"], seeds=(0,), epochs=1).records() if r["kind"] != "target"]
    few = [{k: v for k, v in r.items() if not k.startswith("flops")} for r in few]
    assert [path.name for path in write_tables(save(tmp_path, few), "latex")] == ["report.tex"]
