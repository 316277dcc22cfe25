"""From a folder of photographs to crops and a ledger: choices, names, the contract, what is refused."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloss.data.contract import read_contract
from faceloss.data.load import load_faces
from faceloss.data.photographs.ledger import COLUMNS
from faceloss.data.photographs.prepare import crop_names, prepare, read_ledger
from faceloss.data.photographs.select import Selection, parse_smallest, policy
from faceloss.errors import BadInput, CouldNotFinish

pytestmark = pytest.mark.usefixtures("detection")

TWO = ((10, 20, 80), (105, 30, 70))  # the larger at the left; the smaller nearer the center of 220 x 130


@pytest.fixture
def album(tmp_path, photograph):
    """Three people with two photographs each, one of them with two faces."""
    for number in range(6):
        (tmp_path / "album" / f"person{number // 2}").mkdir(parents=True, exist_ok=True)
        faces = TWO if number == 3 else ((40, 30, 100),)
        photograph(number, *faces).save(tmp_path / "album" / f"person{number // 2}" / f"{number}.png")
    return tmp_path / "album"


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def rows(out: Path) -> dict[str, dict]:
    return {row["file"]: row for row in read_ledger(out / "ledger.jsonl")}


def test_an_album_becomes_a_set_of_faces(album, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in album.rglob("*.png")}
    steps = []
    done = prepare(album, tmp_path / "out", progress=lambda *step: steps.append(step))
    assert done == (6, 6, 0, 0, 6, 3, {})
    assert steps[0] == ("preparing photographs", 0, 6)
    assert steps[-1] == ("preparing photographs", 6, 6)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in album.rglob("*.png")} == before
    assert not (tmp_path / "out" / ".work").exists()
    faces = load_faces(tmp_path / "out", size=112)
    assert faces.identities == ("person0", "person1", "person2")
    assert len(faces) == 6
    # The crop is what the ledger says it is.
    for file, row in rows(tmp_path / "out").items():
        (kept,) = (face for face in row["faces"] if face["crop"])
        assert faces.hashes[faces.files.index(kept["crop"])] == kept["sha256"]
        assert kept["crop"] == f"images/{file}"
        assert opened(tmp_path / "out" / kept["crop"]).size == (112, 112)
    with open(tmp_path / "out" / "ledger.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == 7  # a line per face
    assert [line["crop"] for line in table].count("") == 1
    first = rows(tmp_path / "out")["person0/0.png"]["faces"][0]
    assert [float(table[0][name]) for name in ("left", "nose_y", "score")] == [
        first["box"][0],
        first["landmarks"][2][1],
        first["score"],
    ]


def test_the_eyes_come_where_the_template_has_them(album, tmp_path):
    """Seen by the detector again, the landmarks of a crop are near those of the contract."""
    from faceloss.data.photographs.detector import choose_detector, open_detector

    detector = open_detector(choose_detector("mtcnn"))
    for size, (height, width) in {"112": (112, 112), "112x96": (112, 96), "64": (64, 64)}.items():
        prepare(album, tmp_path / size, size=size, image="jpeg" if size == "64" else "png")
        found = read_contract(tmp_path / size)
        assert found is not None
        assert found["size"] == {"height": height, "width": width}
        target = np.array(found["template"]["landmarks"])
        off = []
        for row in rows(tmp_path / size).values():
            (crop,) = (face["crop"] for face in row["faces"] if face["crop"])
            picture = opened(tmp_path / size / crop)
            assert picture.format == ("JPEG" if size == "64" else "PNG")
            (faces,) = detector.detect([picture.resize((4 * width, 4 * height))], [height])
            off.append((faces[0].landmarks + 0.5) / 4 - 0.5 - target)
        assert np.linalg.norm(np.mean(off, 0), axis=1).mean() < 0.06 * height


@pytest.mark.parametrize(
    ("many", "crops", "status"), [("largest", [0], "kept"), ("central", [1], "kept"), ("all", [0, 1], "kept")]
)
def test_of_two_faces_the_policy_chooses(tmp_path, photograph, many, crops, status):
    (tmp_path / "in").mkdir()
    photograph(3, *TWO, width=220, height=130).save(tmp_path / "in" / "two.png")
    prepare(tmp_path / "in", tmp_path / "out", selection=Selection(many=many))
    (row,) = rows(tmp_path / "out").values()
    left_to_right = sorted(row["faces"], key=lambda face: face["box"][0])
    assert len(left_to_right) == 2
    assert [number for number, face in enumerate(left_to_right) if face["crop"]] == crops
    assert row["status"] == status
    suffixes = {face["crop"].removeprefix("images/two").removesuffix(".png") for face in row["faces"] if face["crop"]}
    assert suffixes == ({"~0", "~1"} if many == "all" else {""})


def test_several_faces_and_none_can_drop_or_stop(tmp_path, photograph):
    (tmp_path / "in").mkdir()
    photograph(3, *TWO).save(tmp_path / "in" / "two.png")
    photograph(4).save(tmp_path / "in" / "none.png")
    prepare(tmp_path / "in", tmp_path / "out", selection=Selection(many="drop"))
    found = rows(tmp_path / "out")
    assert {file: (row["status"], row["reason"]) for file, row in found.items()} == {
        "none.png": ("dropped", "no face found"),
        "two.png": ("dropped", "several faces"),
    }
    assert len(found["two.png"]["faces"]) == 2  # what was found is told all the same
    with pytest.raises(BadInput, match=r"two\.png: several faces; remove that photograph, or choose largest"):
        prepare(tmp_path / "in", tmp_path / "stop1", selection=Selection(many="error"))
    with pytest.raises(BadInput, match=r"none\.png: no face found; .*drop for --none"):
        prepare(tmp_path / "in", tmp_path / "stop2", selection=Selection(none="error"))


def test_small_doubtful_and_cut_faces_are_dropped(tmp_path, photograph):
    (tmp_path / "in").mkdir()
    photograph(3, (60, 40, 100)).save(tmp_path / "in" / "face.png")
    photograph(8, (-38, 40, 110)).save(tmp_path / "in" / "edge.png")
    for name, selection, reasons in (
        ("plain", Selection(outside=1.0), ["", ""]),
        ("border", Selection(outside=0.05), ["cut by the border", ""]),
        ("sure", Selection(score=1.0, outside=1.0), ["only doubtful faces"] * 2),
    ):
        prepare(tmp_path / "in", tmp_path / name, selection=selection)
        assert [row["reason"] for row in rows(tmp_path / name).values()] == reasons, name
    side = {
        file: np.sqrt((f["box"][2] - f["box"][0]) * (f["box"][3] - f["box"][1]))
        for file, row in rows(tmp_path / "plain").items()
        for f in row["faces"]
    }["face.png"]
    prepare(tmp_path / "in", tmp_path / "small", selection=Selection(smallest=side * 1.04, share=0))
    assert rows(tmp_path / "small")["face.png"]["reason"] in ("only small faces", "no face found")
    prepare(tmp_path / "in", tmp_path / "just", selection=Selection(smallest=side * 0.9, share=0))
    assert rows(tmp_path / "just")["face.png"]["status"] == "kept"


def test_large_jpegs_are_decoded_small_and_their_crops_agree(tmp_path, photograph):
    (tmp_path / "in").mkdir()
    large = photograph(2, (60, 40, 110)).resize((2640, 2400), Image.Resampling.BICUBIC)
    large.save(tmp_path / "in" / "a.jpg", quality=97)
    large.save(tmp_path / "in" / "b.png", compress_level=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    large.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "in" / "c.jpg", quality=97, exif=exif)
    # A smallest face of 480 pixels allows a quarter, and PNG files know no such thing.
    prepare(tmp_path / "in", tmp_path / "out", selection=Selection(share=0.2))
    small, whole, turned = rows(tmp_path / "out").values()
    assert small["changes"] == ["decoded at a fraction of its size"]
    assert whole["changes"] == []
    assert turned["changes"] == ["decoded at a fraction of its size", "turned upright by EXIF"]
    right = np.asarray(opened(tmp_path / "out" / whole["faces"][0]["crop"]), float)
    eyes = whole["faces"][0]["landmarks"][1][0] - whole["faces"][0]["landmarks"][0][0]
    for row in (small, turned):
        assert (row["width"], row["height"]) == (whole["width"], whole["height"]) == (2640, 2400)
        apart = np.abs(np.array(row["faces"][0]["landmarks"]) - whole["faces"][0]["landmarks"])
        assert apart.max() < 0.05 * eyes
        assert np.abs(np.asarray(opened(tmp_path / "out" / row["faces"][0]["crop"]), float) - right).mean() < 8


def test_what_exists_is_never_overwritten(album, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="holds something else; nothing in it was touched"):
        prepare(album, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    for photos, out in ((album, album / "crops"), (album / "person0", album), (album, album)):
        with pytest.raises(BadInput, match="lie one in the other"):
            prepare(photos, out)
    prepare(album, tmp_path / "out")
    stamp = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}
    prepare(album, tmp_path / "out")  # done already
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")} == stamp
    with pytest.raises(BadInput, match="prepared with other settings"):
        prepare(album, tmp_path / "out", size="96")
    with pytest.raises(BadInput, match="cannot be stored as webp"):
        prepare(album, tmp_path / "new", image="webp")
    with pytest.raises(BadInput, match="There is no"):
        prepare(tmp_path / "nowhere", tmp_path / "new")


@pytest.mark.faults
def test_an_unfinished_folder_goes_on_only_with_its_own_photographs(album, tmp_path, monkeypatch):
    import fcntl

    from faceloss.data.photographs import pool

    def stop(*_: object) -> None:
        raise CouldNotFinish("stopped")

    monkeypatch.setattr(pool, "run", stop)
    with pytest.raises(CouldNotFinish):
        prepare(album, tmp_path / "out")
    monkeypatch.undo()
    with (tmp_path / "out" / ".work" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CouldNotFinish, match="in use by another process"):
            prepare(album, tmp_path / "out")
    os.rename(album / "person0" / "0.png", album / "person0" / "new.png")
    with pytest.raises(BadInput, match=r"not those that .* was begun with"):
        prepare(album, tmp_path / "out")
    os.rename(album / "person0" / "new.png", album / "person0" / "0.png")
    assert prepare(album, tmp_path / "out").kept == 6


def test_a_contract_that_cannot_be_kept_is_refused(album, tmp_path):
    assert read_contract(album) is None
    prepare(album, tmp_path / "out")
    path = tmp_path / "out" / "contract.json"
    whole = json.loads(path.read_text())
    assert whole["channels"] == "RGB"
    for broken, sentence in (
        ("{", "cannot be read as a preprocessing contract"),
        (json.dumps({**whole, "contract": 99}), "no preprocessing contract of version 1"),
        (json.dumps({k: v for k, v in whole.items() if k not in ("template", "flip")}), "does not say template, flip"),
    ):
        path.write_text(broken)
        with pytest.raises(BadInput, match=sentence):
            read_contract(tmp_path / "out")


def test_crops_have_names_of_their_own():
    files = [
        "a/1.jpg",
        "a/1.png",
        "A/1.JPG",
        "a/2",
        "a/2.jpg",
        "../a/1.jpg",
        "/a/1.jpg",
        "b/x\ny.jpg",
        "b/" + "é" * 120,
    ]
    files += ["a/1~0.jpg", ".jpg", "a//1.jpg"]
    names = crop_names(files)
    assert names[0] == "a/1"
    assert names[3] == "a/2"
    assert len({name.casefold() for name in names}) == len(files)
    for name in names:
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert all(len(part.encode()) < 200 and part.isprintable() for part in name.split("/"))


def test_policies_are_named_as_people_say_them():
    assert policy("central", "error", "32,10%", 0.5, 0.1) == Selection("central", "error", 32, 0.1, 0.5, 0.1)
    for given, sentence in (
        (("largets", "drop", "20", 0.9, 0.2), "did you mean 'largest'"),
        (("largest", "dorp", "20", 0.9, 0.2), "did you mean 'drop'"),
        (("largest", "drop", "20", 1.5, 0.2), "score of a face of 1.5 is not possible"),
        (("largest", "drop", "20", 0.9, -1.0), "share of a crop outside the picture of -1"),
    ):
        with pytest.raises(BadInput, match=sentence):
            policy(*given)
    for text, sentence in (("small", "is no size of a face"), ("3", "at least 12 pixels"), ("200%", "at most 100%")):
        with pytest.raises(BadInput, match=sentence):
            parse_smallest(text)


def test_a_table_gives_identities_splits_and_groups(album, tmp_path):
    (tmp_path / "lists").mkdir()
    lines = ["file,identity,split,group", "../album/person0/0.png,zoe,train,x", "../album/person2/4.png,yan,test,y"]
    (tmp_path / "lists" / "photos.csv").write_text("\n".join([*lines, "../album/none.png,yan,test,y"]))
    done = prepare(tmp_path / "lists" / "photos.csv", tmp_path / "out")
    assert done == (3, 2, 0, 1, 2, 2, {"no such file": 1})
    faces = load_faces(tmp_path / "out", size=64)
    assert list(zip(faces.files, faces.splits, faces.groups, strict=True)) == [
        ("images/_/album/person0/0.png", "train", "x"),
        ("images/_/album/person2/4.png", "test", "y"),
    ]
    assert faces.identities == ("yan", "zoe")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("..")]


@pytest.mark.faults
def test_crops_that_cannot_be_written_end_with_a_sentence(album, tmp_path):
    (tmp_path / "out" / ".work").mkdir(parents=True)
    (tmp_path / "out" / "images").write_text("in the way")
    with pytest.raises(CouldNotFinish, match="could not be written"):
        prepare(album, tmp_path / "out")
    (tmp_path / "out" / "images").unlink()
    assert prepare(album, tmp_path / "out").crops == 6
