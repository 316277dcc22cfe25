"""Decoded once, found again by content, never half written."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from faceloss.data import cache
from faceloss.data.duplicates import prints, prints_of
from faceloss.data.faces import exact_duplicates
from faceloss.data.load import load_faces
from faceloss.data.overlap import remove_overlap
from faceloss.data.splits import split_identities
from faceloss.errors import CouldNotFinish


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows by one with every image that is decoded."""
    calls = []
    decode = cache.decode
    monkeypatch.setattr(cache, "decode", lambda data, size: calls.append(size) or decode(data, size))
    return calls


def test_a_hit_skips_decoding(folder, decoded, cache_aside):
    root = folder(ann=3, bob=2)
    first = load_faces(root, size=16)
    assert len(decoded) == 5
    second = load_faces(root, size=16)
    assert len(decoded) == 5
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.pixels.std() > 10
    assert (first.files, first.digest, first.hashes) == (second.files, second.digest, second.hashes)
    assert [p.name for p in cache_aside.iterdir()] == [first.digest]
    assert not second.pixels.flags.writeable


@pytest.fixture
def hashed(monkeypatch):
    """A list that grows by the number of pictures that are hashed."""
    calls = []
    for name in ("prints", "prints_in_blocks"):  # while images are decoded, and later
        right = getattr(cache, name)
        count = lambda some, *rest, right=right: calls.append(len(some)) or right(some, *rest)  # noqa: E731
        monkeypatch.setattr(cache, name, count)
    return calls


def test_picture_hashes_are_computed_when_asked_for_and_kept(folder, hashed, monkeypatch, cache_aside):
    root = folder(ann=3, bob=2)
    first = load_faces(root, size=16)
    some, rest = first.take([4, 0]), first.take([1, 2, 3])
    assert hashed == []
    assert not list(cache_aside.glob("*/prints-*"))
    seen = []
    right = prints(first.pixels[:])
    np.testing.assert_array_equal(prints_of(some, lambda *state: seen.append(state)), right[[4, 0]])
    assert seen == [("hashing pictures", 5, 5)]
    np.testing.assert_array_equal(prints_of(rest), right[[1, 2, 3]])
    np.testing.assert_array_equal(prints_of(rest.take([2, 0])), right[[3, 1]])
    np.testing.assert_array_equal(prints_of(first), right)
    assert len(set(right.tolist())) == 5
    np.testing.assert_array_equal(prints_of(load_faces(root, size=16)), right)
    assert hashed == [5]  # once, for all of them
    (kept,) = cache_aside.glob("*/prints-1.u64")
    for damage in (kept.unlink, lambda: kept.write_bytes(b"12345678")):  # as of an older version, or cut
        damage()
        hashed.clear()
        np.testing.assert_array_equal(prints_of(load_faces(root, size=16)), right)
        prints_of(load_faces(root, size=16))
        assert hashed == [5]
    kept.unlink()
    monkeypatch.setattr(cache, "write_atomically", lambda *_: (_ for _ in ()).throw(CouldNotFinish("full")))
    np.testing.assert_array_equal(prints_of(load_faces(root, size=16)), right)


def test_a_cache_folder_that_was_written_with_hashes_is_used(folder, decoded, hashed, cache_aside):
    """Versions before wrote them with the pixels."""
    root = folder(ann=3, bob=2)
    first = load_faces(root, size=16)
    (cache_aside / first.digest / "prints-1.u64").write_bytes(np.arange(5, dtype=np.uint64).tobytes())
    found = load_faces(root, size=16)
    assert prints_of(found).tolist() == [0, 1, 2, 3, 4]  # those of the file
    assert prints_of(found.take([3, 1])).tolist() == [3, 1]
    assert (len(decoded), hashed) == (5, [])


def test_only_sets_that_are_compared_are_hashed(folder, hashed):
    """What a training without tests does, and one with."""
    root, other = folder(**{f"p{i}": 2 for i in range(10)}), folder("other", first=50, guest=4)
    faces = load_faces(root, size=16)
    assert len(split_identities(faces, seed=0, val=0, test=0).train) == 20
    assert hashed == []
    parts = split_identities(faces, seed=0, val=0.2, test=0)
    assert hashed == [20]
    for part in (parts.val, parts.train):
        remove_overlap(part, load_faces(other, size=16))
    assert hashed == [20, 4]


def test_the_key_follows_content_names_size_and_preprocessing(folder, decoded, picture, monkeypatch):
    root = folder(ann=3, bob=2)
    digests = {load_faces(root, size=16).digest}

    def changed():
        faces = load_faces(root, size=16)
        assert faces.digest not in digests
        digests.add(faces.digest)
        return faces

    old = load_faces(root, size=16).pixels[0].copy()
    stamp = (root / "ann" / "00.png").stat()
    picture(99).save(root / "ann" / "00.png")
    os.utime(root / "ann" / "00.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the date is not what counts
    assert np.abs(changed().pixels[0].astype(int) - old).mean() > 5
    (root / "bob").rename(root / "rob")
    changed()
    (root / "ann" / "00.png").rename(root / "ann" / "x.png")
    changed()
    assert load_faces(root, size=24).digest not in digests
    monkeypatch.setattr("faceloss.data.faces.PREPROCESSING", "another")
    changed()
    assert len(decoded) == 6 * 5


def test_moving_the_folder_changes_nothing(folder, decoded, tmp_path):
    root = folder(ann=3)
    digest = load_faces(root, size=16).digest
    root.rename(tmp_path / "moved")
    assert load_faces(tmp_path / "moved", size=16).digest == digest
    assert len(decoded) == 3


@pytest.mark.faults
@pytest.mark.parametrize(
    "damage", ["short", "long", "no index", "bad json", "wrong rows", "wrong type", "file in the way"]
)
def test_a_damaged_cache_is_built_again(folder, decoded, cache_aside, damage):
    root = folder(ann=3, bob=2)
    good = load_faces(root, size=16)
    expected = np.array(good.pixels)
    place = cache_aside / good.digest
    index = place / "index.json"
    if damage == "short":
        (place / "pixels.u8").write_bytes(b"123")
    elif damage == "long":
        (place / "pixels.u8").write_bytes((place / "pixels.u8").read_bytes() + b"x")
    elif damage == "no index":
        index.unlink()
    elif damage == "bad json":
        index.write_text('{"kept": [0, 1')
    elif damage == "wrong rows":
        index.write_text(json.dumps({"kept": [0, 1, 2, 3, 3], "refused": {}}))
    elif damage == "wrong type":
        index.write_text("[]")
    else:
        for file in place.iterdir():
            file.unlink()
        place.rmdir()
        place.write_text("not a folder")
    again = load_faces(root, size=16)
    assert len(decoded) == 10
    np.testing.assert_array_equal(again.pixels, expected)
    assert [p.name for p in cache_aside.iterdir()] == [good.digest]


@pytest.mark.faults
def test_a_full_disk_leaves_nothing_behind(folder, cache_aside, monkeypatch):
    root = folder(ann=3)

    def full(descriptor, flush):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache, "_sync", full)
        with pytest.raises(CouldNotFinish, match=r"No space left on device.*FACELOSS_CACHE"):
            load_faces(root, size=16)
    assert list(cache_aside.iterdir()) == []
    assert len(load_faces(root, size=16)) == 3


@pytest.mark.faults
def test_a_really_full_disk(folder, cache_aside):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    root = folder(ann=3)
    make = Path.mkdir

    def mkdir(path, *args, **options):
        make(path, *args, **options)
        if path.name == "complete":
            (path / "pixels.u8").symlink_to("/dev/full")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "mkdir", mkdir)
        with pytest.raises(CouldNotFinish, match="No space left on device"):
            load_faces(root, size=16)
    assert list(cache_aside.iterdir()) == []


@pytest.mark.faults
def test_a_cache_that_cannot_be_written_says_so_and_data_are_never_touched(folder, tmp_path):
    root = folder(ann=3)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    blocked = tmp_path / "faces" / "ann" / "00.png"  # a file where a folder is needed
    with pytest.raises(CouldNotFinish, match="cannot be written to the cache"):
        load_faces(root, size=16, cache=blocked / "below")
    load_faces(root, size=16)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.faults
def test_a_file_that_changes_while_it_is_read_stops_the_work(folder, picture, cache_aside, monkeypatch):
    root = folder(ann=3)
    build = cache._build

    def slow(*arguments):
        picture(50).save(root / "ann" / "01.png")
        build(*arguments)

    monkeypatch.setattr(cache, "_build", slow)
    with pytest.raises(CouldNotFinish, match=r"ann/01\.png changed"):
        load_faces(root, size=16)
    assert list(cache_aside.iterdir()) == []


@pytest.mark.faults
def test_writers_at_the_same_time(folder, cache_aside):
    root = folder(ann=10, bob=10)
    program = (
        "import sys; from faceloss.data.load import load_faces; f = load_faces(sys.argv[1], size=16);"
        "print(f.digest, int(f.pixels.sum()))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, root], stdout=subprocess.PIPE) for _ in range(3)]
    results = {writer.communicate(timeout=60)[0].decode() for writer in writers}
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(results) == 1
    assert [p.name for p in cache_aside.iterdir()] == [results.pop().split()[0]]


def test_losing_the_race_uses_what_the_winner_wrote(folder, cache_aside, monkeypatch):
    root = folder(ann=3)
    write = cache._write

    def beaten(aside, *arguments):
        write(aside, *arguments)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(cache, "_write", write)
            load_faces(root, size=16)

    monkeypatch.setattr(cache, "_write", beaten)
    faces = load_faces(root, size=16)
    assert [p.name for p in cache_aside.iterdir()] == [faces.digest]


def test_what_killed_writers_left_is_swept_after_a_day(folder, cache_aside):
    for name, age in (("tmp-old", 100_000), ("tmp-new", 100)):
        (cache_aside / name).mkdir()
        os.utime(cache_aside / name, (time.time() - age,) * 2)
    faces = load_faces(folder(ann=2), size=16)
    assert sorted(p.name for p in cache_aside.iterdir()) == sorted([faces.digest, "tmp-new"])


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache.cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("FACELOSS_CACHE", str(tmp_path / "a"))
    assert cache.cache_folder(None) == tmp_path / "a"
    monkeypatch.delenv("FACELOSS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache.cache_folder(None) == tmp_path / "b" / "faceloss"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder(None).parts[-2:] == (".cache", "faceloss")


def test_duplicates_are_kept_and_counted(folder):
    root = folder(ann=2, bob=2)
    (root / "bob" / "copy.png").write_bytes((root / "ann" / "00.png").read_bytes())
    faces = load_faces(root, size=16)
    assert len(faces) == 5
    assert exact_duplicates(faces) == 1


def test_progress_reaches_its_end(folder):
    seen = []
    load_faces(folder(ann=3), size=16, progress=lambda *state: seen.append(state))
    assert seen == [(what, done, 3) for what in ("reading images", "decoding images") for done in (1, 2, 3)]
