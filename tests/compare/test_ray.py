"""Coming to and from a Ray cluster, on a stand-in for Ray: what is found out early, and in which words."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faceloss.compare.engines import on_ray
from faceloss.compare.study import Study
from faceloss.errors import CouldNotFinish
from faceloss.train.settings import Recipe

Cli = Callable[..., subprocess.CompletedProcess[str]]


class RayError(Exception):
    """As the base of Ray's errors."""


def ray(init: Callable[..., None], **more: Any) -> SimpleNamespace:
    """A stand-in for Ray."""
    return SimpleNamespace(init=init, exceptions=SimpleNamespace(RayError=RayError), **more)


@pytest.fixture
def listening() -> Any:
    """An address where something listens, and one where nothing does."""
    with socket.socket() as open_, socket.socket() as closed:
        for one in (open_, closed):
            one.bind(("127.0.0.1", 0))
        open_.listen()
        yield [f"127.0.0.1:{one.getsockname()[1]}" for one in (open_, closed)]


def never(**_: object) -> None:
    raise AssertionError("Ray would try for many minutes")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_nothing_at_the_address_is_found_out_at_once(listening: list[str], scheme: str) -> None:
    with pytest.raises(
        CouldNotFinish, match=r"the Ray cluster at \S+ cannot be reached \(.*refused\); see that it runs"
    ):
        on_ray._connect(ray(never), scheme + listening[1], 1)


@pytest.mark.parametrize("address", ["auto", "local", "{}", "ray://{}"])
def test_what_may_be_a_cluster_is_left_to_ray(listening: list[str], address: str) -> None:
    asked: list[object] = []
    on_ray._connect(ray(lambda **words: asked.append(words["address"])), address.format(listening[0]), 1)
    assert asked == [address.format(listening[0])]


def failing(error: Exception, cause: Exception | None = None) -> SimpleNamespace:
    def init(**_: object) -> None:
        raise error from cause

    return ray(init)


def test_a_token_that_is_missing_is_called_so(listening: list[str]) -> None:
    cause = RuntimeError("Failed to connect to GCS.\nAuthenticationError: RPC error: InvalidAuthToken: missing")
    for there in (
        failing(ConnectionError("Failed to connect to Ray cluster"), cause),
        failing(RayError("InvalidAuthToken")),
    ):
        with pytest.raises(CouldNotFinish, match=r"asks for a token that is not here, or is another here; .*RAY_AUTH"):
            on_ray._connect(there, listening[0], 1)


def test_other_troubles_come_with_their_last_line(listening: list[str]) -> None:
    for error in (
        ImportError("a\nRay Client requires ray[client]"),
        ConnectionError("Ray Client requires ray[client]"),
    ):
        with pytest.raises(CouldNotFinish, match=r"cannot be reached \(Ray Client requires ray\[client\]\)"):
            on_ray._connect(failing(error), listening[0], 1)
    with pytest.raises(CouldNotFinish, match=r"Ray could not be started on this machine \(no memory\)"):
        on_ray._connect(failing(OSError("no memory")), None, 1)


def test_a_head_that_is_gone_ends_the_command_before_ray_ends_the_process(
    listening: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(on_ray.time, "monotonic", lambda: now[0])
    there = on_ray._Head(listening[0], tmp_path)
    for _ in range(10):
        now[0] += 5
        there.look()
    gone = on_ray._Head(listening[1], tmp_path)
    began = now[0]

    def wait() -> None:
        while True:
            now[0] += 5
            gone.look()

    with pytest.raises(CouldNotFinish, match=r"is gone .*continue with: faceloss resume"):
        wait()
    assert on_ray.GONE < now[0] - began < 60
    assert gone.gone
    assert not there.gone


def test_what_no_machine_of_the_cluster_has_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Any] = {}

    def drive(*_: object, **words: Any) -> None:
        found.update(words)
        print("(raylet) a machine has died")

    monkeypatch.setattr(on_ray, "drive", drive)
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 4.0}}]
    stand = ray(
        lambda **_: None,
        is_initialized=lambda: True,
        cluster_resources=dict,
        remote=lambda _: SimpleNamespace(options=lambda **_: None),
        nodes=lambda: nodes,
        get_runtime_context=lambda: SimpleNamespace(gcs_address=listening[0]),
    )
    monkeypatch.setitem(sys.modules, "ray", stand)  # type: ignore[arg-type]
    words = {}
    for threads, device in ((1, "cpu"), (4, "cpu"), (2, "cuda")):
        recipe = Recipe(threads=threads, device=device)  # type: ignore[arg-type]
        study = Study(data="builtin", losses=("softmax",), recipe=recipe)
        on_ray.on_ray([], study, None, tmp_path, None)  # type: ignore[arg-type]
        words[threads] = found["why"]()
    assert words == {
        1: "each asks for 1 CPU, of 2 CPUs in the Ray cluster",
        4: "no machine of the Ray cluster has 4 CPUs",
        2: "no machine of the Ray cluster has 2 CPUs and a GPU",
    }
    said = capsys.readouterr()
    assert said.out == ""  # there is only the page's place
    assert "a machine has died" in said.err


def test_the_command_without_a_cluster_ends_in_a_sentence(
    faceloss: Cli, toy_faces: Path, tmp_path: Path, listening: list[str]
) -> None:
    pytest.importorskip("ray", reason="THE PACKAGE ray IS ABSENT: pip install faceloss[ray]")
    before = time.monotonic()
    done = faceloss(
        "compare", "--data", toy_faces, "--losses", "softmax", "--seeds", "1", "--epochs", "1", "--set", "size=32",
        "--out", tmp_path / "runs", "--engine", "ray", "--ray-address", listening[1],
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(f"faceloss: the Ray cluster at {listening[1]} cannot be reached")
    assert "Traceback" not in done.stderr
    assert time.monotonic() - before < 60
