"""Hugging Face datasets on disk, laid out here as ``save_to_disk`` does; needs the extra `arrow`."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.errors import BadInput

LABELS = [2, 0, 1, 0, 1]  # no two rows of a batch, nor the firsts of two batches, alike
NAMES = ["Zoe", "Ann", "Max"]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}


@pytest.fixture
def save(png):
    if importlib.util.find_spec("pyarrow") is None:
        pytest.skip("THE EXTRA arrow IS ABSENT (no pyarrow): this test was not run")
    import pyarrow as pa

    one = ("data-00000-of-00001.arrow",)

    def saved(folder, labels=LABELS, features=FEATURES, label="label", batch=2, files=one, encoded=bytes):
        """Pictures 0, 1, ... with these labels, in batches, as many to each file."""
        folder.mkdir(parents=True, exist_ok=True)
        images = [{"bytes": encoded(png(number)), "path": None} for number in range(len(labels))]
        each = -(-len(labels) // len(files))
        for number, name in enumerate(files):
            rows = slice(number * each, (number + 1) * each)
            table = pa.table({label: labels[rows], "image": images[rows]})
            with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=batch)
        (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in files]}))
        return folder

    return saved


def test_a_dataset_reads_back(save, tmp_path, picture):
    faces = load_faces(save(tmp_path / "set", files=("b.arrow", "a.arrow")), size=32)
    assert faces.name == "set"
    assert faces.files == ("0", "1", "2", "3", "4")
    assert [faces.identities[label] for label in faces.labels] == [NAMES[label] for label in LABELS]
    for row in range(5):
        np.testing.assert_array_equal(faces.pixels[row], np.asarray(picture(row)))
    (tmp_path / "set" / "state.json").unlink()  # then the files come in the order of their names: b held 0, 1, 2
    assert load_faces(tmp_path / "set", size=32).hashes == faces.hashes[3:] + faces.hashes[:3]


def test_splits_and_labels_without_names(save, tmp_path):
    root = tmp_path / "both"
    save(root / "train", [10, 9, 10], {}, "identity")
    save(root / "validation", [9, None], {}, "identity")
    (root / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    faces = load_faces(root, size=32)
    assert faces.files == ("train/0", "train/1", "train/2", "validation/0")
    assert faces.splits == ("train", "train", "train", "val")
    assert [faces.identities[label] for label in faces.labels] == ["10", "09", "10", "09"]
    assert [tuple(r) for r in faces.refused] == [("validation/1", "a row without an identity", "", "val")]


@pytest.mark.faults
def test_datasets_that_cannot_be_read(save, tmp_path):
    def told(sentence):
        with pytest.raises(BadInput, match=sentence):
            open_source(tmp_path / "set")

    path = save(tmp_path / "set") / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    told("has no end|no readable Arrow stream")
    path.write_bytes(whole[:-8])  # between two messages: pyarrow itself reads this without a word
    told("has no end: it was cut")
    path.write_bytes(b"x" * 100 + whole[-8:])
    told("no readable Arrow stream")
    path.unlink()
    told("No such file")
    save(tmp_path / "set", label="who")
    told("has the columns who, image; it needs one with images")
    save(tmp_path / "set", [0, 7])
    told("has the label 7, but only 3 names")
    save(tmp_path / "set", encoded=str)
    told("The column image of .* holds no encoded images")
    save(tmp_path / "set", [0.5, 1.5], {})
    told("neither a number nor a name")
    save(tmp_path / "set", [-1, -1])
    told("holds no labeled images")
    save(tmp_path / "set")
    (tmp_path / "set" / "state.json").write_text('{"_indices_data_files": [{"filename": "i.arrow"}]}')
    told(r"flatten_indices\(\)")
    (tmp_path / "set" / "state.json").write_text('{"_data_files": [1]}')
    told("does not name its files")
    for text in ("{", "[" * 100_000):
        (tmp_path / "set" / "dataset_info.json").write_text(text)
        told("is garbled")


def test_without_the_extra_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "x.arrow").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"needs the extra arrow; install it with: pip install 'faceloss\[arrow\]'"):
        open_source(tmp_path)
