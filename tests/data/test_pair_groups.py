"""Pair lists of several groups as one test: RFW as it comes, as .bin files, and what is refused."""

import json
import pickle

import numpy as np
import pytest

from faceloss.data.contract import NEEDED
from faceloss.data.faces import PairList
from faceloss.data.pair_groups import group_lists, short
from faceloss.data.pairs import load_test
from faceloss.errors import BadInput

NAMES = ("African", "Asian")
TEXTS, BINS = "txts/{African,Asian}/{African,Asian}_pairs.txt", "{African,Asian}_test.bin"


@pytest.fixture
def rfw(tmp_path, picture):
    """As RFW comes: lists without a first line, images in a folder for each group. "m.01" is in both, another image."""
    number = 0
    for name in NAMES:
        for person in ("m.01", f"m.{name}"):
            (tmp_path / "data" / name / person).mkdir(parents=True)
            for i in range(1, 3):
                picture(number).save(tmp_path / "data" / name / person / f"{person}_{i:04d}.png")
                number += 1
        (tmp_path / "txts" / name).mkdir(parents=True)
        lines = ["m.01\t1\t2", f"m.{name}\t2\t1", f"m.01\t1\tm.{name}\t1", f"m.{name}\t2\tm.01\t2"] * 5
        (tmp_path / "txts" / name / f"{name}_pairs.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / "txts" / name / f"{name}_people.txt").write_text("m.01\t2\n")
        images = [file.read_bytes() for file in sorted((tmp_path / "data" / name).rglob("*.png"))]
        pairs = [images[i] for a, b in ((0, 1), (2, 3), (0, 2), (3, 1)) * 5 for i in (a, b)]
        (tmp_path / f"{name}_test.bin").write_bytes(pickle.dumps((pairs, [True, True, False, False] * 5)))
    return tmp_path


@pytest.mark.parametrize("given", [TEXTS, BINS])
def test_every_image_is_of_the_group_whose_list_has_it(rfw, picture, given):
    pairs = load_test(str(rfw / given), images=rfw / "data" if given is TEXTS else None, size=32)
    assert isinstance(pairs, PairList)
    assert len(pairs) == 40
    assert pairs.left_out == ()
    assert pairs.same.tolist() == [True, True, False, False] * 10
    assert pairs.fold.tolist() == [*np.repeat(range(10), 2)] * 2  # each list has folds of its own
    groups = np.array(pairs.faces.groups)
    assert groups[pairs.first].tolist() == groups[pairs.second].tolist() == ["African"] * 20 + ["Asian"] * 20
    assert len(pairs.faces) == 8  # the images of "m.01" are others in each group
    for row, numbers in ((0, (0, 1)), (2, (0, 2)), (20, (4, 5)), (23, (7, 5))):
        for side, number in zip((pairs.first, pairs.second), numbers, strict=True):
            np.testing.assert_array_equal(pairs.faces.pixels[side[row]], np.asarray(picture(number)))
    people = ("m.01", "m.African", "m.Asian") if given is TEXTS else ("",)
    assert pairs.faces.identities == people
    assert all(file.startswith(f"{group}/") for file, group in zip(pairs.faces.files, pairs.faces.groups, strict=True))


def test_lists_over_one_folder_and_with_a_first_line(rfw):
    """Where images have no folder for each group, all are looked for in the same one."""
    whole = rfw / "whole"
    whole.mkdir()
    for name in NAMES:
        (rfw / "data" / name / f"m.{name}").rename(whole / f"m.{name}")
        (rfw / f"{name}.txt").write_text(f"1\nm.{name} 1 2\nm.African 1 m.Asian 2\n")
    pairs = load_test(str(rfw / "{African,Asian}.txt"), images=whole, size=32)
    assert pairs.same.tolist() == [True, False, True, False]
    first = "African/m.African/m.African_000"
    assert sorted(pairs.faces.files)[:2] == [f"{first}1.png", f"{first}2.png"]


def test_what_a_path_names():
    assert {name: str(file) for name, file in group_lists(TEXTS).items()} == {
        name: f"txts/{name}/{name}_pairs.txt" for name in NAMES
    }
    assert list(group_lists("{ x ,y,z}.csv")) == ["x", "y", "z"]
    assert group_lists("rfw/African_test.bin") == group_lists("shards/{000..004}.tar") == {}
    assert str(short(TEXTS)) == "txts/*/*_pairs.txt"
    assert str(short("lfw/pairs.txt")) == "lfw/pairs.txt"


def test_a_file_that_is_named_so_is_that_file(tmp_path, rfw):
    file = tmp_path / "a{b,c}.bin"
    file.write_bytes((rfw / "Asian_test.bin").read_bytes())
    assert group_lists(file) == {}
    assert load_test(file, size=32).faces.groups == ("",) * 4


@pytest.mark.parametrize("given", ["{a,b}/{a,c}.bin", "{a,,b}.bin", "{a,a}.bin"])
def test_braces_that_name_no_groups(given):
    with pytest.raises(BadInput, match="braces hold each group once"):
        load_test(given, size=32)


def test_lists_that_cannot_be_used(rfw):
    with pytest.raises(BadInput, match=r"There is no pair file .*Indian_test.bin"):
        load_test(str(rfw / "{African,Indian}_test.bin"), size=32)
    for file in (rfw / "data" / "Asian").rglob("*.png"):
        file.write_bytes(b"<html>")
    with pytest.raises(BadInput, match=r"20 pairs of Asian, but 20 cannot be compared .* a web page"):
        load_test(str(rfw / TEXTS), images=rfw / "data", size=32)
    for number, name in enumerate(NAMES):
        folder = rfw / "apart" / name
        folder.mkdir(parents=True)
        (folder / "t.bin").write_bytes((rfw / f"{name}_test.bin").read_bytes())
        contract = dict.fromkeys(NEEDED, "?") | {"contract": 1, "size": {"height": 112 + number, "width": 112}}
        (folder / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(BadInput, match=r"Asian.t\.bin was prepared otherwise than .*size \(112 x 113"):
        load_test(str(rfw / "apart" / "{African,Asian}" / "t.bin"), size=32)
