"""Latency: what is timed, how often, and that it comes to the page and the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from faceloss.cli.main import cli
from faceloss.compare import latency
from faceloss.compare.model import load_model
from faceloss.compare.prepare import prepare
from faceloss.compare.run import execute
from faceloss.compare.study import Competitor, Run, Study
from faceloss.data.photographs import detector
from faceloss.data.photographs.select import Selection
from faceloss.errors import BadInput
from faceloss.train.settings import Recipe


@pytest.fixture(scope="module")
def runs(painter: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with one trained network and a record."""
    folder = tmp_path_factory.mktemp("latency")
    recipe = Recipe(net_options={"width": 4}, dim=8, size=16, epochs=1, batch=16, device="cpu", precision="fp32")
    study = Study(data=str(painter(folder / "faces", 8, 4)), losses=("softmax",), recipe=recipe)
    row = Competitor("softmax", "softmax", {}, "shuffled")
    execute(Run("id", row, 0), study, prepare(study), folder / "runs" / "softmax-seed0-id", stop=lambda: False)
    (folder / "records.jsonl").write_text('{"kind": "study", "title": "Latency"}\n')
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WARM", 1), ("LEAST", 3), ("MOST", 3), ("GALLERIES", (10, 300))):
        monkeypatch.setattr(latency, name, value)


def test_times_are_those_of_calls_that_were_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    now, lasts = [0.0], [9.0, 9.0, 9.0, *(k / 1000 for k in range(1, 101))]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    def call() -> None:
        now[0] += lasts.pop(0)

    found = latency.timed(call, seconds=5.0)  # 100 calls take 5.05 s, 99 take 4.95
    assert found == (100, 51.0, 96.0)
    assert not lasts
    lasts += [0.0] * 3 + [2.0] * 100
    assert latency.timed(call, seconds=5.0).calls == latency.LEAST
    lasts[:] = [0.0] * 600
    assert latency.timed(call).calls == latency.MOST


@pytest.fixture(scope="module")
def mtcnn() -> detector.Chosen:
    try:
        return detector.choose_detector("mtcnn")
    except BadInput as reason:
        pytest.skip(f"THE EXTRA detect IS ABSENT, the latency of finding faces was not tested: {reason}")


def test_every_step_is_measured_on_one_thread(
    runs: Path, quick: None, mtcnn: detector.Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(next(runs.glob("runs/*")))
    threads: set[int] = set()
    shapes: list[tuple[int, ...]] = []

    def watched(crops: np.ndarray) -> np.ndarray:
        threads.add(torch.get_num_threads())
        shapes.append(crops.shape)
        return model.embedder(crops)

    before = torch.get_num_threads()
    rows = list(latency.measure(model._replace(embedder=watched), lambda *_: None))
    assert [row["what"] for row in rows] == ["detect", "embed", "embed", "match", "match"]
    assert rows[3]["about"] == "1 probe against 10 vectors of 8 numbers, exactly"
    assert rows[2]["about"] == "64 crops of 16 x 16 (small, with mirror images)"
    assert all(0 < row["p50_ms"] <= row["p95_ms"] and row["calls"] == 3 for row in rows)
    assert (threads, torch.get_num_threads()) == ({1}, before)
    assert set(shapes) == {(1, 16, 16, 3), (64, 16, 16, 3)}

    def absent(_: str) -> Any:
        raise BadInput("not installed")

    monkeypatch.setattr(latency, "choose_detector", absent)
    assert [row["what"] for row in latency.measure(model, lambda *_: None)] == ["embed"] * 2 + ["match"] * 2


def test_the_picture_has_a_face_that_is_found(mtcnn: detector.Chosen) -> None:
    (faces,) = detector.open_detector(mtcnn).detect(
        [latency.scene()], [latency.smallest_side(Selection(), *latency.SCENE)]
    )
    assert len(faces) == 1
    assert 60 < faces[0].side < latency.FACE * 1.3


def test_the_command_line_prints_them_and_the_page_shows_them(runs: Path, quick: None) -> None:
    done = CliRunner().invoke(cli, ["report", str(runs), "--latency"], standalone_mode=False)
    assert done.exception is None
    rows = [json.loads(line) for line in (runs / "latency.jsonl").read_text().splitlines()]
    page = (runs / "report.html").read_text()
    assert all(row["about"] in page for row in rows)
    assert {row["what"] for row in rows} >= {"embed", "match"}
    model = next(runs.glob("runs/*"))
    lines = CliRunner().invoke(cli, ["evaluate", str(model), "--latency"], standalone_mode=False).stdout.splitlines()
    assert len(lines) == len(rows)
    assert all("p50" in line and "p95" in line and "1 thread of the CPU" in line for line in lines)
    given = CliRunner().invoke(cli, ["evaluate", str(model), "--latency", "--json"], standalone_mode=False).stdout
    assert [json.loads(line)["about"] for line in given.splitlines()] == [row["about"] for row in rows]
    assert (runs / "records.jsonl").read_text().count("\n") == 1  # no clock in the records


def test_without_a_network_there_is_nothing_to_time(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text('{"kind": "study"}\n')
    done = CliRunner().invoke(cli, ["report", str(tmp_path), "--latency"], standalone_mode=False)
    assert isinstance(done.exception, BadInput)
    assert "no trained network" in str(done.exception)
    assert not (tmp_path / "report.html").exists()
