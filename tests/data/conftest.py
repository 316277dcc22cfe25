from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Folder = Callable[..., Path]


def picture(number: int, width: int = 32, height: int = 32) -> Image.Image:
    """A smooth colored picture; every number gives another one."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def cache_aside(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test may write to the cache of the person who runs it."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FACELOSS_CACHE", str(cache))
    return cache


@pytest.fixture(name="picture")
def picture_fixture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """``folder(ann=3, bob=2)`` writes generated pictures, one sub-folder per identity."""

    def write(root: str = "faces", first: int = 0, **counts: int) -> Path:
        number = first
        for identity, count in counts.items():
            (tmp_path / root / identity).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                picture(number).save(tmp_path / root / identity / f"{i:02d}.png")
                number += 1
        return tmp_path / root

    return write
