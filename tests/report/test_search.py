"""The section on searches: every number from the records, every candidate drawn, and the cost never hidden."""

import json
import re
from html import unescape
from math import log1p
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from faceloss.errors import BadInput
from faceloss.report import answer, charts, search_section, searched, trajectories, write_report
from faceloss.report.kinds_of_training import Candidate
from faceloss.report.markup import text
from faceloss.report.records import read_records
from faceloss.report.svg import COLORS, compact

ROWS = ["search_softmax", "lookahead_margin", "am_lfs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_searched, save) -> Path:
    study = make_searched(ROWS, seeds=(0, 1), epochs=7)
    return save(tmp_path_factory.mktemp("searched"), study.records(), study.costs())


@pytest.fixture(scope="module")
def records(folder):
    return read_records(folder)


@pytest.fixture(scope="module")
def page(folder) -> str:
    return unescape(write_report(folder).read_text(encoding="utf-8"))


def section(page: str) -> str:
    start = page.index('<section id="search"')
    return page[start : page.index('<section id="cost"')]


def section_alone(folder: Path) -> str:
    """The section without the page around it."""
    return text(search_section.section(read_records(folder), lambda what, done, total: None))


def rows_of(folder: Path, **known: object) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return [row for row in rows if all(row.get(name) == value for name, value in known.items())]


def drawn(drawing: trajectories.Drawing) -> Figure:
    draw, size = drawing
    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    return figure


def dots(axes, size: float) -> np.ndarray:
    """Places of all dots of a size, from left to right."""
    paths = [p for p in axes.patches if isinstance(p, PathPatch) and p.get_linewidth() == size]
    places = [p.get_path().vertices[::2] for p in paths]
    every = np.concatenate(places) if places else np.zeros((0, 2))
    return every[np.argsort(every[:, 0], kind="stable")]


def test_the_section_is_linked_and_names_every_search(page):
    assert '<a href="#search">Search</a>' in page
    found = section(page)
    assert [row for row in ROWS if f"<h3>{row}</h3>" in found] == ROWS
    assert "<h3>cosface</h3>" not in found
    assert found.count("<svg") == 4
    assert found.count('role="img" aria-label="') == 4
    assert 'aria-label="search_softmax: From the first epoch to the last, the mean of u' in found
    assert "records of a kind" not in page.lower()


def test_the_mean_is_told_in_nats_and_as_a_margin_of_cosface(page, folder):
    rows = rows_of(folder, kind="search", label="search_softmax", seed=0)
    ends = [log1p(-row["policy"]["mean"]["a"]) for row in (rows[0], rows[-1])]
    assert abs(ends[1] - ends[0]) > 0.1
    assert f"the mean of u = ln(1 − a) went from {ends[0]:.1f} to {ends[1]:.1f}" in section(page)
    assert f"which at s = 32 is a margin of {ends[1] / 32:.3f} (seed 0)" in section(page)


def test_every_candidate_of_the_first_seed_is_a_dot_and_what_went_on_stands_out(records, folder):
    figure = drawn(trajectories.trajectory(records, "search_softmax"))
    large, small = figure.axes[:2]
    rows = rows_of(folder, kind="search", label="search_softmax", seed=0)
    u = np.array([[log1p(-c["values"]["a"]) for c in row["candidates"]] for row in rows])  # [epochs, candidates]
    rewards = np.array([[c["rewards"][0] for c in row["candidates"]] for row in rows])
    found = dots(large, 4.0)
    assert found.shape == (u.size, 2)
    by_reward = np.take_along_axis(u, np.argsort(rewards, axis=1), axis=1)
    np.testing.assert_allclose(found[:, 1], by_reward.ravel(), err_msg="from the worst on the left to the best")
    assert (np.abs(found[:, 0] - np.repeat(np.arange(1, 8), 4)) < 0.5).all(), "within their epoch"
    chosen = np.array([log1p(-row["candidates"][row["chosen"]]["values"]["a"]) for row in rows])
    for size in (4.4, 6.0):
        np.testing.assert_allclose(dots(large, size)[:, 1], chosen)
    assert dots(small, 4.0).size == 0
    other = rows_of(folder, kind="search", label="search_softmax", seed=1)
    went = [log1p(-row["candidates"][row["chosen"]]["values"]["a"]) for row in other]
    np.testing.assert_allclose(dots(small, 2.4)[:, 1], went)
    assert not np.allclose(went, chosen)


def test_shades_follow_the_reward(records):
    axes = drawn(trajectories.trajectory(records, "search_softmax")).axes[0]
    shades = [p for p in axes.patches if p.get_linewidth() == 4.0]
    assert [p.get_alpha() for p in sorted(shades, key=lambda p: p.get_path().vertices[0, 0])] == [0.2, 0.35, 0.55, 0.85]


def test_mean_and_band_are_those_of_the_policy(records, folder):
    axes = drawn(trajectories.trajectory(records, "search_softmax")).axes[0]
    policies = [row["policy"] for row in rows_of(folder, kind="search", label="search_softmax", seed=0)]
    mean, low, high = ([log1p(-p[name]["a"]) for p in policies] for name in ("mean", "low", "high"))
    line = next(x for x in axes.lines if x.get_color() == COLORS["c1"][0])
    np.testing.assert_allclose(line.get_ydata(), np.repeat(mean, 2))
    np.testing.assert_allclose(line.get_xdata(), np.repeat(np.arange(1, 8), 2) + np.tile([-0.5, 0.5], 7))
    (band,) = axes.collections
    edges = band.get_paths()[0].vertices
    assert edges[:, 1].min() == pytest.approx(min(low))
    assert edges[:, 1].max() == pytest.approx(max(high))


def test_the_second_axis_is_the_margin(records):
    figure = drawn(trajectories.trajectory(records, "search_softmax"))
    figure.draw_without_rendering()
    (right,) = figure.axes[1].child_axes
    assert right.get_ylabel() == "CosFace margin u / s"
    np.testing.assert_allclose(right.get_ylim(), np.array(figure.axes[1].get_ylim()) / 32)


def test_four_numbers_have_a_line_of_panels_each_and_the_untried_are_small(records, folder):
    figure = drawn(trajectories.trajectory(records, "lookahead_margin"))
    assert [figure.axes[i].get_ylabel() for i in (0, 2, 4, 6)] == ["m1", "m2", "m3", "s"]
    assert not any(axes.child_axes for axes in figure.axes), "no margin of CosFace beside four numbers"
    rows = rows_of(folder, kind="search", label="lookahead_margin", seed=0)
    untried = [c["values"]["m3"] for row in rows for c in row["candidates"] if not c["rewards"]]
    assert len(untried) == 7 * 6
    np.testing.assert_allclose(np.sort(dots(figure.axes[4], 2.2)[:, 1]), np.sort(untried))
    assert len(dots(figure.axes[4], 4.0)) == 7 * 2
    assert [t.get_text() for t in figure.legends[0].get_texts()][-1] == "drawn, not tried"


def test_functions_of_am_lfs_are_those_of_the_first_middle_and_last_epoch(records, folder):
    figure = drawn(trajectories.functions(records, "am_lfs"))
    assert [axes.get_title() for axes in figure.axes[:3]] == ["Epoch 1", "Epoch 4", "Epoch 7"]
    row = rows_of(folder, kind="search", label="am_lfs", seed=0, epoch=7)[0]
    for axes, name, start in ((figure.axes[2], "t", -1.0), (figure.axes[5], "tau", 0.0)):
        for color, values in (("c1", row["policy"]["mean"]), ("c2", row["candidates"][row["chosen"]]["values"])):
            lines = [x for x in axes.lines if x.get_color() == COLORS[color][0]]
            edges = np.linspace(start, 1, 7)
            assert len(lines) == 6
            for i, line in enumerate(lines):
                x = edges[i : i + 2]
                expected = values[f"{name}_slope_{i}"] * x + values[f"{name}_offset_{i}"]
                assert np.abs(expected - x).max() > 1e-3
                np.testing.assert_allclose(line.get_xdata(), x)
                np.testing.assert_allclose(line.get_ydata(), expected)
    band = figure.axes[2].collections[0].get_paths()[0].vertices
    width = np.ptp(band[np.isclose(band[:, 0], -1.0), 1])
    assert width == pytest.approx(2 * 0.2 * np.sqrt(2)), "sigma 0.2 of slope and of offset, at c = -1"


def test_rewards_reach_from_worst_to_best_and_end_with_what_went_on(records, folder):
    figure = drawn(trajectories.rewards(records, ROWS))
    axes = figure.axes[1]
    rows = rows_of(folder, kind="search", label="lookahead_margin", seed=0)
    first = [[c["rewards"][0] for c in row["candidates"] if c["rewards"]] for row in rows]
    last = [row["candidates"][row["chosen"]]["rewards"][-1] for row in rows]
    line = next(x for x in axes.lines if x.get_color() == COLORS["c2"][0])
    np.testing.assert_allclose(line.get_ydata(), last)
    x, y = axes.collections[0].get_paths()[0].vertices.T
    for row, tried in zip(rows, first, strict=True):
        assert len(tried) == 2
        here = y[x == row["epoch"]]
        assert (here.min(), here.max()) == (pytest.approx(min(tried)), pytest.approx(max(tried)))
    assert axes.get_ylabel() == "reward: similarity"


def test_the_schedule_is_what_went_on(page, folder):
    rows = rows_of(folder, kind="search", label="search_softmax", seed=1)
    u = [log1p(-row["candidates"][row["chosen"]]["values"]["a"]) for row in rows]
    found = section(page)
    start = found.index("Schedule found by search_softmax")
    lines = found[start : found.index("</details>", start)].split("<tr>")[1:]
    assert lines[0].count("Epoch ") == 7
    cells = [f'<td class="n">{x:.1f}</td>' if x >= 10 else f'<td class="n">{x:.2f}</td>' for x in u]
    assert f'<td class="n">1</td><td>u = ln(1 − a), nats</td>{"".join(cells)}' in lines[3]
    assert "m = u / s, s = 32" in lines[4]
    assert "".join(f'<td class="n">{x / 32:.3f}</td>' for x in u) in lines[4]


def test_the_ledger_has_every_row_and_a_plain_one_pays_once(page):
    found = section(page)
    lines = {
        name: found[found.index(f'<th scope="row">{name}</th>') :].split("</tr>")[0] for name in (*ROWS, "cosface")
    }
    assert ["4.00 ×" in lines[name] for name in lines] == [True, False, True, False]
    assert "2.00 ×" in lines["lookahead_margin"]
    assert lines["cosface"].count("1.00 ×") == 2
    assert '<td class="n">86,400</td><td class="n">345,600</td>' in lines["search_softmax"]
    assert "3.50 ×" in lines["search_softmax"]


def test_the_main_table_shows_what_was_paid(page):
    table = page[page.index('<section id="table"') : page.index('<section id="figures"')]
    line = table[table.index('<th scope="row">search_softmax') :].split("</tr>")[0]
    assert "<small>search: 4.00 × the images</small>" in line
    assert "86,400<small>345,600 by all candidates</small>" in line
    assert "<small>7.4 min for all candidates</small>" in line
    assert "candidates" not in table[table.index('<th scope="row">cosface') :].split("</tr>")[0]


def test_a_search_stands_at_the_time_of_all_candidates(records, page):
    key = answer.primary(records)
    axes = Figure().subplots()
    charts.against_cost(records, key)(axes)
    points = {line.get_label(): line.get_xdata()[0] for line in axes.lines}
    costs = {label: searched.seconds(records, label) for label in records.labels}
    assert points["search_softmax"] == pytest.approx(3.5 * costs["search_softmax"][0])
    assert points["cosface"] == costs["cosface"][0]
    hollow = [x.get_xdata()[0] for x in axes.lines if x.get_markersize() == 5]
    assert hollow == [costs[label][0] for label in ROWS]
    assert axes.get_xlabel() == "Seconds of one run (median over seeds)"
    assert "A search stands at the time of all its candidates" in page


def test_a_searched_winner_is_told_with_what_it_paid(tmp_path, save, make_searched):
    rows = make_searched(["search_softmax"], seeds=(0, 1, 2), epochs=2).records()
    for row in rows:
        if row["kind"] == "difference" and row["label"] == "search_softmax":
            row["verdict"] = "better"
    said = answer.sentences(read_records(save(tmp_path, rows)))
    assert said[-1].endswith("the search of search_softmax trained on 4.0 times the images of its model.")
    for row in rows:
        if row["kind"] == "difference" and row["label"] == "search_softmax":
            row["verdict"] = "no difference found"
    assert "times the images" not in answer.sentences(read_records(save(tmp_path, rows)))[-1]


def test_ranks_put_the_further_first_then_the_higher_reward():
    candidates = [
        Candidate({"a": 0.0}, rewards=(5.0,)),
        Candidate({"a": 0.0}, rewards=(2.0, 1.0)),
        Candidate({"a": 0.0}),
        Candidate({"a": 0.0}, rewards=(None,)),
        Candidate({"a": 0.0}, rewards=(4.0, 3.0)),
        Candidate({"a": 0.0}, rewards=(0.0,)),
        Candidate({"a": 0.0}, rewards=(-3.0,)),
    ]
    assert searched.ranks(candidates, 4) == [2, 1, None, 5, 0, 3, 4]


def test_functions_are_whole_or_not_drawn():
    one = {"t_slope_1": 2.0, "t_offset_1": 0.5}
    assert searched.pieces({**one, "t_slope_0": 3.0, "t_offset_0": 0.25, "tau_slope_0": 1.0}, "t") == [
        (3.0, 0.25),
        (2.0, 0.5),
    ]
    assert searched.pieces(one, "t") is None, "the part before it is missing"
    assert searched.pieces({"t_slope_0": 1.0}, "t") is None
    assert searched.pieces({**one, "t_slope_0": 3.0, "t_offset_0": None}, "t") is None
    assert searched.pieces(one, "tau") is None


def test_scores_are_counted_by_pairs(folder, records, page):
    def right(**known: object) -> int:
        rows = rows_of(folder, kind="search", label="lookahead_margin", **known)
        pairs = [[(c["score"], c["rewards"][0]) for c in row["candidates"] if c["rewards"]] for row in rows]
        return sum((a[0] > b[0]) == (a[1] > b[1]) for a, b in pairs)

    assert 0 < right(seed=0) < 7
    assert searched.scored(records.searches["lookahead_margin", 0]) == (right(seed=0), 7)
    assert f"First-order scores put {right()} of 14 pairs of tried candidates in the order of rewards." in section(page)
    assert searched.scored(records.searches["search_softmax", 0]) == (0, 0)


def test_an_epoch_without_search_has_no_mean_and_equal_candidates_no_band(tmp_path, save, make_searched):
    study = make_searched(["search_softmax"], seeds=(0,), epochs=4)
    rows = study.records()
    for row in rows:
        if row["kind"] == "search":
            row["candidates"] = row["candidates"][:1] if row["epoch"] < 3 else row["candidates"]
            row["chosen"] = 0
    found = read_records(save(tmp_path / "warm", rows, study.costs()))
    axes = drawn(trajectories.trajectory(found, "search_softmax")).axes[0]
    mean = next(x for x in axes.lines if x.get_color() == COLORS["c1"][0]).get_ydata()
    assert np.isnan(mean).tolist() == [True] * 4 + [False] * 4
    for row in rows:
        if row["kind"] == "search":
            row["candidates"] = [{**c, "values": {"a": -5e4}} for c in row["candidates"]]
    found = read_records(save(tmp_path / "same", rows))
    assert len(drawn(trajectories.trajectory(found, "search_softmax")).axes[0].collections) == 0


@pytest.mark.parametrize("change", [
    {"policy": {}},
    {"policy": {"mean": {"a": None}, "low": {}, "high": {"a": -3.0}}},
    {"candidates": [{"values": {"a": 7.0}, "rewards": [None], "score": None}], "chosen": 0},
    {"candidates": [{"values": {"<b>": 1.0, "$x$": 2.0}, "rewards": [1.0]}, {"values": {"<b>": 3.0}}], "chosen": 0},
    {"candidates": [{"values": {"t_slope_0": 1.0, "tau_offset_3": 0.5}, "rewards": [1.0]}] * 2, "chosen": 1},
])  # fmt: skip
def test_records_of_other_forms_still_give_a_page(tmp_path, save, make_searched, change):
    rows = make_searched(["search_softmax"], seeds=(0,), epochs=2).records()
    for row in rows:
        row |= change if row["kind"] == "search" else {}
        if row["kind"] == "run":
            row["hyperparameters"] = {}
    found = section_alone(save(tmp_path, rows))
    assert "<h3>search_softmax</h3>" in found
    assert "<b><b>" not in found


def test_a_search_for_nothing_is_not_shown(tmp_path, save, make_searched):
    rows = make_searched(["search_softmax"], seeds=(0,), epochs=1).records()
    rows[-1] |= {"candidates": [{"values": {}, "rewards": []}], "chosen": 0}
    assert section_alone(save(tmp_path, rows)) == ""


def test_a_choice_that_is_none_of_the_candidates_is_bad_input(tmp_path, save, make_searched):
    rows = make_searched(["search_softmax"], seeds=(0,), epochs=1).records()
    rows[-1]["chosen"] = 4
    with pytest.raises(BadInput, match=r"the search record cannot be used: record: chosen is 4, one of 4 candidates"):
        read_records(save(tmp_path, rows))


def test_later_records_of_an_epoch_count_and_epochs_are_in_order(tmp_path, save, make_searched):
    rows = make_searched(["search_softmax"], seeds=(0,), epochs=3).records()
    third, first = rows[-1], dict(rows[-3])
    first["chosen"] = (first["chosen"] + 1) % 4
    found = read_records(save(tmp_path, [third, *rows[:-1], first])).searches["search_softmax", 0]
    assert [entry.epoch for entry in found] == [1, 2, 3]
    assert found[0].chosen == first["chosen"]


def test_a_replay_is_said_to_need_its_search(tmp_path, save, make_searched):
    study = make_searched(["search_softmax"], labels=("softmax", "cosface"), seeds=(0,), epochs=2)
    rows = study.records()
    for row in rows:
        if row["kind"] == "run" and row["label"] == "cosface":
            row["hyperparameters"] = {"method": "replay"}
    found = section_alone(save(tmp_path, rows))
    assert "cosface: the training alone; the search that found the schedule comes on top." in found


def test_ten_searches_of_five_seeds_stay_under_two_megabytes(tmp_path, save, make_searched):
    """The most that one row can take, ten times, beside a whole page; more than twelve rows are not drawn."""
    study = make_searched(["lookahead_margin"], seeds=(0, 1, 2, 3, 4), epochs=trajectories.MOST_EPOCHS)
    folder = save(tmp_path, study.records(), study.costs())
    whole = len(write_report(folder).read_bytes())
    one = len(section_alone(folder).encode())
    print(f"one searched row: {one} bytes, the page with it: {whole} bytes")
    assert 50_000 < one < whole - 100_000
    assert whole + 9 * one < 2_000_000
    assert search_section.MOST_ROWS == 12


def test_rows_beyond_the_twelfth_are_named(tmp_path, save, make_searched, monkeypatch):
    monkeypatch.setattr(search_section, "MOST_ROWS", 1)
    study = make_searched(["search_softmax", "lookahead_margin", "am_lfs"], seeds=(0,), epochs=1)
    found = section_alone(save(tmp_path, study.records()))
    assert found.count("<svg") == 2
    assert "Not drawn, only listed above: lookahead_margin and am_lfs." in found


def test_a_long_course_is_thinned_and_says_so(tmp_path, save, make_searched, monkeypatch):
    study = make_searched(["lookahead_margin"], seeds=(0,), epochs=200)
    folder = save(tmp_path, study.records())
    monkeypatch.setattr(trajectories, "MOST_DOTS", 320)  # ten epochs of eight candidates in four panels
    axes = drawn(trajectories.trajectory(read_records(folder), "lookahead_margin")).axes[0]
    assert [len(dots(axes, size)) for size in (4.4, 4.0, 2.2)] == [29, 10 * 2, 10 * 6]
    assert "Of 200 epochs one in 7 is drawn." in section_alone(folder)


def test_a_compact_path_goes_through_the_same_places():
    assert compact("M 10.02 20 L 10.02 20 L 13.96 20 L 13.96 18.5 z M 1 -0.26 L 4.04 3") == (
        "M10 20h0h4v-1.5zm-9-20.3l3 3.3"
    )
    rng = np.random.default_rng(0)
    places = np.cumsum(rng.normal(size=(500, 2)) * 0.07, axis=0)
    path = compact("M " + " L ".join(f"{x:.6f} {y:.6f}" for x, y in places))
    at, tens = np.zeros(2), []
    for command, rest in re.findall(r"([Mlhv])([^Mlhv]*)", path):
        numbers = [float(x) for x in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", rest)]
        step = {"h": [numbers[0], 0.0], "v": [0.0, numbers[0]]}.get(command, numbers)
        at = at + step
        tens.append(at)
    np.testing.assert_allclose(tens, places, atol=0.0501, err_msg="nothing drifts")
