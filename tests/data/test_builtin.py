"""The built-in faces: complete, readable, varied, and not told apart by color alone."""

import csv
import hashlib
import io
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from faceloss.data.builtin import builtin_path
from faceloss.data.load import load_faces

IDENTITIES, IMAGES, SIZE = 160, 24, 64


@pytest.fixture(scope="module")
def files() -> list[tuple[str, bytes]]:
    with tarfile.open(builtin_path(), "r:") as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]


@pytest.fixture(scope="module")
def faces(files) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N,H,W,3] and identity numbers [N]."""
    pictures = [(name, data) for name, data in files if name.endswith(".jpg")]
    pixels = []
    for _, data in pictures:
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE, SIZE))
        pixels.append(np.asarray(image))
    return np.stack(pixels), np.array([int(name[1:4]) for name, _ in pictures])


def test_archive_is_small_and_in_order(files):
    assert builtin_path().stat().st_size <= 8_000_000
    pictures = [f"p{i:03}/{k:02}.jpg" for i in range(IDENTITIES) for k in range(IMAGES)]
    assert [name for name, _ in files] == ["README.txt", "identities.csv", *pictures]


def test_archive_tells_nothing_about_its_making():
    with tarfile.open(builtin_path(), "r:") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_origin_and_causes_are_told(files):
    texts = {name: data.decode() for name, data in files if not name.endswith(".jpg")}
    assert "Apache-2.0" in texts["README.txt"]
    assert "CC0" in texts["README.txt"]
    rows = list(csv.DictReader(io.StringIO(texts["identities.csv"])))
    assert [row["identity"] for row in rows] == [f"p{i:03}" for i in range(IDENTITIES)]
    assert 0.3 < np.mean([float(row["gender"]) > 0.5 for row in rows]) < 0.7


def test_no_picture_twice(files):
    assert max(Counter(hashlib.sha256(data).digest() for _, data in files).values()) == 1


def test_pictures_are_in_color_and_vary_within_an_identity(faces):
    pixels, labels = faces
    channels = pixels[:, ::5, ::5].reshape(len(pixels), -1, 3).astype(np.float32)
    assert (np.ptp(channels.mean(axis=1), axis=1) > 3).mean() > 0.8
    assert channels.mean(axis=2).std(axis=1).min() > 8
    for identity in range(IDENTITIES):
        own = channels[labels == identity].reshape(IMAGES, -1)
        apart = np.abs(own[:, None] - own[None]).mean(axis=2) + 255 * np.eye(IMAGES)
        assert apart.min() > 3, f"p{identity:03} has two nearly equal pictures"


@pytest.mark.parametrize(("cells", "most"), [(1, 0.06), (8, 0.25)], ids=["mean color", "8 x 8 thumbnail"])
def test_colors_alone_do_not_tell_who_it_is(faces, cells, most):
    """Nearest neighbor on centered colors: far above chance would be a leak, far below the bound a broken test."""
    pixels, labels = faces
    step = SIZE // cells
    small = pixels.reshape(len(pixels), cells, step, cells, step, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)
    small -= small.mean(axis=0)
    square = (small**2).sum(axis=1)
    distance = square[:, None] + square[None] - 2 * small @ small.T
    np.fill_diagonal(distance, np.inf)
    right = (labels[distance.argmin(axis=1)] == labels).mean()
    chance = (IMAGES - 1) / (len(labels) - 1)
    assert chance < right < most


def test_loader_ignores_the_texts(tmp_path):
    loaded = load_faces("builtin", size=SIZE, cache=tmp_path)
    assert loaded.name == "builtin"
    assert loaded.pixels.shape == (IDENTITIES * IMAGES, SIZE, SIZE, 3)
    assert len(loaded.identities) == IDENTITIES
    assert loaded.refused == ()
