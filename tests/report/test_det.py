"""DET curves where there are many losses: one panel a family, and nobody left out."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from faceloss.report import answer, charts, curves, det, write_report
from faceloss.report.kinds import Epoch
from faceloss.report.records import read_records
from faceloss.report.svg import COLORS

LOSSES = [
    "softmax", "normface", "cosface", "arcface", "triplet", "magface", "vpl", "coco", "circle", "adaface", "tse",
    "npcface", "uniface",
]  # fmt: skip


def of(loss: str) -> str:
    return {"softmax": "softmax", "normface": "softmax", "triplet": "pairs", "circle": "pairs"}.get(loss, "margin")


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_study, save):
    rows = make_study(labels=LOSSES, seeds=(0, 1), epochs=2).records()
    for row in rows:
        if row["kind"] == "run":
            row["family"] = of(row["label"])
        if row["kind"] == "curve" and row["name"] == "det":  # each its own, so that no line stands for another
            row["frr"] = [x * (1 + 0.04 * LOSSES.index(row["label"])) for x in row["frr"]]
    return save(tmp_path_factory.mktemp("many"), rows, make_study(labels=LOSSES, seeds=(0, 1)).costs())


def drawn(drawing) -> Figure:
    draw, size = drawing
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    return figure


def test_each_family_has_a_panel_with_all_of_its_losses(many):
    records = read_records(many)
    figure = drawn(det.families(records))
    ranked = [label for label in answer.ranked(records, answer.primary(records)) if label != "softmax"]
    families = list(dict.fromkeys(of(label) for label in ranked))
    panels = figure.axes[: len(families)]
    assert len(families) == 3
    assert [axes.get_title() for axes in panels] == [
        f"{name} ({sum(of(label) == name for label in ranked)})" for name in families
    ]
    for axes, name in zip(panels, families, strict=True):
        own = [label for label in ranked if of(label) == name]
        lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
        others = [] if ranked[0] in own else [ranked[0]]
        assert len(lines) == len([*others, *own, "softmax"])
        for line, label in zip(lines, [*others, *own, "softmax"], strict=True):
            curve = [c for c in records.curves if (c.label, c.name) == (label, "det")]
            middle = np.median([c.frr for c in curve], axis=0)
            order = np.argsort(curve[0].far)
            np.testing.assert_allclose(line.get_ydata(), np.maximum(middle[order], 1e-6), rtol=1e-6, err_msg=label)
        assert lines[-1].get_color() == COLORS["ink"][0]
        colors = [line.get_color() for line in lines[len(others) : -1]]
        assert len(set(colors[: det.COLORED])) == min(len(own), det.COLORED)
        assert set(colors[det.COLORED :]) <= {COLORS["rest"][0]}
        named = [text.get_text() for text in axes.get_legend().get_texts()]
        assert named == [*(f"best: {x}" for x in others), *own[: det.COLORED], "softmax"]


def test_the_page_has_the_families_only_where_colors_run_out(many, tmp_path, save, make_study):
    page = write_report(many).read_text(encoding="utf-8")
    assert "The same, family by family." in page
    found = re.search('aria-label="DET curves family by family: ([^"]*)"', page)
    assert sorted(found[1].split(", ")) == ["margin (9)", "pairs (2)", "softmax (1)"]
    few = read_records(save(tmp_path, make_study(seeds=(0,), epochs=1).records()))
    assert det.families(few) is None


def test_records_without_families_have_no_such_figure(many, tmp_path):
    (tmp_path / "records.jsonl").write_text((many / "records.jsonl").read_text().replace('"family"', '"kin"'))
    assert det.families(read_records(tmp_path)) is None


def test_the_cost_figure_names_those_in_color_and_counts_the_others(many):
    records = read_records(many)
    axes = Figure().subplots()
    charts.against_cost(records, answer.primary(records))(axes)
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    colored = charts.shown(records)
    assert len(colored) == 6
    assert sorted(named) == sorted([*colored, f"{len(LOSSES) - 6} others"])
    assert sum(line.get_marker() == "o" and len(line.get_xdata()) == 1 for line in axes.lines) >= len(LOSSES) - 6


def test_single_seeds_are_drawn_of_colored_losses_alone(many):
    records = read_records(many)
    figure = drawn(curves.training(records))
    faint = [line for line in figure.axes[0].lines if line.get_alpha() == 0.35]
    whole = [line for line in figure.axes[0].lines if line.get_alpha() is None]
    with_accuracy = {e.label for e in records.epochs if isinstance(e, Epoch) and e.accuracy is not None}
    assert len(faint) == 2 * len(with_accuracy & set(charts.shown(records)))
    assert len(whole) == len({e.label for e in records.epochs})
