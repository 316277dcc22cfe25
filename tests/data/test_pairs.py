"""Pair lists: .bin without unpickling, LFW text, CSV."""

import os
import pickle
import shutil
import struct

import numpy as np
import pytest

from faceloss.data.faces import Faces, PairList
from faceloss.data.pairs import consecutive_folds, load_pairs, load_test
from faceloss.errors import BadInput


@pytest.fixture
def bins(png):
    """12 pairs over 13 different images; image 0 is in every pair."""
    return [png(0 if side == 0 else i + 1) for i in range(12) for side in range(2)]


SAME = [i % 3 == 0 for i in range(12)]


def check(pairs, png, picture):
    assert isinstance(pairs, PairList)
    assert pairs.same.tolist() == SAME
    assert pairs.fold.tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert pairs.faces.identities == ("",)
    assert len(pairs.faces) == 13
    for i in range(12):
        np.testing.assert_array_equal(pairs.faces.pixels[pairs.first[i]], np.asarray(picture(0)))
        np.testing.assert_array_equal(pairs.faces.pixels[pairs.second[i]], np.asarray(picture(i + 1)))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["bytes", "arrays", "columns", "answers"])
def test_bin_files_of_every_age(tmp_path, bins, png, picture, protocol, form):
    images, same = bins, SAME
    if form == "arrays":
        images = [np.frombuffer(data, np.uint8) for data in bins]
    elif form == "columns":
        images = [np.frombuffer(data, np.uint8).reshape(-1, 1).copy() for data in bins]
    elif form == "answers":
        same = [np.bool_(value) for value in SAME] if protocol % 2 else np.array(SAME)
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((images, same), protocol=protocol))
    check(load_test(path, size=32), png, picture)


def test_bin_files_of_python_2(tmp_path, bins, png, picture):
    data = b"\x80\x02]("  # a list of byte strings as Python 2 wrote them, and a list of booleans
    for image in bins:
        data += b"T" + struct.pack("<i", len(image)) + image
    data += b"e](" + b"".join(b"\x88" if same else b"\x89" for same in SAME) + b"e\x86."
    path = tmp_path / "old.bin"
    path.write_bytes(data)
    check(load_pairs(path, size=32), png, picture)


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.faults
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_bin_runs_nothing(tmp_path, bins, protocol):
    trap = tmp_path / "executed"
    attacks = [
        Evil(exec, f"open({str(trap)!r}, 'w').close()"),
        Evil(open, str(trap), "w"),
        Evil(os.system, f"touch {trap}"),
        Evil(np.save, str(trap), np.zeros(3)),
    ]
    for attack in attacks:
        path = tmp_path / "evil.bin"
        path.write_bytes(pickle.dumps((bins, SAME, attack), protocol=protocol))
        with pytest.raises(BadInput, match="which no pair file needs"):
            load_pairs(path, size=32)
        path.write_bytes(pickle.dumps(([attack, *bins[1:]], SAME), protocol=protocol))
        with pytest.raises(BadInput, match="which no pair file needs"):
            load_pairs(path, size=32)
        assert not trap.exists()
    pickle.loads(pickle.dumps(attacks[0]))
    assert trap.exists()  # the trap does work when somebody unpickles it
    trap.unlink()


@pytest.mark.faults
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle at all",
        pickle.dumps(5),
        pickle.dumps(([], [])),
        pickle.dumps(([b"x"] * 3, [True])),
        pickle.dumps(([b"x"] * 2, [7])),
        pickle.dumps((["text"] * 2, [True])),
        pickle.dumps(([np.zeros((8, 8, 3), np.uint8)] * 2, [True])),
        pickle.dumps(([np.zeros(8, np.float32)] * 2, [True])),
        pickle.dumps(([b"x"] * 2, [True]))[:-5],
        b"\x80\x02]r\xff\xff\xff\x7f.",  # asks the reader for a table of 2 billion entries
        b"\x80\x05\x96\x00\x00\x00\x00\x00\x10\x00\x00.",  # announces 17 TB of bytes
    ],
)
def test_bin_files_that_are_none(tmp_path, data):
    path = tmp_path / "set.bin"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"set\.bin .*list of encoded images"):
        load_pairs(path, size=32)


def test_pairs_with_a_broken_image_are_left_out(tmp_path, bins):
    bins[1] = b""
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((bins, SAME)))
    pairs = load_pairs(path, size=32)
    assert len(pairs) == 11
    assert [left.reason for left in pairs.left_out] == ["an image of the pair cannot be used"]
    assert [refused.reason for refused in pairs.faces.refused] == ["empty file"]
    bins[0::2] = [b"<html>"] * 12  # the one that is in every pair
    bins[0:12:2] = [b"<html>"] * 6
    path.write_bytes(pickle.dumps((bins, SAME)))
    with pytest.raises(BadInput, match=r"12 cannot be compared .* a web page"):
        load_pairs(path, size=32)


@pytest.fixture
def lfw(tmp_path, picture):
    """Two folds of 2 x 2 pairs over 4 people, with spaces in a name."""
    number = 0
    for name, count in (("Ann_Lee", 3), ("Bob", 2), ("Cy Z", 2), ("Dee", 2), ("Unused", 1)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(1, count + 1):
            picture(number).save(tmp_path / "images" / name / f"{name}_{i:04d}.{'jpg' if i % 2 else 'png'}")
            number += 1
    lines = ["2\t2", "Ann_Lee\t1\t2", "Bob\t1\t2", "Ann_Lee\t1\tBob\t1", "Cy Z\t1\tDee\t2"]
    lines += ["Cy Z\t1\t2", "Dee\t2\t1", "Ann_Lee\t3\tDee\t1", "Bob\t2\tCy Z\t2"]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_lfw_list(lfw):
    pairs = load_test(lfw / "pairs.txt", images=lfw / "images", size=32)
    assert isinstance(pairs, PairList)
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.fold.tolist() == [0] * 4 + [1] * 4
    assert pairs.left_out == ()
    assert pairs.faces.identities == ("Ann_Lee", "Bob", "Cy Z", "Dee")
    named = [pairs.faces.identities[label] for label in pairs.faces.labels]
    for first, second, same in zip(pairs.first, pairs.second, pairs.same, strict=True):
        assert (named[first] == named[second]) == same
        assert first != second
    assert pairs.faces.files[pairs.second[3]] == "Dee/Dee_0002.png"
    beside = load_test(lfw / "pairs.txt", size=32)  # by default the images lie beside the list
    assert isinstance(beside, PairList)
    assert beside.faces.hashes == pairs.faces.hashes


def test_lfw_list_with_spaces_and_a_single_fold(lfw):
    (lfw / "dev.txt").write_text("2\nAnn_Lee 1 2\nBob  1 2\n\nAnn_Lee 1 Bob 1\nBob 2 Dee 1\n")
    pairs = load_pairs(lfw / "dev.txt", images=lfw / "images", size=32)
    assert pairs.same.tolist() == [True, True, False, False]
    assert set(pairs.fold.tolist()) == {0}


def test_csv_list(lfw):
    (lfw / "list.csv").write_text(
        "fold,a,b,same,judge\n0,Ann_Lee_0001,Ann_Lee_0002,1,\n0,Ann_Lee_0001,Bob/Bob_0001.jpg,0,0.3\n"
        "1,images/Dee/Dee_0001.jpg,Dee_0002,true,\n1,Bob/Bob_0002,Cy Z_0002,false,\n"
    )
    pairs = load_test(lfw / "list.csv", images=lfw / "images", size=32)
    assert isinstance(pairs, PairList)
    assert pairs.same.tolist() == [True, False, False]
    assert pairs.fold.tolist() == [0, 0, 1]
    assert [left.reason for left in pairs.left_out] == ["an image of the pair is missing"]  # images/... lies higher
    assert isinstance(load_test(lfw / "images", size=32), Faces)


def test_flat_folder_and_ambiguous_names(lfw):
    flat = lfw / "flat"
    flat.mkdir()
    for path in (lfw / "images").rglob("*.*g"):
        shutil.copy(path, flat / path.name)
    pairs = lfw / "list.csv"
    pairs.write_text("a,b,same\nBob_0001,Bob_0002,1\nDee_0001,Bob_0001,0\n")
    assert load_pairs(pairs, images=flat, size=32).faces.identities == ("",)
    shutil.copy(flat / "Dee_0002.png", flat / "Dee_0001.webp")
    listed = load_pairs(pairs, images=flat, size=32)
    assert len(listed) == 1
    assert len(listed.left_out) == 1


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("p.txt", "", "first line"),
        ("p.txt", "Ann_Lee 1\n", "first line"),
        ("p.txt", "Ann_Lee 1 2\n1 1\n", "line 2: expected .name i j."),
        ("p.txt", "1 2\nAnn_Lee 1 2\n", "announces 1 x 2 x 2 pairs but holds 1"),
        ("p.txt", "1 1\nAnn_Lee 1 2\nBob one Dee 1\n", "line 3: expected 'name i j'"),
        ("p.txt", "1 1\nAnn_Lee 1 2\nBob 1 Dee " + "9" * 5000 + "\n", "line 3"),
        ("p.txt", "1 1\nNo 1 2\nBob 1 Nobody 1\n", "the images of 2 are missing"),
        ("p.csv", "a,b\nx,y\n", "needs rows with a, b and same"),
        ("p.csv", "a,b,same\n", "has 0 rows"),
        ("p.csv", "a,b,same\nx,y,maybe\n", "row 2: same must be 1 or 0"),
        ("p.csv", "a,b,same,fold\nx,y,1,-1\n", "row 2"),
    ],
)
def test_lists_that_cannot_be_used(lfw, name, text, sentence):
    (lfw / name).write_text(text)
    with pytest.raises(BadInput, match=sentence):
        load_pairs(lfw / name, images=lfw / "images", size=32)


def test_a_missing_list(tmp_path):
    with pytest.raises(BadInput, match="There is no pair file"):
        load_pairs(tmp_path / "gone.bin", size=32)


def test_folds_are_consecutive_and_even():
    assert consecutive_folds(20) == [i // 2 for i in range(20)]
    assert np.bincount(consecutive_folds(6000)).tolist() == [600] * 10
    assert np.bincount(consecutive_folds(23)).tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
