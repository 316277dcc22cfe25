"""``faceloss data``: the list of public sets, and a set written anew."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloss.data.cards import names

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Two identities with two noise images each, and a file that is no image."""
    for number in range(4):
        place = tmp_path / "faces" / "ab"[number // 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(place)
    (tmp_path / "faces" / "a" / "empty.jpg").write_bytes(b"")
    return tmp_path / "faces"


def test_every_set_is_listed_and_figures_from_memory_are_marked(faceloss: Cli) -> None:
    done = faceloss("data", "list")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:-2]}
    assert sorted(rows) == list(names())
    assert rows["ms1mv3"].split()[1:] == ["train", "93,431", "5,179,510", "derived"]
    assert "~40,607" in rows["rfw"]  # from memory
    assert rows["sllfw"].split()[2:4] == ["?", "?"]
    told = [json.loads(line) for line in faceloss("data", "list", "--json").stdout.splitlines()]
    assert [card["name"] for card in told] == list(names())


def test_all_about_one_set(faceloss: Cli) -> None:
    text = faceloss("data", "list", "VGGFace2").stdout
    assert "withdrawn: the owner no longer gives it to anybody" in text
    assert "9,131" in text
    assert "faceloss prepare VGGFACE2 CROPS" in text
    missing = faceloss("data", "list", "lwf")
    assert missing.returncode == 2
    assert "did you mean 'lfw'?" in missing.stderr


def test_export_both_ways_and_back(faceloss: Cli, faces: Path, tmp_path: Path) -> None:
    done = faceloss("data", "export", faces, tmp_path / "shards", "--as", "shards", "--per-shard", 3)
    assert done.returncode == 0, done.stderr
    assert "4 images of 2 identities in 2 shards; 1 left out." in done.stdout
    assert "a/empty.jpg: not an image" in done.stdout
    back = faceloss("data", "export", tmp_path / "shards" / "{00000..00001}.tar", tmp_path / "back", "--as", "folder")
    assert "4 images of 2 identities; 0 left out." in back.stdout
    for number in range(4):
        place = f"{'ab'[number // 2]}/{number % 2:05d}.png"
        assert (tmp_path / "back" / place).read_bytes() == (faces / "ab"[number // 2] / f"{number}.png").read_bytes()
    again = faceloss("data", "export", faces, tmp_path / "back", "--as", "folder")
    assert again.returncode == 2
    assert "exists already" in again.stderr
