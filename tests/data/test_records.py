"""Record files, written here by an encoder of their own: plainly, from the description of the format."""

import struct
from pathlib import Path

import numpy as np
import pytest

from faceloss.data import records
from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.errors import BadInput

MAGIC = b"\x0a\x23\xd7\xce"


def record(label, number, image):
    """IRHeader and image; several labels follow the header, and their count is its first word."""
    if isinstance(label, tuple):
        return struct.pack("<IfQQ", len(label), 0.0, number, 0) + struct.pack(f"<{len(label)}f", *label) + image
    return struct.pack("<IfQQ", 0, label, number, 0) + image


def encode(content):
    """A record as RecordIO stores it: cut at every aligned magic, which itself is left out."""
    cuts = [i for i in range(0, len(content) - 3, 4) if content[i : i + 4] == MAGIC]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(content)]
    coded = b""
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        flag = 0 if not cuts else 1 if i == 0 else 3 if i == len(cuts) else 2
        part = content[start:end]
        coded += MAGIC + struct.pack("<I", flag << 29 | len(part)) + part + b"\0" * (-len(part) % 4)
    return coded


def write(folder, records, order=None, name="train"):
    """``records``: content by key; written in ``order``, as InsightFace writes its record 0 last."""
    folder.mkdir(exist_ok=True)
    data, index = b"", {}
    for key in order or list(records):
        index[key] = len(data)
        data += encode(records[key])
    (folder / f"{name}.rec").write_bytes(data)
    (folder / f"{name}.idx").write_text("".join(f"{key}\t{offset}\n" for key, offset in sorted(index.items())))
    return folder / f"{name}.rec"


LABELS = [10, 10, 2, 0, 2, 10]  # not in order, and 10 sorts before 2 as text


@pytest.fixture
def insightface(tmp_path, png):
    """Record 0, images 1..6 (some with landmarks behind the class), identities 7..9; record 0 is written last."""
    records = {0: record((7.0, 10.0), 0, b"")}
    for key, label in enumerate(LABELS, 1):
        records[key] = record((float(label), 30.5, 51.25) if key % 2 else float(label), key, png(key))
    for key, label in enumerate(sorted(set(LABELS)), 7):
        rows = [k for k, own in enumerate(LABELS, 1) if own == label]
        records[key] = record((float(rows[0]), float(rows[-1] + 1)), key, b"")
    return write(tmp_path / "faces_test", records, [*range(1, 10), 0])


def test_insightface_records_read_back(insightface, picture):
    faces = load_faces(insightface, size=32)
    assert faces.name == "faces_test"
    assert faces.files == ("1", "2", "3", "4", "5", "6")
    assert faces.identities == ("00", "02", "10")
    assert [int(faces.identities[label]) for label in faces.labels] == LABELS
    assert faces.refused == ()
    for row in range(6):
        np.testing.assert_array_equal(faces.pixels[row], np.asarray(picture(row + 1)))
    assert load_faces(insightface.parent, size=32).digest == faces.digest  # the folder is enough


def test_plain_records_without_tables_or_index(tmp_path, png, picture):
    path = write(tmp_path / "set", {key: record(float(key // 2), key, png(key)) for key in range(12)}, name="mine")
    with_index = load_faces(path, size=32)
    path.with_suffix(".idx").unlink()
    faces = load_faces(path, size=32)
    assert faces.name == "mine"
    assert faces.files == tuple(f"{key:02d}" for key in range(12))
    assert faces.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    np.testing.assert_array_equal(faces.pixels[11], np.asarray(picture(11)))
    assert with_index.digest == faces.digest


@pytest.mark.parametrize("shift", range(4))
def test_the_magic_inside_an_image_is_put_back(tmp_path, png, shift):
    """Three aligned magics, two of them neighbors, and (by ``shift``) unaligned ones: bytes must come back exactly."""
    image = png(1)
    image += b"\0" * (-(24 + len(image)) % 4 + shift) + MAGIC + MAGIC + b"between" + b"\0" + MAGIC + b"end"
    content = record(3.0, 0, image)
    assert encode(content)[7] >> 5 == (shift == 0)  # cut, or whole
    path = write(tmp_path / "set", {0: content, 1: record(3.0, 1, png(2))})
    source = open_source(path)
    assert [entry.read() for entry in source.entries] == [image, png(2)]
    assert [entry.identity for entry in source.entries] == ["3", "3"]


def test_a_magic_in_the_header_and_the_labels_is_put_back_too(tmp_path, png):
    """A record number and a float whose bytes are the magic: the record is cut before and inside its labels."""
    odd = struct.unpack("<f", MAGIC)[0]
    content = record((5.0, odd, 1.0), 0xCED7230A, png(1))
    assert encode(content)[7] >> 5 == 1
    (entry,) = open_source(write(tmp_path / "set", {0: content})).entries
    assert entry.identity == "5"
    assert entry.read() == png(1)


@pytest.mark.faults
def test_files_that_are_cut_garbled_or_do_not_fit(insightface, tmp_path, png):
    whole, listed = insightface.read_bytes(), insightface.with_suffix(".idx").read_text()
    lines = listed.splitlines(keepends=True)

    def told(data=whole, index=listed):
        insightface.write_bytes(data)
        insightface.with_suffix(".idx").write_text(index)
        with pytest.raises(BadInput) as error:
            load_faces(insightface, size=32)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "is empty" in told(b"")
    for cut in (4, 100, len(whole) // 2, len(whole) - 1):
        assert "it was cut" in told(whole[:cut])
    second = int(lines[2].split("\t")[1])
    assert f"garbled at byte {second}" in told(whole[:second] + b"\0" + whole[second + 1 :])
    assert "garbled at byte 0" in told(b"this is not a record file")
    assert "shorter than its own labels" in told(whole[:8] + b"\xff\xff\0\0" + whole[12:])
    assert "which is no class number" in told(whole[:32] + struct.pack("<f", float("nan")) + whole[36:])
    assert "do not belong together" in told(index="".join(lines[:-1]))
    assert "9 of them agree" in told(index=listed.replace(lines[3], f"3\t{second + 4}\n"))
    assert "is no index" in told(index=listed + "gibberish\n")
    assert "is no index" in told(index=listed + "3\t0\n")
    short = record((9.0, 12.0), 0, b"")
    zero = int(lines[0].split("\t")[1])
    assert "says that it holds 8 images but has 6" in told(whole[:zero] + encode(short))
    only = write(tmp_path / "tables", {0: record((1.0, 1.0), 0, b"")})
    with pytest.raises(BadInput, match="only tables"):
        load_faces(only, size=32)


@pytest.mark.faults
def test_an_image_that_is_broken_or_missing_is_refused(tmp_path, png):
    records = {0: record(0.0, 0, png(0)), 1: record(0.0, 1, b""), 2: record(1.0, 2, png(2)[:60])}
    faces = load_faces(write(tmp_path / "set", records), size=32)
    assert faces.files == ("0",)
    assert {r.file: r.reason for r in faces.refused} == {"1": "empty file", "2": "truncated or corrupt"}


def test_the_number_of_images_is_a_float_that_rounds():
    path = Path("glint") / "train.rec"
    records._check_count(path, 2**24 + 1, float(np.float32(2**24 + 1)))
    with pytest.raises(BadInput, match="but has"):
        records._check_count(path, 2**24 + 5, float(np.float32(2**24 + 1)))
    with pytest.raises(BadInput, match="but has"):
        records._check_count(path, 1000, 999.0)
