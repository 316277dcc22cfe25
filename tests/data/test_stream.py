"""Streams of shards: every image once, the same order again, from any place, on any number of ranks."""

import io
import tarfile
import warnings

import numpy as np
import pytest

from faceloss.data.export import export_shards
from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.data.stream import index_shards, stream, windows
from faceloss.errors import BadInput

SHARDS, EACH = 5, 7


@pytest.fixture
def shards(folder, tmp_path):
    """33 images in five shards, the last of them smaller."""
    root = folder(**{f"p{i:02d}": 3 for i in range(11)})
    export_shards(open_source(root), tmp_path / "out", per_shard=EACH)
    found = sorted((tmp_path / "out").glob("*.tar"))
    assert len(found) == SHARDS
    return found


def places(index, **options):
    return [(s.place, s.number) for s in stream(index, size=16, **{"seed": 1, "epoch": 0, **options})]


def test_every_image_once_with_its_pixels_and_identity(shards):
    index = index_shards(shards)
    faces = load_faces(shards[0].parent, size=16)
    assert index.identities == faces.identities
    known = {pixels.tobytes(): int(label) for pixels, label in zip(faces.pixels, faces.labels, strict=True)}
    assert len(known) == 33
    got = list(stream(index, size=16, seed=1, epoch=0))
    assert [s.place for s in got] == list(range(33))
    assert sorted(s.number for s in got) == list(range(33))
    assert {s.pixels.tobytes(): s.label for s in got} == known


def test_the_order_is_keyed_by_seed_and_epoch_and_mixes_a_window(shards):
    index = index_shards(shards)
    first = places(index)
    assert places(index_shards(shards)) == first
    assert places(index, epoch=1) != first
    assert places(index, seed=2) != first
    origin = [
        np.searchsorted(index.first, part, side="right") - 1 for part in windows(index, seed=1, epoch=0, window=2)
    ]
    assert [len(set(part)) for part in origin] == [2, 2, 1]  # each of a few shards
    assert (np.diff(origin[0]) != 0).sum() > 3  # mixed, not one after the other
    alone = [part.tolist() for part in windows(index, seed=1, epoch=0, window=1)]
    assert any(part != sorted(part) for part in alone)
    assert [part[0] // EACH for part in alone] != list(range(SHARDS))


@pytest.mark.parametrize("window", [1, 2, 8])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_share_an_epoch_and_any_place_goes_on(shards, world, window):
    index = index_shards(shards)
    whole = places(index, window=window)
    for start in (0, 1, 7, 12, 20, 32, 33):
        parts = [places(index, start=start, rank=rank, world=world, window=window) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1  # in step
        together = sorted(place for part in parts for place in part)
        usable = (33 - start) // world * world
        assert together == whole[start : start + usable]
        for rank, part in enumerate(parts):
            assert all((place - start) % world == rank for place, _ in part)


def test_it_goes_on_across_the_images_decoded_ahead(shards, monkeypatch):
    monkeypatch.setattr("faceloss.data.stream._AHEAD", 3)
    index = index_shards(shards)
    assert places(index) == [(place, number) for place, (_, number) in enumerate(places(index, window=8))]
    assert places(index, start=5, world=2, rank=1)[0][0] == 6
    assert len(places(index, start=5, world=2, rank=1)) == 14


@pytest.mark.faults
def test_a_broken_image_keeps_its_place(tmp_path, picture):
    file = io.BytesIO()
    picture(1).save(file, "PNG")
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for key, data in enumerate([file.getvalue(), file.getvalue()[:80], b""]):
            for ending, content in (("cls", b"4"), ("png", data)):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    index = index_shards([tmp_path / "0.tar"])
    before = list(warnings.filters)
    got = {}
    for streamed in stream(index, size=16, seed=0, epoch=0):
        assert warnings.filters == before  # while others work, theirs
        got[streamed.number] = (streamed.pixels is not None, streamed.reason)
    assert got == {0: (True, ""), 1: (False, "truncated or corrupt"), 2: (False, "empty file")}
    (tmp_path / "0.tar").unlink()
    (gone, *_) = stream(index, size=16, seed=0, epoch=0)
    assert gone.reason == "cannot be read (No such file or directory)"


def test_what_cannot_be_streamed(shards, tmp_path):
    index = index_shards(shards)
    for options in ({"rank": 2, "world": 2}, {"rank": -1}, {"start": 34}, {"start": -1}):
        with pytest.raises(BadInput, match="is not possible; there are 33 images"):
            places(index, **options)
    with pytest.raises(BadInput, match="window of 0"):
        places(index, window=0)
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    with pytest.raises(BadInput, match="None of the 1 shards"):
        index_shards([tmp_path / "none.tar"])
