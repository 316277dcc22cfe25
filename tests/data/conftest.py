import importlib.util
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloss.data.builtin import builtin_path
from faceloss.data.sources import open_source

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
def png() -> Callable[..., bytes]:
    def encoded(number: int, comment: bytes = b"") -> bytes:
        """A picture as PNG; ``comment`` goes behind its end, where decoders do not look."""
        file = io.BytesIO()
        picture(number).save(file, "PNG")
        return file.getvalue() + comment

    return encoded


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


@cache
def built_in(number: int) -> Image.Image:
    """One of the built-in faces: generated heads, no real person."""
    entry = open_source(builtin_path()).entries[number]
    return Image.open(io.BytesIO(entry.read())).convert("RGB")


def photograph(number: int, *faces: tuple[int, int, int], width: int = 220, height: int = 200) -> Image.Image:
    """A smooth background with built-in faces pasted at (left, top, side); every number gives other ones."""
    coarse = np.random.default_rng(number).integers(60, 190, (5, 6, 3), dtype=np.uint8)
    made = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    for place, (left, top, side) in enumerate(faces):
        face = built_in((37 * number + 101 * place) % 3840)
        made.paste(face.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return made


@pytest.fixture(name="photograph")
def photograph_fixture() -> Callable[..., Image.Image]:
    return photograph


@pytest.fixture(scope="session")
def detection() -> None:
    """What needs the extra `detect`; skips, loudly, where it is absent."""
    for package in ("mtcnn", "joblib", "lz4", "onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"THE EXTRA detect IS ABSENT (no {package}): this test was not run")
