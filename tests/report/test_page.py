"""The page: whole, safe to open anywhere, complete, and nothing but a function of the records."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from faceloss.errors import BadInput, CouldNotFinish
from faceloss.report import write_report

PHRASES = {"better", "worse", "no difference found", "not measurable", "diverged"}
VOID = {"meta", "br", "hr", "img", "col"}
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>&$x^{2}$\u202e\u0007'


class Reader(HTMLParser):
    """Checks that every element is closed in order, and keeps what the tests ask for."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.chips: list[str] = []
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "span" and dict(attrs).get("class", "").startswith("v "):
            self.chips.append("")
        if tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "span" in self.open and self.chips:
            self.chips[-1] += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data

    def row(self, label: str) -> list[str]:
        """The row of a label in the first table that has one."""
        return next(row for row in self.rows if row and row[0] == label)


@pytest.fixture(scope="module")
def page(whole: Path) -> str:
    return write_report(whole).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def render(save, folder: Path, records, costs=None) -> str:
    return write_report(save(folder, records, costs)).read_text(encoding="utf-8")


def test_page_is_balanced_and_in_order(page, read):
    assert page.startswith("<!doctype html>\n<html lang=")
    assert read.headings == [
        "Answer", "One table", "Figures", "Cost", "All results", "Failures", "Data", "How to read this", "Reproduce",
    ]  # fmt: skip
    ids = [value for _, name, value in read.attributes if name == "id"]
    assert len(ids) > 10
    assert len(ids) == len(set(ids))
    assert read.tags.count("svg") == 7


def test_page_asks_no_host_for_anything(page, read):
    lowered = page.lower()
    for forbidden in ("http://", "https://", "@import", "<script", "<link", "<iframe", "src=", "xmlns", "javascript:"):
        assert forbidden not in lowered
    assert set(re.findall(r"url\(.", lowered)) == {"url(#"}
    links = {value for _, name, value in read.attributes if name == "href"}
    assert links
    assert all(link.startswith("#") for link in links)
    ids = {value for _, name, value in read.attributes if name == "id"}
    assert {link[1:] for link in links} | set(re.findall(r"url\(#([^)]+)\)", page)) <= ids
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in read.attributes


def test_figures_take_their_colors_from_the_scheme(page):
    figures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    assert "var(--ink)" in figures
    assert not re.findall(r"#[0-9a-fA-F]{6}", figures)
    assert "font-family" not in figures
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_where_nothing_was_searched_nothing_speaks_of_a_search(page):
    for word in ('id="search"', "#search", "all candidates", "times the images"):
        assert word not in page


def test_verdicts_are_the_fixed_phrases(read):
    words = {re.sub("^[▲▼○✕] ", "", chip) for chip in read.chips}
    assert words == PHRASES


def test_every_loss_has_its_row(read, make_study):
    for label in make_study().labels:
        assert read.row(label)
    diverged = read.row("magface")
    assert "✕ diverged" in diverged[1]
    assert diverged[2] == "2 finished, 1 diverged"
    assert read.row("softmax")[1] == "baseline"
    first = [row[0] for row in read.rows if row and row[0] in make_study().labels][:7]
    assert first == ["cosface", "arcface", "magface", "softmax", "normface", "softmax (identity-balanced)", "triplet"]


def test_numbers_are_those_of_the_records(page, read, whole):
    rows = [json.loads(line) for line in (whole / "records.jsonl").read_text().splitlines()]
    cell = next(
        r for r in rows if r["kind"] == "summary" and (r["label"], r["metric"], r["at"]) == ("cosface", "tar", 1e-3)
    )
    shown = f"{cell['value']:.3f} ± {cell['spread']:.3f}[{cell['low']:.3f},\xa0{cell['high']:.3f}]"
    assert cell["value"] != cell["low"]
    assert read.row("cosface")[5] == shown
    assert read.row("cosface")[7] == "not measurable"  # FAR 1e-5 on 402,000 pairs
    assert "TAR at FAR\xa01e-5 and below" in page
    assert read.row("cosface")[-1] == "613 MiB" or read.row("cosface")[-1] == "615 MiB"


def test_all_results_show_attained_far_and_effective_pairs(page):
    assert "Attained FAR" in page
    assert "402,000" in page
    assert "21,000" in page
    assert "9.8e-5" in page


def test_remarks_stand_under_the_table_once_a_loss(tmp_path, save, make_study):
    rows = make_study().records()
    for record in rows:
        if record["kind"] == "run" and record["label"] in ("cosface", "arcface"):
            record["remarks"] = [f"The scale of <{record['label']}> is small."]
    page = render(save, tmp_path, rows)
    said = [f"<li><b>{name}</b>: The scale of &lt;{name}&gt; is small.</li>" for name in ("cosface", "arcface")]
    assert [page.count(sentence) for sentence in said] == [1, 1]
    assert page.index(said[0]) < page.index(said[1]), "in the order of the study"


def test_failures_name_reason_and_count(page):
    assert "the loss was not finite in epoch 4, step 212" in page
    assert "the file is cut off" in page
    assert "someone/broken 1.png" in page
    assert "TAR at FAR 1e-5: too few impostor pairs" in page
    assert "5 identities, 61 images from train" in page


def test_names_from_records_are_escaped(tmp_path, save, make_study):
    study = make_study(labels=["softmax", "cosface"], epochs=2)
    records = study.records()
    for r in records:
        for key in ("title", "command", "name", "reason", "test", "protocol", "machine"):
            if key in r and r["kind"] != "curve":
                r[key] = EVIL + str(r[key]) if key == "protocol" else EVIL
        if r.get("label") == "cosface":
            r["label"] = EVIL
        if r["kind"] == "data":
            r["reasons"], r["groups"], r["refused_files"] = {EVIL: 3}, {EVIL: 4}, [[EVIL, EVIL]]
        if r["kind"] == "run":
            r["hyperparameters"] = {EVIL: EVIL}
        if r["kind"] == "study":
            r["losses"] = ["softmax", EVIL]
    page = render(save, tmp_path, records, [{**c, "label": "softmax"} for c in study.costs()])
    read = Reader(page)
    assert not {"script", "img"} & set(read.tags)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert page.count("&lt;script&gt;alert(1)") > 20
    assert "\u202e" not in page
    assert "\x07" not in page


def test_half_of_a_surrogate_pair_is_shown_as_unknown(tmp_path, save, make_study):
    records = make_study(labels=["softmax"], epochs=2).records()
    records[0]["title"] = "half \ud800 pair"
    assert "half \ufffd pair" in render(save, tmp_path, records)


def test_unfinished_study_says_what_is_missing(tmp_path, save, make_study):
    whole = make_study(labels=["softmax", "cosface", "arcface", "normface"])
    gone = {("arcface", 2), ("normface", 0), ("normface", 1), ("normface", 2)}
    rows = [
        r
        for r in whole.records()
        if (r.get("label"), r.get("seed")) not in gone
        and not (r["kind"] in ("summary", "difference") and r["label"] in ("arcface", "normface"))
    ]
    page = render(save, tmp_path, rows)
    read = Reader(page)
    answer, rest = page.split("<nav", 1)
    assert "4 of 12 runs have not been run yet." in answer
    assert "4 of 12 runs have not been run yet." in rest
    assert read.row("normface")[2] == "not run yet"
    assert read.row("arcface")[2] == "2 finished, 1 not run yet"
    assert read.row("arcface")[1] == "not compared"


@pytest.mark.parametrize("kind", ["study", "data", "run", "epoch", "result", "summary", "difference", "curve"])
def test_a_missing_kind_of_record_still_gives_a_page(tmp_path, save, make_study, kind):
    rows = [r for r in make_study(labels=["softmax", "cosface"], epochs=2).records() if r["kind"] != kind]
    read = Reader(render(save, tmp_path, rows))
    assert read.row("cosface")
    assert read.headings[0] == "Answer"


def test_a_study_that_has_only_begun(tmp_path, save, make_study):
    page = render(save, tmp_path, [make_study().study()])
    Reader(page)
    assert "21 of 21 runs have not been run yet." in page
    assert "Nothing has been measured yet" in page


def test_one_loss_alone(tmp_path, save, make_study):
    page = render(save, tmp_path, make_study(labels=["softmax"], seeds=(0,)).records())
    assert "With 1 seed no claim can be made" in page
    assert "softmax has not been compared with another loss" in page
    assert "differences to the baseline" in page


def test_with_many_losses_only_the_best_and_the_baseline_are_colored(tmp_path, save, make_study, monkeypatch):
    from faceloss.report import charts
    from faceloss.report.records import read_records

    monkeypatch.setattr(charts, "MOST", 6)
    folder = save(tmp_path, make_study().records())
    records = read_records(folder)
    assert charts.shown(records) == ["cosface", "arcface", "magface", "softmax", "normface"]
    grey = [
        label for label, style in charts.look(records).items() if style.color == charts.styles([], "", ["x"])["x"].color
    ]
    assert grey == ["softmax (identity-balanced)", "triplet"]
    assert "2 others" in write_report(folder).read_text(encoding="utf-8")


def test_styles_differ_by_more_than_color(make_study):
    from faceloss.report.svg import styles

    labels = make_study().labels
    found = styles(labels, "softmax", labels)
    assert len({s.color for s in found.values()}) == 7
    assert len({str(s.dash) + str(s.width) for s in found.values()}) == 7


def test_raw_loss_values_and_diagnostics_change_nothing_that_ranks(tmp_path, save, make_study, whole, page):
    """The raw loss is drawn nowhere; EER and AUC are shown, but the order of the rows is not theirs."""
    rows = [json.loads(line) for line in (whole / "records.jsonl").read_text().splitlines()]
    assert all(r["loss_value"] != 77.0 for r in rows if r["kind"] == "epoch")
    other = [{**r, "loss_value": 77.0} if r["kind"] == "epoch" else r for r in rows]
    again = render(save, tmp_path / "loss", other, make_study().costs())
    digest = re.compile("[0-9a-f]{64}")
    assert digest.sub("", again) == digest.sub("", page)
    for r in rows:
        if r.get("metric") in ("eer", "auc") and r["value"] is not None:
            r["value"] = 1 - r["value"]
    turned = Reader(render(save, tmp_path / "eer", rows))
    assert [r[0] for r in turned.rows[2:9]] == [r[0] for r in Reader(page).rows[2:9]]


CODE = """
import sys
from pathlib import Path
from faceloss.report import write_figure, write_report
write_report(Path(sys.argv[1]))
write_figure(Path(sys.argv[1]), Path(sys.argv[1]) / "answer.png")
assert not {"torch", "matplotlib.pyplot"} & set(sys.modules), "report must not load these"
"""


def test_same_bytes_under_any_environment_and_without_torch(tmp_path, save, make_searched):
    plain = ("softmax", "cosface", "triplet", "softmax (identity-balanced)")
    study = make_searched(["search_softmax", "am_lfs"], labels=plain, epochs=3)
    (tmp_path / "matplotlibrc").write_text("font.size: 31\naxes.labelpad: 40\n")
    found = []
    for i, changes in enumerate([
        {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "2", "TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8", "MATPLOTLIBRC": str(tmp_path)},
    ]):  # fmt: skip
        folder = save(tmp_path / str(i), study.records() if i == 0 else make_study_again(study), study.costs())
        environment = {**os.environ, **changes}
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(folder)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append(((folder / "report.html").read_bytes(), (folder / "answer.png").read_bytes()))
    assert found[0] == found[1]
    assert len(found[0][0]) > 100_000


def make_study_again(study) -> list[dict]:
    """The same records: the generator of a study is used up by its first call."""
    plain = tuple(label for label in study.labels if label not in study.searched)
    return type(study)(study.searched, plain, seeds=study.seeds, epochs=study.epochs).records()


def test_importing_the_room_is_cheap():
    code = "import sys, faceloss.report; print(sorted({'torch', 'matplotlib', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_page_is_replaced_as_a_whole_or_not_at_all(tmp_path, save, make_study, monkeypatch):
    folder = save(tmp_path, [make_study().study()])
    (folder / "report.html").write_text("the old page")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CouldNotFinish, match="the disk is full"):
        write_report(folder)
    assert (folder / "report.html").read_text() == "the old page"
    assert sorted(p.name for p in folder.iterdir()) == ["records.jsonl", "report.html"]


def test_progress_is_called_to_the_end(tmp_path, save, make_study):
    seen: list[tuple[str, int, int]] = []
    write_report(save(tmp_path, [make_study().study()]), progress=lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == list(range(seen[-1][2] + 1))


def test_a_folder_without_records_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"records\.jsonl does not exist; give the folder"):
        write_report(tmp_path)
