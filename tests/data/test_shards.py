"""Shards and folders: written, read back, and read by eyes that know only the tar format."""

import io
import json
import tarfile

import numpy as np
import pytest

from faceloss.data.export import export_folder, export_shards
from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.errors import BadInput, CouldNotFinish


def pack(path, *members):
    """An archive of (name, bytes), in that order."""
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def table(folder):
    """Identities that are hard to write, with splits and groups."""
    root = folder(ann=3, bob=2, cid=2)
    (root / "index.csv").write_text(
        "file,identity,split,group\n"
        "ann/00.png,Ann/Lee,train,x\nann/01.png,Ann/Lee,train,\nann/02.png,Ann_Lee,train,\n"
        'bob/00.png,..,val,\nbob/01.png,"Bö, b",test,y\n'
        "cid/00.png,ANN_LEE,,\ncid/01.png,ANN_LEE,odd,\n"
    )
    return root


def test_shards_of_another_writer(tmp_path, png, picture):
    """Labels as numbers in ``.cls``, sub-folders in keys, several endings, no order among them."""
    pack(tmp_path / "a-08.tar", ("x/1.cls", b"10\n"), ("x/1.png", png(1)), ("2.png", png(2)), ("2.cls", b"2"))
    pack(tmp_path / "a-09.tar", ("2.seg.txt", b"-"), ("2.png", png(3)), ("2.json", b'{"label": 2, "split": "val"}'))
    pack(
        tmp_path / "a-10.tar", ("7.json", b'{"identity": 10, "group": "g"}'), ("7.face.PNG", png(4)), ("8.png", png(5))
    )
    faces = load_faces(tmp_path / "a-{08..10}.tar", size=32)
    assert faces.files == ("a-08/2.png", "a-08/x/1.png", "a-09/2.png", "a-10/7.face.png")
    assert [faces.identities[label] for label in faces.labels] == ["02", "10", "02", "10"]
    assert faces.splits == ("", "", "val", "")
    assert faces.groups == ("", "", "", "g")
    assert [tuple(r)[:2] for r in faces.refused] == [("a-10/8.png", "no identity in its .json or .cls")]
    for row, number in enumerate((2, 1, 3, 4)):
        np.testing.assert_array_equal(faces.pixels[row], np.asarray(picture(number)))
    assert load_faces(tmp_path, size=32).digest == faces.digest  # the folder of all
    assert load_faces(tmp_path / "a-08.tar", size=32).files == ("2.png", "x/1.png")


def test_an_archive_of_folders_is_no_shard(tmp_path, png):
    path = pack(tmp_path / "set.tar", ("ann/0.png", png(1)), ("ann/0.json", b'{"pose": 3}'), ("bob/0.png", png(2)))
    assert load_faces(path, size=16).identities == ("ann", "bob")


@pytest.mark.parametrize("write", [export_folder, export_shards])
def test_what_is_written_reads_back(table, tmp_path, write):
    before = load_faces(table, size=32)
    done = write(open_source(table), tmp_path / "out")
    assert (done.images, done.identities, done.refused) == (7, 5, ())
    after = load_faces(tmp_path / "out", size=32)
    assert set(after.identities) == {"Ann/Lee", "Ann_Lee", "ANN_LEE", "..", "Bö, b"}

    def content(faces):
        names = [faces.identities[label] for label in faces.labels]
        pixels = [image.tobytes() for image in faces.pixels]
        return sorted(zip(faces.hashes, names, faces.splits, faces.groups, pixels, strict=True))

    assert content(after) == content(before)
    if write is export_shards:
        assert after.digest == before.digest  # names of files too


def test_written_bytes_depend_on_the_images_only(table, tmp_path, monkeypatch):
    export_shards(open_source(table), tmp_path / "one", per_shard=3)
    export_folder(open_source(table), tmp_path / "folder one")
    monkeypatch.setattr("time.time", lambda: 5.0)
    monkeypatch.setattr("os.getuid", lambda: 77)
    export_shards(open_source(table), tmp_path / "two", per_shard=3)
    export_shards(open_source(table), tmp_path / "other seed", per_shard=3, seed=1)
    export_folder(open_source(table), tmp_path / "folder two")

    def files(name):
        root = tmp_path / name
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    assert sorted(files("one")) == ["00000.tar", "00001.tar", "00002.tar"]
    assert files("one") == files("two")
    assert files("one") != files("other seed")
    assert files("folder one") == files("folder two")
    assert "Ann_Lee_2/00000.png" in files("folder one")
    with tarfile.open(tmp_path / "one" / "00001.tar") as archive:
        members = archive.getmembers()
        keys = [f"00000000{i}" for i in (3, 4, 5)]
        assert [m.name for m in members] == [f"{k}.{e}" for k in keys for e in ("cls", "png", "json")]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
        told = json.loads(archive.extractfile(members[2]).read())
        number = int(archive.extractfile(members[0]).read())
    assert sorted(["..", "ANN_LEE", "Ann/Lee", "Ann_Lee", "Bö, b"])[number] == told["identity"]


def test_shards_are_shuffled(folder, tmp_path):
    root = folder(ann=30, bob=30)
    export_shards(open_source(root), tmp_path / "out", per_shard=20)
    with tarfile.open(tmp_path / "out" / "00000.tar") as archive:
        first = [archive.extractfile(m).read() for m in archive.getmembers() if m.name.endswith(".cls")]
    assert len(first) == 20
    assert 4 <= first.count(b"0") <= 16


@pytest.mark.faults
def test_shards_that_cannot_be_read(tmp_path, png):
    members = [("1.cls", b"1"), ("1.png", png(1)), ("2.cls", b"1"), ("2.png", png(2))]
    whole = pack(tmp_path / "0.tar", *members).read_bytes()
    with tarfile.open(tmp_path / "0.tar") as archive:
        second = archive.getmembers()[2].offset
    for cut, sentence in (
        (len(png(1)), "not a readable"),
        (second, "has no end"),
        (second + 700, "not a readable|no end"),
    ):
        (tmp_path / "0.tar").write_bytes(whole[:cut])
        with pytest.raises(BadInput, match=sentence):
            load_faces(tmp_path / "{0..0}.tar", size=16)
    (tmp_path / "0.tar").write_bytes(whole)
    with pytest.raises(BadInput, match=r"2 of the 3 shards of .* are missing, the first is 1\.tar"):
        load_faces(tmp_path / "{0..2}.tar", size=16)
    with pytest.raises(BadInput, match="names no shards"):
        load_faces(tmp_path / "{2..0}.tar", size=16)
    pack(tmp_path / "0.tar", ("1.cls", b""), ("1.png", png(1)), ("2.json", b"[" * 100_000), ("2.png", png(2)))
    with pytest.raises(BadInput, match="holds no labeled images"):
        load_faces(tmp_path / "{0..0}.tar", size=16)


@pytest.mark.faults
def test_export_leaves_nothing_half_done(folder, tmp_path, monkeypatch):
    root = folder(ann=2, bob=2)
    (root / "bob" / "gone.png").symlink_to(root / "nowhere")
    (root / "bob" / "empty.png").write_bytes(b"")
    done = export_folder(open_source(root), tmp_path / "out" / "deep")
    assert done.images == 4
    assert {r.file: r.reason for r in done.refused} == {
        "bob/gone.png": "cannot be read (No such file or directory)",
        "bob/empty.png": "not an image",
    }
    with pytest.raises(BadInput, match="exists already"):
        export_shards(open_source(root), tmp_path / "out" / "deep")
    (tmp_path / "void").mkdir()
    export_shards(open_source(root), tmp_path / "void")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tarfile.TarFile.addfile", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CouldNotFinish, match="the disk is full"):
        export_shards(open_source(root), tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == before
