"""The embedding map: every image where the record says, in the shape and color of its identity; no claim with it."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.report import embedding_map, markup, write_report
from faceloss.report.records import read_records
from faceloss.report.svg import COLORS


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(labels=["softmax", "cosface", "arcface", "magface"], seeds=(0, 1, 2), epochs=2)


@pytest.fixture(scope="module")
def records(tmp_path_factory, study, more, save):
    return read_records(save(tmp_path_factory.mktemp("map"), [*study.records(), *more.maps(study)]))


def drawn(records) -> str:
    return markup.text(embedding_map.section(records))


@pytest.fixture(scope="module")
def section(records):
    return drawn(records)


def text(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def marks(html: str) -> dict[str, list[np.ndarray]]:
    """The corners of each mark of an SVG by the color of its path, in points; y upwards."""
    found: dict[str, list[np.ndarray]] = {}
    for path, style in re.findall(r'<path d="([^"]*z)"[^>]*style="([^"]*)"', html):
        color = re.search(r"fill: var\(--(\w+)\)", style)
        if color is None:
            continue
        at = start = np.zeros(2)
        for step, rest in re.findall(r"([Mmlhvz])([^Mmlhvz]*)", path):
            numbers = [float(n) for n in re.findall(r"-?\d*\.?\d+", rest)]
            if step in "Mm":
                start = at = np.array(numbers) + (at if step == "m" else 0)
                found.setdefault(color[1], []).append(at[None])
            elif step == "z":
                at = start
            else:
                pairs = [(n, 0) for n in numbers] if step == "h" else [(0, n) for n in numbers]
                at = at + (pairs[0] if step in "hv" else numbers)
                found[color[1]][-1] = np.concatenate([found[color[1]][-1], at[None]])
    return {color: [corners * [1, -1] for corners in some] for color, some in found.items()}


def test_the_warning_stands_first_and_tells_the_share(section, records):
    said = text(section).strip()
    shares = [100 * sum(m.share) for m in embedding_map.first_of_each(records).values()]
    assert max(shares) > min(shares) + 2
    assert said.startswith("A map is no evidence.")
    assert f"These two dimensions hold {min(shares):.0f} to {max(shares):.0f} % of the variance" in said
    assert "drawn from the 40 with 4 images or more by a key of the test's contents" in said
    for word in ("better", "worse", "because", "separat"):
        assert word not in said


def test_every_image_is_where_its_record_says(section, records):
    """Up to a shift for each panel and one scale for all; each panel's marks lie in its own square."""
    maps = embedding_map.first_of_each(records)
    found = marks(section)
    hues = [f"c{i}" for i in range(1, 8)] + ["ink"]
    centers = np.array([[corners.mean(axis=0) for corners in found[hue]] for hue in hues])
    scales, panels = [], []
    for j, m in enumerate(maps.values()):
        got, want = centers[:, 8 * j : 8 * j + 8].reshape(-1, 2), np.array([m.x, m.y]).T
        panels.append((got.min(axis=0), got.max(axis=0)))
        got, want = got - got.mean(axis=0), want - want.mean(axis=0)
        scales.append(np.linalg.norm(got) / np.linalg.norm(want))
        assert np.allclose(got, scales[-1] * want, atol=0.3), list(maps)[j]
    assert max(scales) < 1.005 * min(scales)
    side = 2 * embedding_map._half(maps) * scales[0]
    lefts = [(low + high)[0] / 2 - side / 2 for low, high in panels]
    assert np.allclose(np.diff(lefts), side * (1 + embedding_map.GAP / 2.1), rtol=0.01)
    assert 0.6 < max((high - low).max() for low, high in panels) / side < 0.95


def test_the_scale_takes_both_directions_to_fit(records):
    maps = embedding_map.first_of_each(records)
    flat = {label: replace(m, y=tuple(y / 9 for y in m.y)) for label, m in maps.items()}
    tall = {label: replace(m, x=m.y, y=m.x) for label, m in flat.items()}
    none = {label: replace(m, x=m.y) for label, m in flat.items()}
    assert embedding_map._half(tall) == embedding_map._half(flat) > 3 * embedding_map._half(none)


def test_identities_differ_by_color_and_by_shape(section):
    found = marks(section)
    assert len(found) == 8
    assert set(found) <= set(COLORS)
    shapes = set()
    for some in found.values():
        corners = some[0] - some[0].mean(axis=0)
        shapes.add(tuple((corners / np.abs(corners).max()).round(0).ravel()))
    assert len(shapes) == 8
    legend = re.findall(r"<text[^>]*>(person_\d+)</text>", section)
    assert legend == [f"person_{i:03d}" for i in range(8)]


def test_the_first_seed_that_has_a_map_is_drawn(tmp_path, study, more, save):
    rows = [r for r in more.maps(study) if (r["label"], r["seed"]) not in {("cosface", 0), ("arcface", 0)}]
    rows = [r for r in rows if r["label"] != "magface"]
    records = read_records(save(tmp_path, [*study.records(), *reversed(rows)]))
    found = embedding_map.first_of_each(records)
    assert {label: m.seed for label, m in found.items()} == {"cosface": 1, "arcface": 1, "softmax": 0}
    assert "magface has no map: no run of it ended with a usable network." in text(drawn(records))


def test_the_map_is_of_the_test_that_ranks(tmp_path, study, more, save):
    other = [{**r, "test": "another", "identities": ["x"] * 8} for r in more.maps(study)]
    found = embedding_map.first_of_each(read_records(save(tmp_path, [*study.records(), *other, *more.maps(study)])))
    assert {m.test for m in found.values()} == {"lfw"}
    found = embedding_map.first_of_each(read_records(save(tmp_path, [*study.records(), *other])))
    assert {m.test for m in found.values()} == {"another"}


def test_of_many_losses_the_others_are_folded_away_on_the_same_scale(tmp_path, make_study, more, save):
    study = make_study(labels=["softmax", *(f"loss {i}" for i in range(11))], seeds=(0,), epochs=1)
    section = drawn(read_records(save(tmp_path, [*study.records(), *more.maps(study)])))
    first, folded = section.split("<details>")
    assert "The maps of 6 other losses" in folded
    assert (
        len(re.findall(r"% of the variance</text>", first)) == len(re.findall(r"% of the variance</text>", folded)) == 6
    )
    assert {len(some) for some in marks(folded).values()} == {6 * 8}


def test_the_page_has_it_before_the_why(tmp_path, more, save, make_study):
    study = make_study(labels=["softmax"], seeds=(0,), epochs=1, why=True)
    page = write_report(save(tmp_path, [*study.records(), *more.maps(study)])).read_text(encoding="utf-8")
    assert page.index('id="figures"') < page.index('<section id="map">') < page.index('<section id="why">')
    assert '<a href="#map">Embedding map</a>' in page


def test_it_is_a_function_of_the_records_and_absent_without(tmp_path, study, more, save):
    old = save(tmp_path / "old", study.records())
    assert read_records(old).unknown == {}
    assert drawn(read_records(old)) == ""
    new = save(tmp_path / "new", [*study.records(), *more.maps(study)])
    assert drawn(read_records(new)) == drawn(read_records(new))


def test_places_that_do_not_belong_to_the_images_are_refused(tmp_path, study, more, save):
    rows = more.maps(study)
    rows[0]["x"] = rows[0]["x"][:-1]
    with pytest.raises(BadInput, match=r"line 1: the map record cannot be used: .*8 identities with 64 images"):
        read_records(save(tmp_path, rows))


def test_names_are_escaped_and_may_be_long(tmp_path, study, more, save):
    rows = more.maps(study)
    for r in rows:
        r["identities"] = ["<script>&$x$" + "y" * 60] * 8
    section = drawn(read_records(save(tmp_path, [*study.records(), *rows])))
    assert "<script>" not in section
    assert section.count("&lt;script&gt;&amp;$x$yyy") == 8
