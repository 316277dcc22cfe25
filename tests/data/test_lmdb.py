"""LMDB databases, written here as the field lays them out; needs the extra `lmdb`."""

import importlib.util
import os
import sys

import numpy as np
import pytest

from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.errors import BadInput

LABELS = [10, 2, 10, 2, 3]


@pytest.fixture
def write(tmp_path):
    if importlib.util.find_spec("lmdb") is None:
        pytest.skip("THE EXTRA lmdb IS ABSENT: this test was not run")
    import lmdb

    def written(records, name="set", subdir=True):
        database = lmdb.open(str(tmp_path / name), map_size=1 << 24, subdir=subdir, lock=False)
        with database.begin(write=True) as writing:
            for key, value in records.items():
                writing.put(key.encode(), value)
        database.close()
        return tmp_path / name

    return written


def check(faces, picture, numbers):
    assert faces.refused == ()
    assert [int(faces.identities[label]) for label in faces.labels] == [LABELS[number] for number in numbers]
    for row, number in enumerate(numbers):
        np.testing.assert_array_equal(faces.pixels[row], np.asarray(picture(number)))


def test_keys_and_labels_in_a_text_file(write, png, picture):
    path = write({f"a b/{number}.jpg": png(number) for number in range(5)} | {"unused": b"x"})
    lines = "".join(f"a b/{number}.jpg {label}\n" for number, label in enumerate(LABELS))
    (path.parent / "set.txt").write_text(lines)
    before = sorted(path.iterdir())
    held = open_source(path)  # keeps the database open, which LMDB allows only once in a process
    faces = load_faces(path, size=32)
    assert [entry.file for entry in held.entries] == list(faces.files)
    check(faces, picture, range(5))
    assert faces.identities == ("02", "03", "10")
    assert sorted(path.iterdir()) == before  # no lock file
    os.rename(path.parent / "set.txt", path / "train.txt")
    assert load_faces(path, size=32).digest == faces.digest
    (path / "train.txt").write_text(lines + "gone.jpg 7\na b/1.jpg 7\n")
    assert {r.file: r.reason for r in load_faces(path, size=32).refused} == {
        "gone.jpg": "no such file",
        "a b/1.jpg": "listed twice",
    }


@pytest.mark.parametrize("subdir", [True, False])
def test_numbered_images_and_labels(write, png, picture, subdir):
    records = {f"image-{number + 1:09d}": png(number) for number in range(5)}
    records |= {f"label-{number:09d}": str(label).encode() for number, label in enumerate(LABELS, 1)}
    path = write(records | {"num-samples": b"5"}, "set.lmdb", subdir)
    faces = load_faces(path, size=32)
    check(faces, picture, range(5))
    assert faces.name == "set"


def test_keys_that_are_paths(write, png, picture):
    faces = load_faces(write({f"{label}/{n}": png(n) for n, label in enumerate(LABELS)}), size=32)
    check(faces, picture, [0, 2, 1, 3, 4])  # 10, 10, 2, 2, 3: by key


@pytest.mark.faults
def test_databases_that_cannot_be_read(write, png):
    def told(path, sentence):
        with pytest.raises(BadInput, match=sentence):
            open_source(path)

    told(write({"1": png(1), "2": png(2)}, "plain"), "do not say who is shown; put a list of them beside it, plain.txt")
    told(write({"num-samples": b"9", "image-000000001": png(1)}, "few"), "says that it holds '9' images")
    told(write({"num-samples": b"1", "image-000000001": png(1)}, "bare"), "has no label-000000001")
    told(write({"__len__": b"\x80\x03K\x01.", "0": b"\x80\x03."}, "pickled"), "do not say who is shown")
    path = write({f"a/{number}": png(number) for number in range(20)}, "cut")
    (path / "list.txt").write_text("alone\n")
    told(path, "Line 1 of .* is no key with its label")
    (path / "list.txt").write_text("")
    told(path, "lists no images")
    (path / "more.txt").write_text("")
    told(path, "2 lists of keys")
    (path / "list.txt").unlink()
    (path / "more.txt").unlink()
    held = open_source(path)
    with open(path / "data.mdb", "r+b") as file:
        file.seek(8192)  # behind the two pages with the heads
        file.write(b"x" * (path / "data.mdb").stat().st_size)
    with pytest.raises(OSError, match="MDB_"):
        held.entries[0].read()
    del held  # else the broken database stays open
    told(path, "is garbled")
    with open(path / "data.mdb", "r+b") as file:
        file.truncate(9000)
    told(path, "was cut")
    (path / "data.mdb").write_bytes(b"x" * 9000)
    told(path, "no readable LMDB database")


def test_without_the_extra_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "data.mdb").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(BadInput, match=r"needs the extra lmdb; install it with: pip install 'faceloss\[lmdb\]'"):
        open_source(tmp_path)
