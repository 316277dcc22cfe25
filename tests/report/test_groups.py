"""The section on groups: a bias that is planted is found and told, one that is absent is not."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceloss.compare.group_records import group_cell, group_rows
from faceloss.evaluate import judge_groups
from faceloss.evaluate.rows import group_record
from faceloss.report import write_report, write_tables
from faceloss.report.groups import places, ratio, worst
from faceloss.report.records import read_records

GROUPS = ("east", "north", "south", "west")
LABELS = ("softmax", "fair")
PEOPLE, IMAGES, DIM = 160, 5, 24


def records_of(bias: float, *, seeds: int = 3, people: int = PEOPLE, few: int = 0, planted: str = "west") -> list[Any]:
    """A study as ``compare`` records it. Under softmax the faces of one group vary more by ``bias``, as where training
    has few of them; "fair" is free of it. Of that group only ``few`` people are in the test, where few > 0."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(people), IMAGES)
    names = np.array(GROUPS)[labels % 4]
    if few:
        kept = (names != planted) | (labels < 4 * few)
        labels, names = labels[kept], names[kept]
    centers = rng.normal(size=(people, DIM))
    own = rng.uniform(0.5, 0.9, people)[labels, None] * rng.normal(size=(len(labels), DIM))
    runs: dict[tuple[str, int], list[Any]] = {}
    vectors: dict[tuple[str, int], dict[str, Any]] = {}
    for label in LABELS:
        for seed in range(seeds):
            e = centers[labels] + own + 0.15 * rng.normal(size=own.shape)
            if label == "softmax":
                e += np.where(names == planted, bias, 0.0)[:, None] * rng.normal(size=own.shape)
            found = [
                (rate, {"test": "faces", **group_record(rate)}) for rate in judge_groups(e, labels, names, far=1e-2)
            ]
            runs[label, seed] = [record for _, record in found]
            vectors[label, seed] = {group_cell(r).name: q.influence for q, r in found if q.influence is not None}
    rows: list[Any] = [
        {"kind": "study", "title": "Groups", "losses": LABELS, "baseline": "softmax", "seeds": [*range(seeds)]}
    ]
    for label, value in zip(LABELS, (0.6, 0.7), strict=True):
        rows.append({"kind": "summary", "label": label, "test": "faces", "protocol": "cross-matrix", "metric": "tar",
                     "at": 1e-2, "value": value, "low": 0.5, "high": 0.8, "status": "measured"})  # fmt: skip
    counts = dict(zip(GROUPS, (90, 90, 90, 9), strict=True))
    rows.append({"kind": "data", "role": "train", "name": "faces train", "images": 279, "identities": 31,
                 "groups": counts, "group_identities": {name: n // 9 for name, n in counts.items()}})  # fmt: skip
    held = {name: int((names == name).sum()) for name in GROUPS}
    rows.append({"kind": "data", "role": "test", "name": "faces", "images": len(labels), "identities": people,
                 "groups": held, "group_identities": {name: n // IMAGES for name, n in held.items()}})  # fmt: skip
    for (label, seed), records in runs.items():
        rows.append({"kind": "run", "label": label, "loss": label, "seed": seed, "status": "finished"})
        rows += [{"label": label, "loss": label, "seed": seed, **record} for record in records]
    return rows + group_rows(list(LABELS), {x: x for x in LABELS}, "softmax", runs, vectors)


def write(folder: Path, rows: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("planted"), records_of(0.9))


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("absent"), records_of(0.0))


def section(folder: Path) -> str:
    page = write_report(folder).read_text(encoding="utf-8")
    return page[page.index('<section id="groups"') : page.index('<section id="failures"')]


def test_a_planted_bias_is_found_named_and_told_from_the_loss_without_it(planted: Path) -> None:
    text = section(planted)
    assert re.search(r"Under softmax, against the mean of the other groups: FNMR of west was higher \(\+0\.\d+ ", text)
    assert "Under fair, no difference found between any group and the mean of the others." in text
    assert "The gap in FNMR against that of softmax: better: fair." in text
    (place,) = places(read_records(planted))
    assert worst(place, "softmax", "fnmr") == ["west"]
    # What the training set lacks stands beside it.
    assert '<th scope="row">west</th><td class="n">1</td><td class="n">9</td><td class="n">40</td>' in text


def test_an_absent_bias_is_not_found(absent: Path) -> None:
    text = section(absent)
    assert "Under softmax, no difference found between any group and the mean of the others." in text
    assert "was higher" not in text
    assert "was lower" not in text
    assert "The gap in FNMR against that of softmax: no difference found: fair." in text
    assert "▲" not in text
    assert "▼" not in text


def test_on_two_seeds_nothing_is_claimed(tmp_path: Path) -> None:
    rows = records_of(0.9, seeds=2)
    for row in rows:
        if row["kind"].startswith("group ") and row.get("verdict") == "no difference found":
            row["verdict"] = "worse"  # whatever the records say
    text = section(write(tmp_path, rows))
    assert "was higher" not in text
    assert "▲" not in text
    assert "▼" not in text


def test_what_the_pairs_cannot_carry_is_grey_and_never_a_number(tmp_path: Path) -> None:
    """Four people of west: 100 - 40 impostor pairs within the group, where FAR 1e-2 takes 3,000."""
    folder = write(tmp_path, records_of(0.9, few=4))
    text = section(folder)
    (place,) = places(read_records(folder))
    cell = place.cells["softmax", "fmr", "west", ""]
    assert cell.pairs == 4 * 3 // 2 * IMAGES**2
    assert f'<td class="n absent">not measurable<small>{cell.pairs:.0f} pairs</small></td>' in text
    assert ratio(place, "softmax", "fmr") == "not measurable"
    assert "FMR against that of softmax: not measurable: fair." in text
    lines = list(csv.DictReader(io.StringIO(write_tables(folder, "csv")[0].read_text())))
    for line in lines:
        if (line["metric"], line["group"], line["other_group"]) in (("fmr", "west", ""), ("fmr gap", "", "")):
            assert (line["status"], line["value"], line["low"]) == ("not measurable", "", "")
    table = write_tables(folder, "markdown")[0].read_text()
    header, _, *body = [line.split(" | ") for line in table[table.index("| Loss | FNMR") :].splitlines()]
    place_of = {name.strip("| "): i for i, name in enumerate(header)}
    assert {line[place_of["FMR of west"]] for line in body} == {"not measurable"}
    assert {line[place_of["FMR gap"]] for line in body} == {"not measurable"}
    assert not any("not measurable" in line[place_of["FNMR of west"]] for line in body)  # 40 genuine pairs of 4 people


def test_every_rate_is_exported_and_the_same_records_give_the_same_bytes(planted: Path) -> None:
    lines = [
        line
        for line in csv.DictReader(io.StringIO(write_tables(planted, "csv")[0].read_text()))
        if line["protocol"] == "groups"
    ]
    summaries = [
        row
        for row in map(json.loads, (planted / "records.jsonl").read_text().splitlines())
        if row["kind"] == "group summary"
    ]
    assert len(lines) == len(summaries) == 2 * (10 + 4 + 2 + 8)
    known = {(r["label"], r["metric"], r["group"], r["other"]): r for r in summaries}
    for line in lines:
        row = known[line["label"], line["metric"], line["group"], line["other_group"]]
        assert float(line["value"]) == row["value"]
        assert (float(line["low"]), float(line["high"])) == (row["low"], row["high"])
    west = next(x for x in lines if (x["label"], x["metric"], x["group"]) == ("fair", "fnmr", "west"))
    assert (west["baseline"], west["verdict"]) == ("softmax", "better")
    assert float(west["difference"]) < 0
    own = next(x for x in lines if (x["label"], x["metric"], x["group"]) == ("softmax", "fnmr to the others", "west"))
    assert (own["baseline"], own["verdict"]) == ("", "worse")
    tex = write_tables(planted, "latex")[0].read_text()
    assert tex.count(r"\begin{tabular}") == 2
    assert r"\paragraph{Groups, faces}" in tex
    before = {name: write_tables(planted, name)[0].read_bytes() for name in ("csv", "markdown", "latex")}
    page = write_report(planted).read_bytes()
    assert {name: write_tables(planted, name)[0].read_bytes() for name in before} == before
    assert write_report(planted).read_bytes() == page


def test_images_without_a_group_are_counted_once(planted: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (planted / "records.jsonl").read_text().splitlines()]
    for row in rows:
        if row["kind"] == "group summary" and row["metric"] in ("fmr", "fnmr"):
            row["note"] = "7 images without a group left out"
    assert section(write(tmp_path, rows)).count('<p class="note">7 images without a group left out.</p>') == 1
    assert "left out" not in section(planted)


def test_the_matrix_has_every_pair_of_groups_once(planted: Path) -> None:
    text = section(planted)
    matrix = text[text.index("FMR between groups</h4>") :]
    matrix = matrix[: matrix.index("</table>")]
    (place,) = places(read_records(planted))
    assert len([key for key in place.cells if key[:2] == ("softmax", "fmr")]) == 10
    assert matrix.count("[") == 2 * 10  # an interval in each cell of two losses
    assert matrix.count("<td></td>") == 2 * (6 + 3)  # below the diagonal, and the label's cell of further rows


def test_names_of_groups_are_escaped_and_studies_without_groups_have_no_section(tmp_path: Path) -> None:
    evil = '<b>"&'
    rows = json.loads(json.dumps(records_of(0.9)).replace('"west"', json.dumps(evil)))
    text = section(write(tmp_path / "evil", rows))
    assert "<b>&quot;" not in text.replace("&lt;b&gt;", "")
    assert "&lt;b&gt;&quot;&amp;" in text
    rows = [row for row in rows if not row["kind"].startswith("group")]
    page = write_report(write(tmp_path / "none", rows)).read_text()
    assert 'id="groups"' not in page
    assert "#groups" not in page
