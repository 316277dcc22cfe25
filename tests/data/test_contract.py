"""The preprocessing contract is found where a set lies, travels with it, and tells what two sets do differently."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from faceloss.data.clean import apply
from faceloss.data.contract import BUILTIN, NAME, contract_of, decisive, differences, must_agree, read_contract, unknown
from faceloss.data.export import export_folder, export_shards
from faceloss.data.load import load_faces, open_named
from faceloss.data.pairs import load_pairs
from faceloss.data.photographs.contract import contract
from faceloss.errors import BadInput


def prepared(size: str = "112", **changes: object) -> dict[str, object]:
    """What `prepare` writes, with changes."""
    return {**contract(size, "png", {"name": "mtcnn"}, {"many": "largest"}), **changes}


@pytest.fixture
def crops(folder) -> Path:
    """Two people with a contract."""
    root = folder(ann=3, bob=3)
    (root / NAME).write_text(json.dumps(prepared()))
    return root


def packed(root: Path, out: Path, inside: str = "") -> Path:
    with tarfile.open(out, "w") as archive:
        archive.add(root, inside or ".")
    return out


def test_it_is_found_where_the_set_lies(crops, tmp_path):
    known = prepared()
    table = crops / "some.csv"
    table.write_text("file,identity\nann/00.png,ann\nbob/00.png,bob\n")
    export_shards(open_named(crops), tmp_path / "shards", per_shard=2, contract=known)
    export_folder(open_named(crops), tmp_path / "copy", contract=known)
    pairs = crops / "pairs.csv"
    pairs.write_text("a,b,same\nann/00.png,ann/01.png,1\nann/00.png,bob/01.png,0\n")
    places = [
        crops, table, packed(crops, tmp_path / "top.tar"), packed(crops, tmp_path / "deep.tar", "crops"),
        tmp_path / "shards", tmp_path / "shards" / "{00000..00002}.tar", tmp_path / "shards" / "00000.tar",
        tmp_path / "copy",
    ]  # fmt: skip
    for place in places:
        faces = load_faces(place, size=16)
        assert faces.contract == known, place
        assert faces.take([0, 1]).contract == known
        assert load_faces(place, size=16, stream=True).contract == known
    assert load_pairs(pairs, size=16).faces.contract == known
    (tmp_path / "lists").mkdir()
    shutil.copy(pairs, tmp_path / "lists" / "pairs.csv")
    assert load_pairs(tmp_path / "lists" / "pairs.csv", images=crops, size=16).faces.contract == known
    assert contract_of("builtin", open_named("builtin")) == BUILTIN


def test_what_comes_without_is_unknown_and_never_guessed(crops, tmp_path):
    (crops / NAME).unlink()
    assert load_faces(crops, size=16).contract is None
    (crops / "ann" / NAME).write_text(json.dumps(prepared()))  # of one person only
    (crops / "bob" / NAME).write_text(json.dumps(prepared("96")))
    assert load_faces(crops, size=16).contract is None
    assert load_faces(packed(crops, tmp_path / "two.tar"), size=16).contract is None  # which of the two?
    export_folder(open_named(crops), tmp_path / "copy")
    assert not (tmp_path / "copy" / NAME).exists()
    assert unknown({"a": None, "b": prepared(), "c": None}).startswith("It is not known how the faces of a, c were")
    assert unknown({"b": prepared()}) == ""


def test_one_that_cannot_be_kept_is_refused(crops, tmp_path):
    for broken, sentence in (
        ("{", "cannot be read as a preprocessing contract"),
        ('"a treaty"', "another name if it is something else"),
        (json.dumps({k: v for k, v in prepared().items() if k != "template"}), "does not say template"),
    ):
        (crops / NAME).write_text(broken)
        for place in (crops, packed(crops, tmp_path / "crops.tar")):
            with pytest.raises(BadInput, match=sentence):
                load_faces(place, size=16)
    assert read_contract(tmp_path) is None


def test_what_differs_is_named():
    ours = prepared()
    assert differences(ours, prepared()) == []
    # The detector, the choice of faces and the file format do not decide about what a network is fed with.
    assert differences(ours, prepared(image="jpeg", detector={"name": "yunet"}, selection={"many": "all"})) == []
    assert differences(ours, prepared("64")) == ["size (112 x 112, not 64 x 64)"]
    assert differences(ours, prepared("112x96")) == ["size (112 x 112, not 96 x 112)"]
    moved = json.loads(json.dumps(ours["template"]))
    moved["landmarks"][0][0] += 8
    named = {**moved, "name": "another", "version": 2}
    for field, value, words in (
        ("template", named, "template (arcface 1, not another 2)"),
        ("template", moved, "template (arcface 1, not of another kind)"),
        ("channels", "BGR", "channels (RGB, not BGR)"),
        ("interpolation", "nearest", "interpolation (1: mean over k x k pixels, "),
        ("normalization", {"mean": 0, "std": 255}, 'normalization ({"mean": 127.5, "std": 127.5, '),
        ("flip", "none", "flip ("),
        ("outside", "white", "outside (black, not white)"),
        ("transform", "affine", "transform ("),
        ("decoding", "0", "decoding ("),
    ):
        (found,) = differences(ours, prepared(**{field: value}))
        assert found.startswith(words)
    with pytest.raises(
        BadInput, match=r"^b was prepared otherwise than a: size .*; channels \(BGR, not RGB\)\. Do so\.$"
    ):
        must_agree("b", prepared("64", channels="BGR"), "a", ours, "Do so.")
    must_agree("b", None, "a", ours, "")
    assert "detector" not in decisive(ours)
    assert decisive(json.loads(json.dumps(decisive(ours)))) == decisive(ours)
    assert differences(decisive(ours), json.loads(json.dumps(ours))) == []


def test_a_cleaned_list_keeps_it(crops, tmp_path):
    faces = load_faces(crops, size=16)
    (tmp_path / "out").mkdir()
    apply(faces, crops, [], tmp_path / "out" / "clean.csv")
    again = load_faces(tmp_path / "out" / "clean.csv", size=16)
    assert again.contract == faces.contract
    assert np.array_equal(again.pixels, faces.pixels)
    (tmp_path / "out" / NAME).write_text(json.dumps(prepared("64")))
    with pytest.raises(BadInput, match="is of other faces"):
        apply(faces, crops, [], tmp_path / "out" / "again.csv")
