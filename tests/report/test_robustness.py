"""The section on robustness, and what the page says of noise in training."""

import csv
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from faceloss.report import write_report, write_tables
from faceloss.report.records import read_records
from faceloss.report.robustness import section

Record = dict[str, Any]
LABELS = ("softmax", "cosface", "arcface")
CORRUPTIONS = {"blur": ("sigma, pixels at 112", [1, 2, 3, 4, 6]), "mask": ("share of the crop's height", [0.1] * 5)}


def cell(label: str, corruption: str, level: int | None, value: float | None) -> Record:
    state = {"value": value, "low": value and value * 0.9, "high": value and min(1.0, value * 1.1)}
    return {
        "kind": "robustness summary", "label": label, "loss": label, "test": "faces", "protocol": "robustness",
        "metric": "fnmr", "at": 0.01, "corruption": corruption, "level": level, "seeds": 3, "spread": 0.01,
        "status": "not measurable" if value is None else "measured", "pairs": 900, "note": "", **state,
    }  # fmt: skip


def rows(start: float = 0.2, names: tuple[str, ...] = tuple(CORRUPTIONS)) -> list[Record]:
    found: list[Record] = [{
        "kind": "study", "losses": list(LABELS), "baseline": "softmax", "seeds": [0, 1, 2],
        "corruptions": {name: {"unit": CORRUPTIONS[name][0], "levels": CORRUPTIONS[name][1]} for name in names},
    }]  # fmt: skip
    for place, label in enumerate(LABELS):
        for seed in range(3):
            found.append({"kind": "run", "label": label, "loss": label, "seed": seed, "status": "finished"})
        clean = start * (1 - 0.1 * place)
        found.append(cell(label, "", 0, clean))
        for name in names:
            found += [cell(label, name, level, min(1, clean * (1 + 0.3 * level))) for level in (1, 2, 3, 4, 5)]
            found.append(cell(label, name, None, clean * 1.9))
        if len(names) > 1:
            found.append(cell(label, "all", None, clean * 1.9))
    verdicts = {("cosface", "fnmr"): "better", ("arcface", "fnmr"): "better", ("cosface", "added fnmr"): "worse"}
    for label in LABELS[1:]:
        for metric in ("fnmr", "added fnmr"):
            for name in (*names, *(["all"] if len(names) > 1 else [])):
                found.append({
                    "kind": "robustness difference", "label": label, "loss": label, "baseline": "softmax",
                    "test": "faces", "protocol": "robustness", "metric": metric, "at": 0.01, "corruption": name,
                    "level": None, "value": -0.0321, "low": -0.05, "high": -0.01, "p": 0.001, "p_holm": 0.002,
                    "seeds": 3, "verdict": verdicts.get((label, metric), "no difference found"),
                })  # fmt: skip
    return found


def write(folder: Path, records: list[Record]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def page_of(folder: Path, records: list[Record]) -> str:
    return write_report(write(folder, records)).read_text()


def part(page: str) -> str:
    found = re.search(r'<section[^>]*id="robustness".*?</section>', page, flags=re.S)
    assert found is not None
    return found.group(0)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_section_says_draws_and_lists(tmp_path: Path) -> None:
    page = page_of(tmp_path / "runs", rows())
    said = words(part(page))
    assert "On corrupted probes, compared with softmax: better: cosface and arcface." in said
    assert "(robust, not just better), compared with softmax: worse: cosface; no difference found: arcface." in said
    assert "FNMR at FMR 1e-2, faces." in said
    assert page.count("Records of a kind that this page does not show") == 0
    table = part(page)[part(page).index("<table") :]
    labels = re.findall(r'<th scope="row">([^<]+)</th>', table)
    assert labels == ["arcface", "cosface", "softmax"]  # from the lowest mean of all
    first = words(table[table.index("arcface") : table.index("cosface")])
    assert first.startswith("arcface 0.160 ± 0.010")  # clean
    assert "0.304 ± 0.010" in first  # the mean of all
    assert f"{chr(0x2212)}0.032 [" in first
    svg = part(page)[part(page).index("<svg") : part(page).index("</svg>")]
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
    for word in ("blur", "mask", "sigma, pixels at 112", "clean", "6", "FNMR"):
        assert word in texts, word
    assert texts.count("clean") == 2  # a panel a corruption
    assert page_of(tmp_path / "again", rows()) == page


def test_the_lines_go_through_the_numbers(tmp_path: Path) -> None:
    """Every point of a line of the blur panel, read back from the picture with the help of its axis."""
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from faceloss.report.robustness import figure

    assert matplotlib
    for start, scale in ((0.2, "linear"), (0.004, "log")):
        records = read_records(write(tmp_path / scale, rows(start)))
        cells = {(c.label, c.corruption, c.level): c for c in records.robustness}
        draw, size = figure(records, cells)
        picture = Figure(figsize=size)
        draw(picture)
        panel = next(
            axes for axes in picture.axes if axes.get_title(loc="left") == "blur" or axes.get_title() == "blur"
        )
        assert panel.get_yscale() == scale
        drawn = [line.get_ydata() for line in panel.lines]
        expected = [[start * (1 - 0.1 * k) * f for f in (1, 1.3, 1.6, 1.9, 2.2, 2.5)] for k in (2, 1, 0)]
        assert [list(map(float, y)) for y in drawn] == [pytest.approx(y) for y in expected]


def test_one_corruption_stands_for_itself(tmp_path: Path) -> None:
    said = words(part(page_of(tmp_path, rows(names=("blur",)))))
    assert "blur, mean of levels" in said
    assert "Mean of all" not in said
    assert "better: cosface and arcface" in said


def test_what_is_not_measurable_or_missing_is_said(tmp_path: Path) -> None:
    records = [r for r in rows() if r.get("label") != "arcface" or r["kind"] == "run"]
    for record in records:
        if (record["kind"], record.get("corruption"), record.get("level")) == ("robustness summary", "blur", 3):
            record |= {"value": None, "low": None, "high": None, "status": "not measurable"}
        if record["kind"] == "robustness summary" and record["corruption"] in ("blur", "all") and not record["level"]:
            record |= {"value": None, "low": None, "high": None, "status": "not measurable"}
    page = part(page_of(tmp_path, records))
    assert "not measurable" in words(page)
    assert "not measured" in words(page)  # arcface


def test_of_a_loss_that_diverged_no_difference_is_shown(tmp_path: Path) -> None:
    stopped = [{**r, "verdict": "diverged"} if r.get("verdict") and r["label"] == "cosface" else r for r in rows()]

    def row(folder: str, records: list[Record]) -> str:
        found = re.findall(r"<tr.*?</tr>", part(page_of(tmp_path / folder, records)), flags=re.S)
        return next(text for text in map(words, found) if text.startswith("cosface"))

    assert row("before", rows()).count("−0.032") == 2
    after = row("after", stopped)
    assert after.count("diverged") == 2
    assert "−0.032" not in after


def test_without_corruptions_there_is_no_section(tmp_path: Path) -> None:
    few = [r for r in rows() if not r["kind"].startswith("robustness")]
    page = page_of(tmp_path, few)
    assert 'id="robustness"' not in page
    assert section(read_records(tmp_path)) == []
    alone = [r for r in rows() if r["kind"] != "robustness difference" and r.get("label") in (None, "softmax")]
    assert "compared with" not in words(part(page_of(tmp_path, alone)))


def test_noise_on_purpose_is_told_in_the_section_on_data(tmp_path: Path) -> None:
    data = {"kind": "data", "role": "train", "name": "faces", "images": 2000, "identities": 90}
    noise = {"flip": 0.2, "outlier": 0.05, "imbalance": 10.0, "seed": 0, "flipped": 400, "outliers": 100,
             "images_left_out": 1234, "identities_given_up": 4}  # fmt: skip
    said = words(page_of(tmp_path, [*rows(), {**data, "noise": noise}]))
    assert "of 2,000 labels 400 are those of another identity and 100 stand on a stranger's face, 25.0 % in all" in (
        said.replace("&#x27;", "'")
    )
    assert "4 identities left training to be the strangers" in said
    assert "1,234 images left it, so that the last identity keeps 1/10 of its own" in said
    assert "Noise put into" not in words(page_of(tmp_path, [*rows(), data]))


def table(folder: Path, name: str) -> str:
    (path,) = [path for path in write_tables(folder, name) if path.stem == "report-robustness"]
    return path.read_text(encoding="utf-8")


def test_csv_has_every_number_unrounded(tmp_path: Path) -> None:
    records = rows()
    records.append(
        next(r for r in records if r.get("verdict") == "worse") | {"corruption": "", "level": 0, "metric": "fnmr"}
    )
    lines = list(csv.DictReader(StringIO(table(write(tmp_path / "x", records), "csv"))))
    summaries = [r for r in records if r["kind"] == "robustness summary"]
    gaps = [r for r in records if r["kind"] == "robustness difference"]
    added = [r for r in gaps if r["metric"].startswith("added")]
    assert len(lines) == len(summaries) + len(added) > 40

    def key(row: Record) -> tuple[str, ...]:
        level = "" if row["level"] in (None, "") else str(row["level"])
        clean = "clean" if "kind" in row else "never empty"
        return row["label"], row["metric"], row["corruption"] or clean, level

    known = {key(line): line for line in lines}
    assert len(known) == len(lines)
    for r in summaries:
        line = known[key(r)]
        assert [line[name] for name in ("value", "low", "high")] == [repr(r[name]) for name in ("value", "low", "high")]
        assert (line["status"], line["seeds"], line["at"], line["loss"]) == ("measured", "3", "0.01", r["loss"])
    for r in gaps:
        line = known[key(r)]
        assert (line["difference"], line["p_holm"], line["verdict"]) == ("-0.0321", "0.002", r["verdict"])
    assert {key(line) for line in lines if line["baseline"]} == {key(r) for r in gaps}
    assert {line["value"] for line in lines if line["metric"] == "added fnmr"} == {""}
    assert [known["cosface", "fnmr", "blur", str(k)]["amount"] for k in (1, 5)] == ["1", "6"]
    assert known["cosface", "fnmr", "blur", ""]["unit"] == "sigma, pixels at 112"


def test_tables_for_papers_hold_what_the_page_shows(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", rows())
    title, _, header, _, *body = table(folder, "markdown").splitlines()
    assert title == "**faces: FNMR at FMR 1e-2**"
    names = header.strip("| ").split(" | ")
    found = {cells[0]: dict(zip(names, cells, strict=True)) for cells in (b.strip("| ").split(" | ") for b in body)}
    assert list(found) == ["arcface", "cosface", "softmax"]
    assert found["cosface"]["Clean"] == "0.180 ± 0.010 \\[0.162, 0.198\\]"
    assert found["cosface"]["Mean of all"].startswith("0.342 ± 0.010")
    assert (found["cosface"]["Verdict"], found["cosface"]["Verdict on that"]) == ("better", "worse")
    assert found["cosface"]["Difference"].startswith("−0.032")
    assert found["softmax"]["Verdict"] == "baseline"
    latex = table(folder, "latex")
    assert latex.startswith("\\paragraph{faces: FNMR at FMR 1e-2}\n\\begin{tabular}{lrrrrrrrr}")
    assert max(map(ord, latex)) < 128


def test_on_two_seeds_no_table_calls_anything_better(tmp_path: Path) -> None:
    few = [{**r, "seeds": 2} if "seeds" in r and r["kind"] != "study" else r for r in rows()]
    folder = write(tmp_path / "x", few)
    assert "better" not in table(folder, "csv")
    assert "better" not in table(folder, "markdown")


def test_a_difference_of_a_loss_that_diverged_is_in_no_table_for_papers(tmp_path: Path) -> None:
    stopped = [{**r, "verdict": "diverged"} if r.get("verdict") and r["label"] == "cosface" else r for r in rows()]
    assert any(r.get("verdict") == "diverged" and r["value"] for r in stopped)
    text = table(write(tmp_path / "x", stopped), "markdown")
    row = next(line for line in text.splitlines() if line.startswith("| cosface"))
    assert row.count("diverged") == 2
    assert "−0.032" not in row
    assert "−0.032" in text


def test_without_corruptions_there_is_no_such_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", [r for r in rows() if not r["kind"].startswith("robustness")])
    (folder / "report-robustness.csv").write_text("of another time")
    assert [path.name for path in write_tables(folder, "csv")] == ["report.csv"]
    assert not (folder / "report-robustness.csv").exists()
