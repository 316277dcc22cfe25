"""A gallery in a file gives what the same gallery in memory gives."""

import json

import numpy as np
import pytest
import torch

from faceloss.errors import BadInput
from faceloss.matching import gallery as galleries
from faceloss.matching import nearest, ranks
from faceloss.matching.gallery import gallery, open_gallery, prepare


@pytest.fixture
def raw(make_set, kind_of_set):
    e, _ = make_set(kind_of_set, 700, 40)
    return e[:50], e[50:] * np.random.default_rng(1).uniform(0.1, 20, (650, 1)).astype(np.float32)


def same(one, two):
    return (one.scores == two.scores).all() and (one.rows == two.rows).all()


def test_a_file_is_searched_like_memory(raw, small_blocks, tmp_path):
    probes, others = raw
    np.save(tmp_path / "raw.npy", others)
    wanted = nearest.nearest(probes, others, 3)
    assert same(nearest.nearest(probes, open_gallery(tmp_path / "raw.npy"), 3), wanted)
    steps = []
    made = prepare(
        iter([others[:10], others[10:400], others[400:]]), 650, 40, tmp_path / "made", lambda *a: steps.append(a)
    )
    assert steps == [("gallery", 256, 650), ("gallery", 512, 650), ("gallery", 650, 650)]
    assert same(nearest.nearest(probes, made, 3), wanted)
    assert same(nearest.nearest(probes, open_gallery(str(tmp_path / "made")), 3, screen="float32"), wanted)
    who = np.arange(50) % 30
    whom = np.arange(650) % 90
    assert (ranks.ranks(probes, who, made, whom) == ranks.ranks(probes, who, others, whom)).all()
    sizes = [10, 100, 600]
    assert (
        ranks.ranks_among(probes, probes[::-1], made, sizes) == ranks.ranks_among(probes, probes[::-1], others, sizes)
    ).all()


def test_a_prepared_gallery_is_not_quantized_again(make_set, small_blocks, tmp_path, monkeypatch):
    e, _ = make_set("generic", 700, 40)
    made = prepare(iter([e[50:]]), 650, 40, tmp_path)
    whole = made.chunk(256, 512, "int8", None, "cpu")
    assert (whole.vectors.numpy() == np.load(tmp_path / "vectors.npy")[256:512]).all()
    assert whole.origin.tolist() == list(range(256))
    monkeypatch.setattr(galleries, "screened", None)  # would fail
    with pytest.raises(TypeError):
        made.chunk(3, 200, "int8", made.scaled("int8"), "cpu")  # not at a multiple of 64
    whole = made.chunk(512, 650, "int8", None, "cpu")
    assert whole.origin.tolist() == [*range(138), *[-1] * 54]
    nearest.nearest(e[:50], made)


def test_quantized_beforehand(make_set, monkeypatch):
    e, _ = make_set("generic", 700, 40)
    made = galleries.quantized(3 * e[50:])
    assert made.prepared is not None
    monkeypatch.setattr(galleries, "screened", None)  # would fail
    assert same(nearest.nearest(e[:50], made, 3), nearest.nearest(e[:50], galleries.quantized(3 * e[50:]), 3))
    monkeypatch.undo()
    assert same(nearest.nearest(e[:50], made, 3), nearest.nearest(e[:50], 3 * e[50:], 3))
    monkeypatch.setattr(galleries, "CHUNK", 256)
    sizes = [10, 64, 300, 640]
    wanted = ranks.ranks_among(e[:50], e[1:51], 3 * e[50:], sizes)
    assert (ranks.ranks_among(e[:50], e[1:51], made, sizes) == wanted).all()
    with pytest.raises(BadInput, match="1 of 650 gallery vectors are zero"):
        galleries.quantized(np.where(np.arange(650)[:, None] == 5, 0, e[50:]))


def test_the_last_chunk_may_be_short(make_set, small_blocks, tmp_path):
    for count in (1, 63, 64, 256, 257):
        e, _ = make_set("generic", 300, 40)
        made = prepare(iter([e[:count]]), count, 40, tmp_path / str(count))
        assert len(made) == count
        assert same(nearest.nearest(e[270:], made, 1), nearest.nearest(e[270:], e[:count], 1))


def test_files_of_half_precision(make_set, tmp_path):
    e, _ = make_set("generic", 300, 40)
    np.save(tmp_path / "half.npy", e.astype(np.float16))
    found = nearest.nearest(e[:20], open_gallery(tmp_path / "half.npy"), 1)
    assert (found.rows[:, 0] == np.arange(20)).all()
    assert (np.abs(found.scores - 1) < 1e-3).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_vectors_of_half_precision_are_those_of_float32(make_set, dtype):
    """Numbers of 16 bits are exact in float32, so that nothing but their storage differs."""
    e, labels = make_set("generic", 300, 40)
    half = torch.from_numpy(e).to(dtype)
    for normalized in (False, True):
        short, long = (gallery(x, normalized=normalized) for x in (half, half.float()))
        assert (ranks.ranks(e[:70], labels[:70], short, labels) == ranks.ranks(e[:70], labels[:70], long, labels)).all()
        for probes in (3, 70):
            found, expected = (nearest.nearest(e[:probes], x, 2) for x in (short, long))
            assert (found.rows == expected.rows).all()
            assert (found.scores == expected.scores).all()


def test_broken_galleries_are_refused(make_set, tmp_path):
    e, _ = make_set("generic", 300, 40)
    with pytest.raises(BadInput, match="no file"):
        open_gallery(tmp_path / "none.npy")
    (tmp_path / "bad.npy").write_text("no array")
    with pytest.raises(BadInput, match="cannot be read"):
        open_gallery(tmp_path / "bad.npy")
    with pytest.raises(BadInput, match="no prepared gallery"):
        open_gallery(tmp_path)
    with pytest.raises(BadInput, match="only 300 came"):
        prepare(iter([e]), 301, 40, tmp_path / "few")
    with pytest.raises(BadInput, match="no prepared gallery"):  # what was begun is not taken for whole
        open_gallery(tmp_path / "few")
    with pytest.raises(BadInput, match="more came"):
        prepare(iter([e]), 299, 40, tmp_path / "many")
    with pytest.raises(BadInput, match="40 dimensions, the others 41"):
        prepare(iter([e]), 300, 41, tmp_path / "wide")
    with pytest.raises(BadInput, match="zero vectors"):
        prepare(iter([0 * e]), 300, 40, tmp_path / "zero")
    made = tmp_path / "made"
    prepare(iter([e]), 300, 40, made)
    facts = json.loads((made / "gallery.json").read_text())
    (made / "gallery.json").write_text(json.dumps(facts | {"count": 200}))
    with pytest.raises(BadInput, match="prepare the gallery anew"):
        open_gallery(made)
    with pytest.raises(BadInput, match="shape"):
        gallery(np.zeros(5))
