"""Faces that are streamed from shards: the same faces as those of the cache, in an order that is kept."""

import io
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from faceloss.data import cache, encoded
from faceloss.data.batches import shuffled_batches, windowed_batches
from faceloss.data.duplicates import prints_of
from faceloss.data.encoded import shards_of
from faceloss.data.export import export_shards
from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.errors import BadInput, CouldNotFinish

SHARDS, EACH = 5, 7


@pytest.fixture
def shards(folder, tmp_path) -> Path:
    """33 images in five shards, the last of them smaller."""
    root = folder(**{f"p{i:02d}": 3 for i in range(11)})
    export_shards(open_source(root), tmp_path / "out", per_shard=EACH)
    assert len(list((tmp_path / "out").glob("*.tar"))) == SHARDS
    return tmp_path / "out"


def test_they_are_the_faces_of_the_cache(shards, cache_aside):
    kept, streamed = load_faces(shards, size=24), load_faces(shards, size=24, stream=True)
    assert np.ptp(kept.pixels) > 100
    for name in ("name", "identities", "files", "splits", "groups", "hashes", "refused", "digest"):
        assert getattr(streamed, name) == getattr(kept, name)
    assert (streamed.labels == kept.labels).all()
    assert (cache_aside / f"{kept.digest}-stream" / "prints-1.u64").is_file()  # hashed while it is decoded
    assert not (cache_aside / kept.digest / "prints-1.u64").exists()
    assert (prints_of(streamed) == prints_of(kept)).all()
    assert streamed.pixels.shape == kept.pixels.shape == (33, 24, 24, 3)
    for index in (4, -1, slice(3, 20, 4), [7, 7, 0], np.arange(33) % 3 == 1, slice(None)):
        assert (streamed.pixels[index] == kept.pixels[index]).all()
        assert streamed.pixels[index].shape == kept.pixels[index].shape
    some = [30, 2, 11]
    assert (streamed.take(some).pixels[:] == kept.take(some).pixels[:]).all()
    folders = {path.name: sum(file.stat().st_size for file in path.iterdir()) for path in cache_aside.iterdir()}
    assert folders[kept.digest] > 33 * 24 * 24 * 3
    assert folders[f"{kept.digest}-stream"] < 33 * 24 * 24


def test_only_what_is_asked_for_is_decoded_and_that_each_time(shards, monkeypatch):
    load_faces(shards, size=16, stream=True)
    calls = []
    for module in (cache, encoded):
        right = module.decode
        monkeypatch.setattr(module, "decode", lambda *given, right=right: calls.append(1) or right(*given))
    faces = load_faces(shards, size=16, stream=True)
    assert calls == []  # that all can be decoded is known from the first time
    _ = faces.pixels[[1, 2, 3]]
    _ = faces.take([1, 2]).pixels[0]
    assert len(calls) == 4


def test_shards_are_read_from_front_to_back(shards, monkeypatch):
    asked: list[tuple[str, int]] = []

    def noted(path: str, offset: int, size: int) -> bytes:
        asked.append((path, offset))
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    monkeypatch.setattr("faceloss.data.shards.read_range", noted)
    monkeypatch.setattr(cache, "_THREADS", 1)
    load_faces(shards, size=16, stream=True)
    assert len(asked) == 2 * 33
    assert asked[:33] == asked[33:] == sorted(asked[:33])
    files = load_faces(shards, size=16, stream=True).files
    assert list(files) == sorted(files)  # whatever the order in the shards is


def test_windows_mix_a_few_shards_at_a_time(shards):
    faces = load_faces(shards, size=16, stream=True)
    where = shards_of(faces)
    assert np.bincount(where).tolist() == [7, 7, 7, 7, 5]
    first = windowed_batches(where, 2, 4, seed=1, epoch=0)
    assert [len(batch) for batch in first] == [4] * 8
    order = np.concatenate(windowed_batches(where, 2, 33, seed=1, epoch=0))
    assert sorted(order.tolist()) == list(range(33))  # each image once
    assert np.concatenate(first).tolist() == order[:32].tolist()
    cuts = np.flatnonzero([len(set(where[order[:end]])) > 2 for end in range(1, 34)])[0]
    opened = where[order]
    assert set(opened[:cuts]).isdisjoint(opened[cuts:])  # a window is read before the next
    assert (np.diff(opened[:cuts]) != 0).sum() > 3  # mixed, not one after the other
    assert order[:cuts].tolist() != sorted(order[:cuts].tolist())
    again = [
        np.concatenate(windowed_batches(where, 2, 4, seed=s, epoch=e)).tolist() for s, e in ((1, 0), (1, 1), (2, 0))
    ]
    assert again[0] == np.concatenate(first).tolist()
    assert len({tuple(each) for each in again}) == 3
    openings = {int(where[windowed_batches(where, 1, 4, seed=1, epoch=epoch)[0][0]]) for epoch in range(8)}
    assert len(openings) > 2  # the shards come in another order each time
    whole = np.concatenate(windowed_batches(where, 99, 33, seed=1, epoch=0))
    assert len(set(where[whole[:7]])) > 2  # a window of everything
    part = faces.take(np.arange(0, 33, 2))
    assert (shards_of(part) == where[::2]).all()
    assert shards_of(load_faces(shards, size=16)) is None
    for window, batch in ((0, 4), (2, 0)):
        with pytest.raises(BadInput, match="are not possible"):
            windowed_batches(where, window, batch, seed=0, epoch=0)
    assert [len(batch) for batch in shuffled_batches(33, 4, 1, 0)] == [4] * 8


@pytest.mark.faults
def test_a_broken_image_is_refused_and_never_asked_for(tmp_path, picture):
    file = io.BytesIO()
    picture(1).save(file, "PNG")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for key, data in enumerate([file.getvalue(), file.getvalue()[:80], b"", file.getvalue() + b"x"]):
            for ending, content in (("cls", b"4"), ("png", data)):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    faces = load_faces(tmp_path / "0.tar", size=16, stream=True)
    assert [(r.file, r.reason) for r in faces.refused] == [("1.png", "truncated or corrupt"), ("2.png", "empty file")]
    assert faces.files == ("0.png", "3.png")
    assert (faces.pixels[0] == faces.pixels[1]).all()


@pytest.mark.faults
def test_images_that_change_or_vanish_stop_the_work(shards):
    faces = load_faces(shards, size=16, stream=True)
    first = sorted(shards.glob("*.tar"))[0]
    row = int(np.flatnonzero(shards_of(faces) == 0)[0])
    offset = faces.pixels.array.entries[row].place[1]
    whole = first.read_bytes()
    first.write_bytes(whole[: offset + 40] + bytes([whole[offset + 40] ^ 1]) + whole[offset + 41 :])
    with pytest.raises(CouldNotFinish, match=r"it changed.*bring the images back"):
        faces.pixels[[row]]
    first.unlink()
    with pytest.raises(CouldNotFinish, match="No such file"):
        faces.pixels[[row]]
    before = list(warnings.filters)
    rest = np.flatnonzero(shards_of(faces) > 0)
    assert len(faces.pixels[rest]) == 26
    assert warnings.filters == before  # while others work, theirs
