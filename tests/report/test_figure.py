"""The picture of the answer, and inline figures."""

import numpy as np
import pytest
from PIL import Image

from faceloss.errors import BadInput
from faceloss.report import write_figure
from faceloss.report.markup import Safe, tag
from faceloss.report.svg import inline


def test_the_picture_is_wide_light_and_the_same_each_time(whole, tmp_path):
    first = write_figure(whole, tmp_path / "a.png")
    second = write_figure(whole / "records.jsonl", tmp_path / "b.png")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert picture.width == 1200
        assert 250 < picture.height < 1200
        assert set(picture.info) <= {"dpi"}
        pixels = np.asarray(picture.convert("RGB"))
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert (pixels.min(axis=2) < 128).mean() > 0.005


def test_the_picture_depends_on_the_records(whole, tmp_path, save, make_study):
    other = save(tmp_path / "other", make_study(labels=["softmax", "arcface"], epochs=1).records())
    assert write_figure(other, tmp_path / "a.png").read_bytes() != write_figure(whole, tmp_path / "b.png").read_bytes()


def test_one_loss_alone_is_drawn_without_differences(tmp_path, save, make_study):
    folder = save(tmp_path, make_study(labels=["softmax"], epochs=1).records())
    with Image.open(write_figure(folder, tmp_path / "a.png")) as picture:
        assert picture.width == 1200


def test_nothing_measured_is_bad_input(tmp_path, save, make_study):
    folder = save(tmp_path, [make_study().study()])
    with pytest.raises(BadInput, match="nothing has been measured yet"):
        write_figure(folder, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_names_in_a_figure_are_text_not_markup():
    name = "<b>$\\frac$ & 顔"
    found = inline(lambda figure: figure.text(0.1, 0.5, name), name="x", size=(3, 1), alt=name)
    assert isinstance(found, Safe)
    assert "&lt;b&gt;$\\frac$ &amp; 顔" in found
    assert "<b>" not in found


def test_markup_escapes_text_and_attributes():
    assert tag("td", "a < b", class_='"x"') == '<td class="&quot;x&quot;">a &lt; b</td>'
    assert tag("p", ["a", Safe("<i>b</i>"), None]) == "<p>a<i>b</i></p>"
    assert tag("meta", name="x") == '<meta name="x">'


def test_of_small_multiples_the_places_left_over_are_empty():
    from matplotlib.figure import Figure

    from faceloss.report.svg import small_multiples

    grid = small_multiples(Figure(), 5, 3, sharey=True)
    assert grid.shape == (2, 3)
    assert [axes.axison for axes in grid.flat] == [True] * 5 + [False]
    grid[0, 0].set(xlim=(3, 7), ylim=(3, 7))
    assert grid[1, 1].get_ylim() == (3, 7) != grid[1, 1].get_xlim()
    assert small_multiples(Figure(), 1, 1).shape == (1, 1)
