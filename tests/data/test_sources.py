"""Folders, archives and tables as sources of faces."""

import io
import os
import shutil
import tarfile

import numpy as np
import pytest

from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.errors import BadInput


def files(path):
    return [entry.file for entry in open_source(path).entries]


def reasons(path):
    return {refused.file: refused.reason for refused in load_faces(path, size=16).refused}


def pack(folder, tar, prefix=""):
    with tarfile.open(tar, "w") as archive:
        for path in sorted(folder.rglob("*.png"), reverse=True):
            archive.add(path, arcname=prefix + path.relative_to(folder).as_posix())
    return tar


def test_folder_archive_and_table_are_the_same_faces(folder, tmp_path):
    root = folder(bob=2, ann=3)
    (root / "empty").mkdir()
    (root / "README.md").write_text("not an image")
    (root / "ann" / "Thumbs.db").write_bytes(b"x")
    (root / "ann" / ".hidden.png").write_bytes(b"x")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "x.png").write_bytes(b"x")
    table = root / "list.csv"
    rows = [f"{p.relative_to(root)},{p.parent.name},ignored" for p in sorted(root.rglob("[0-9]*.png"), reverse=True)]
    table.write_text("file,id,other\n" + "\n".join(rows) + "\n")
    one = load_faces(root, size=16)
    assert one.identities == ("ann", "bob")
    assert one.labels.tolist() == [0, 0, 0, 1, 1]
    assert one.files == ("ann/00.png", "ann/01.png", "ann/02.png", "bob/00.png", "bob/01.png")
    assert one.refused == ()
    assert one.pixels.shape == (5, 16, 16, 3)
    for path in (pack(root, tmp_path / "flat.tar"), table):
        other = load_faces(path, size=16)
        assert other.digest == one.digest
        assert other.files == one.files
        np.testing.assert_array_equal(other.pixels, one.pixels)


def test_a_common_top_folder_is_looked_through(folder, tmp_path):
    root = folder(bob=2, ann=1)
    tar = pack(root, tmp_path / "packed.tar", prefix="set/images/")
    assert load_faces(tar, size=16).identities == ("ann", "bob")
    assert files(tmp_path)[0] == "faces/ann/00.png"
    assert load_faces(tmp_path, size=16).identities == ("ann", "bob")


def test_split_folders(folder):
    folder("set/train", ann=2, bob=2)
    root = folder("set/validation", first=10, eve=2).parent
    faces = load_faces(root, size=16)
    assert faces.identities == ("ann", "bob", "eve")
    assert faces.splits == ("train",) * 4 + ("val",) * 2


def test_images_may_lie_deeper(folder):
    root = folder(ann=1, bob=1)
    (root / "ann" / "video" / "7").mkdir(parents=True)
    shutil.copy(root / "bob" / "00.png", root / "ann" / "video" / "7" / "frame.png")
    faces = load_faces(root, size=16)
    assert faces.files == ("ann/00.png", "ann/video/7/frame.png", "bob/00.png")
    assert faces.labels.tolist() == [0, 0, 1]


def test_table_with_splits_groups_and_faults(folder):
    root = folder(ann=3, bob=1)
    table = root / "index.csv"
    table.write_text(
        "\ufefffile;identity;split;group\n"
        "ann/00.png;Ann;train;x\n"
        "./ann/00.png;Bob;val;y\n"
        "ann/01.png;Ann;validation;\n"
        "ann/02.png;;train;\n"
        "ann/gone.png;Ann;train;\n"
        "../faces/bob/00.png;Bob;extra;z\n",
        encoding="utf-8",
    )
    faces = load_faces(root, size=16)  # the folder's index.csv is what counts
    assert faces.name == "faces"
    assert faces.files == ("../faces/bob/00.png", "ann/00.png", "ann/01.png")
    assert faces.splits == ("extra", "train", "val")
    assert faces.groups == ("z", "x", "")
    assert {r.file: r.reason for r in faces.refused} == {
        "./ann/00.png": "listed twice",
        "ann/02.png": "a row without an identity",
        "ann/gone.png": "no such file",
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("path,who\na.png,b\n", "has the columns path, who but not file and identity"),
        ("file,who\na.png,b\n", "but not identity"),
        ("file,identity\n", "lists no usable image"),
        ("file,identity\na\x00.png,b\n", "can be used"),
        ("file,identity\nmissing.png,b\n", "missing.png: no such file"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, sentence):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadInput, match=sentence):
        load_faces(tmp_path / "t.csv", size=16)


def test_paths_that_cannot_be_used(tmp_path, folder, picture):
    picture(1).save(tmp_path / "one.jpg")
    (tmp_path / "void").mkdir()
    (tmp_path / "flat").mkdir()
    picture(1).save(tmp_path / "flat" / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "bad.tar").write_text("this is no archive")
    (tmp_path / "set.tar.gz").write_text("x")
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    os.mkfifo(tmp_path / "pipe")
    sentences = {
        "missing": "There is no .*missing; give a folder",
        "one.jpg": "single image",
        "void": "holds no images; a folder of faces has one sub-folder",
        "flat": "holds 1 images but no folder per identity",
        "notes.txt": "no set of faces",
        "bad.tar": "not a readable tar archive",
        "set.tar.gz": "unpack it",
        "none.tar": "holds no images",
        "pipe": "neither a folder nor a file",
    }
    for name, sentence in sentences.items():
        with pytest.raises(BadInput, match=sentence):
            load_faces(tmp_path / name, size=16)


@pytest.mark.faults
def test_broken_images_are_refused_with_a_reason_and_the_rest_is_used(folder, picture):
    root = folder(ann=3, bob=2)
    whole = (root / "ann" / "00.png").read_bytes()
    (root / "ann" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "ann" / "empty.jpg").write_bytes(b"")
    (root / "bob" / "page.jpg").write_text("<html>sorry</html>")
    (root / "bob" / "phone.heic").write_bytes(b"\x00\x00\x00\x18ftypheic")
    (root / "eve").mkdir()
    (root / "eve" / "noise.jpg").write_bytes(os.urandom(500))
    os.mkfifo(root / "bob" / "pipe.jpg")
    picture(1).save(root / "stray.png")
    faces = load_faces(root, size=16)
    assert faces.identities == ("ann", "bob")  # eve has no image left
    assert len(faces) == 5
    assert {r.file: r.reason for r in faces.refused} == {
        "ann/cut.png": "truncated or corrupt",
        "ann/empty.jpg": "empty file",
        "bob/page.jpg": "a web page, not an image",
        "bob/phone.heic": "HEIC, which cannot be read here",
        "bob/pipe.jpg": "cannot be read (not a regular file)",
        "eve/noise.jpg": "not an image",
        "stray.png": "not in the folder of an identity",
    }
    assert load_faces(root, size=16).refused == faces.refused  # the same from the cache


@pytest.mark.faults
def test_names_that_are_not_utf8_emoji_and_links(folder, picture, tmp_path):
    root = folder(ann=2)
    odd = os.fsencode(root) + b"/caf\xe9"
    os.mkdir(odd)
    with open(odd + b"/\xff.png", "wb") as file:
        picture(7).save(file, "PNG")
    (root / "\U0001f600").mkdir()
    picture(8).save(root / "\U0001f600" / "smile \u00e9.png")
    (root / "ann" / "loop").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    outside = folder("elsewhere", first=20, zoe=1)
    (root / "zoe").symlink_to(outside / "zoe")
    faces = load_faces(root, size=16)
    assert faces.identities == ("ann", "caf\\xe9", "zoe", "\U0001f600")
    assert "caf\\xe9/\\xff.png" in faces.files
    assert "\U0001f600/smile \u00e9.png" in faces.files
    assert len(faces) == 5
    assert {r.file: r.reason for r in faces.refused} == {"ann/loop": "a link to a folder that was already read"}
    for text in (*faces.files, *faces.identities):
        text.encode("utf-8")
    again = load_faces(root, size=16)
    assert again.files == faces.files
    tar = tmp_path / "odd.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(os.fsdecode(odd), arcname=os.fsdecode(b"set/caf\xe9"))
        archive.add(root / "ann" / "00.png", arcname="set/ann/00.png")
    assert load_faces(tar, size=16).identities == ("ann", "caf\\xe9")


@pytest.mark.faults
def test_archives_with_unsafe_names_write_nothing_and_cut_ones_are_refused(folder, tmp_path):
    root = folder(ann=2)
    data = (root / "ann" / "00.png").read_bytes()
    tar = tmp_path / "unsafe.tar"
    with tarfile.open(tar, "w") as archive:
        for name in ("../../escaped/a.png", "/absolute/b.png", "ann/c.png", "ann/c.png"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("ann/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    faces = load_faces(tar, size=16)
    assert faces.files == ("../../escaped/a.png", "absolute/b.png", "ann/c.png")
    assert [r.reason for r in faces.refused] == ["listed twice", "a link or special file inside an archive"]
    assert sorted(tmp_path.rglob("*")) == before
    tar.write_bytes(tar.read_bytes()[: 512 + len(data) // 2])
    with pytest.raises(BadInput, match="unsafe"):
        load_faces(tar, size=16)


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(folder):
    root = folder(ann=2, bob=2)
    (root / "bob").chmod(0)
    try:
        assert reasons(root) == {"bob": "folder cannot be read (Permission denied)"}
    finally:
        (root / "bob").chmod(0o755)


def test_order_is_bytewise_whatever_the_folder_says(folder, monkeypatch):
    root = folder(b=2, B=1, a=1)
    (root / "c").symlink_to(root / "b")  # the first name in order counts, not the first that is found
    expected = ["B/00.png", "a/00.png", "b/00.png", "b/01.png"]
    assert files(root) == expected
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as scan:
                self.items = sorted(scan, key=lambda item: item.name, reverse=True)

        def __enter__(self):
            return iter(self.items)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert files(root) == expected


def test_size_is_checked(folder):
    with pytest.raises(BadInput, match="image size of 4 pixels"):
        load_faces(folder(ann=1), size=4)
