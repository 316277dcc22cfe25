"""What several rooms' tests share: a small folder of generated "faces", and the real sets where they are at hand."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def paint(folder: Path, identities: int, images: int, size: int = 40, seed: int = 0, prefix: str = "person") -> Path:
    """A folder with a sub-folder per identity: smooth random colors; each image with noise and light of its own."""
    rng = np.random.default_rng(seed)
    for identity in range(identities):
        coarse = rng.uniform(40, 215, (5, 5, 3)).astype(np.uint8)
        pattern = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC), np.float64)
        place = folder / f"{prefix}_{identity:02d}"
        place.mkdir(parents=True)
        for number in range(images):
            noisy = pattern * rng.uniform(0.7, 1.2) + rng.normal(0, 25, pattern.shape)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(place / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def toy_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 identities with 8 images each."""
    return paint(tmp_path_factory.mktemp("toy") / "people", 16, 8)


@pytest.fixture(scope="session")
def painter() -> Callable[..., Path]:
    """The function that paints such folders."""
    return paint


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests never touch the user's cache of decoded images."""
    os.environ["FACELOSS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """The function that finds so many ports of this machine that nobody listens on."""

    def find(count: int) -> list[int]:
        probes = [socket.socket() for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in probes]
        for probe in probes:
            probe.close()
        return ports

    return find


@pytest.fixture(scope="session")
def faceloss() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line as a user would, in a process of its own."""

    def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "faceloss.cli.main", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="session")
def real_faces_folder() -> Path:
    """The folder of real face sets; skips, loudly, where it is absent."""
    if not REAL.is_dir():
        pytest.skip(f"REAL FACES ARE ABSENT ({REAL.name} beside the checkout): this test was not run")
    return REAL
