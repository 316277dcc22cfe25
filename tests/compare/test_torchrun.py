"""`faceloss compare` and `train` under torchrun: as of one process; killed, stopped, resumed, refused."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
SMALL = [
    "--epochs", "2", "--seeds", "1", "--set", "net_options.width=4", "--set", "batch=18", "--set", "size=32",
    "--set", "dim=16", "--set", "learning_rate=0.05", "--set", "precision=fp32", "--set", "images_per_identity=2",
    "--losses", "subcenter_arcface(s=10,m=0.1)",
]  # fmt: skip


def rows(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]


def start(
    size: int, *words: object, sizes: tuple[int, ...] | None = None, timeout: int = 60
) -> list[subprocess.Popen[str]]:
    """The command in ``size`` processes, as torchrun starts them; ``sizes`` is how many each believes there are."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(size)}
    command = [sys.executable, "-m", "faceloss", *map(str, words)]
    started = []
    for rank in range(size):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str((sizes or [size] * size)[rank])}
        environment = os.environ | known | own | {"FACELOSS_TIMEOUT": str(timeout)}
        started.append(
            subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
    return started


def ends(started: list[subprocess.Popen[str]]) -> tuple[list[int], str, str]:
    """Exit codes, all that was printed, all errors."""
    try:
        texts = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], *("".join(text[i] for text in texts) for i in (0, 1))


def refused(started: list[subprocess.Popen[str]]) -> str:
    """The only sentence of processes that all end with exit code 2."""
    codes, out, err = ends(started)
    assert codes == [2] * len(started), err
    assert out == ""
    assert err.count("faceloss: ") == len(err.strip().splitlines()) == 1, err
    return err


@pytest.fixture(scope="module")
def twice(toy_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A comparison by two processes, started by torchrun itself, and the same with its faces streamed."""
    outs = [tmp_path_factory.mktemp("torchrun") / "runs" for _ in range(2)]
    for out, how in zip(outs, ([], ["--stream"]), strict=True):
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node=2",
            "--standalone",
            "-m",
            "faceloss",
        ]
        command += ["compare", "--data", str(toy_faces), *SMALL, *how, "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(out / "report.html")  # said once
        assert done.stderr.count("done: softmax seed 0 (1/2)") == 1
        assert "arning" not in done.stderr
    return outs


def test_two_processes_write_the_same_bytes_each_time_whether_faces_are_streamed_or_kept(twice: list[Path]) -> None:
    kept, streamed = ((out / "records.jsonl").read_bytes() for out in twice)
    assert b" --stream" in streamed
    assert streamed.replace(b" --stream", b"") == kept
    assert (twice[0] / "report.html").stat().st_size > 10_000


def test_their_records_are_those_of_one_process_but_for_the_numbers(
    twice: list[Path], faceloss: Cli, toy_faces: Path, tmp_path: Path
) -> None:
    done = faceloss("compare", "--data", toy_faces, *SMALL, "--workers", "1", "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stderr

    def shape(out: Path) -> list[object]:
        names = ("kind", "run", "label", "seed", "metric", "at", "protocol", "images_seen")
        found = [row for row in rows(out) if row["kind"] != "difference"]
        # In which epoch a target was reached hangs on numbers.
        more = [() if row["kind"] == "target" else (row.get("epoch"), row.get("status")) for row in found]
        return [(sorted(row), [row.get(name) for name in names], *rest) for row, rest in zip(found, more, strict=True)]

    assert shape(twice[0]) == shape(tmp_path / "runs")
    epochs, own = ([row for row in rows(out) if row["kind"] == "epoch"] for out in (twice[0], tmp_path / "runs"))
    # Batch normalization sees half of each batch, so the numbers are near, not equal.
    for many, one in zip(epochs, own, strict=True):
        assert many["loss_value"] != one["loss_value"]
        assert many["loss_value"] == pytest.approx(one["loss_value"], rel=0.2)
    files = sorted(path.name.partition("-")[0] for path in (twice[0] / "runs").glob("*/*"))
    assert files == sorted(path.name.partition("-")[0] for path in (tmp_path / "runs" / "runs").glob("*/*"))


def test_costs_name_the_processes(twice: list[Path]) -> None:
    costs = [json.loads(line) for line in (twice[0] / "costs.jsonl").read_text().splitlines()]
    assert [cost["processes"] for cost in costs] == [2, 2]


@pytest.mark.faults
def test_train_with_a_part_of_the_classes_gives_the_same_model_also_when_it_was_stopped(
    toy_faces: Path, tmp_path: Path
) -> None:
    """Two processes, each with 8 of the 16 classes, of which those of the batch and some others take part."""
    loss = ["--loss", "partial_fc(rate=0.7,s=10,m=0.1)", "--set", "checkpoint_seconds=0"]
    train = ["train", "--data", toy_faces, *SMALL[:2], *SMALL[4:-2], *loss]
    train = [word if word != "batch=18" else "batch=8" for word in train]
    codes, said, err = ends(start(2, *train, "--out", tmp_path / "whole"))
    assert codes == [0, 0], err
    assert said.count("model.safetensors") == 1
    assert "Traceback" not in err
    again = start(2, *train, "--out", tmp_path / "stopped")
    until = time.monotonic() + 120
    while not list(tmp_path.glob("stopped/runs/*/checkpoint*.json")) and time.monotonic() < until:
        assert [process.poll() for process in again] == [None] * 2
        time.sleep(0.01)
    again[1].send_signal(signal.SIGTERM)
    codes, said, err = ends(again)
    assert codes == [3, 3], err
    assert said == ""
    assert f"faceloss resume {tmp_path / 'stopped'}" in err
    codes, said, err = ends(start(2, "resume", tmp_path / "stopped"))
    assert codes == [0, 0], err
    for name in ("model.safetensors", "model.json", "records.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (cost,) = map(json.loads, (tmp_path / "whole" / "costs.jsonl").read_text().splitlines())
    assert cost["processes"] == 2


@pytest.mark.faults
@pytest.mark.parametrize(
    ("how", "hit", "sentence", "then"),
    [
        (signal.SIGKILL, 1, "another process of this run was lost", 2),
        (signal.SIGKILL, 0, "another process of this run was lost", 1),
        (signal.SIGSTOP, 2, "another process of this run was lost", 2),
        (signal.SIGTERM, 2, "stopped after saving", 1),
    ],
)
def test_the_end_of_one_is_the_end_of_all_and_any_number_continues(
    toy_faces: Path, tmp_path: Path, how: signal.Signals, hit: int, sentence: str, then: int
) -> None:
    out, timeout = tmp_path / "runs", 15
    words = ["compare", "--data", toy_faces, *SMALL, "--set", "checkpoint_seconds=0", "--set", "epochs=4"]
    started = start(3, *(word for word in words if word != "--epochs" and word != "2"), "--out", out, timeout=timeout)
    until = time.monotonic() + 120
    while not list(out.glob("runs/*/checkpoint*.json")) and time.monotonic() < until:
        assert [process.poll() for process in started] == [None] * 3
        time.sleep(0.05)
    started[hit].send_signal(how)
    before = time.monotonic()
    others = [process for process in started if how == signal.SIGTERM or process is not started[hit]]
    codes, _, err = ends(others)
    took = time.monotonic() - before
    started[hit].kill()
    started[hit].communicate()
    assert codes == [3] * len(others), err
    assert took < timeout + 30
    # Who was first to say it is noted by process 0, which may be gone before the last one sees that one is lost.
    assert err.count(sentence) == 1 or (sentence in err and how == signal.SIGKILL), err
    assert f"faceloss resume {out}" in err
    assert "Traceback" not in err
    (saved,) = out.glob("runs/*/checkpoint.json")
    document = json.loads(saved.read_text())
    step = document["facts"]["step"]
    assert step > 0
    assert len(document["files"]) == 3
    codes, _, err = ends(start(then, "resume", out))
    assert codes == [0] * then, err
    assert {row["status"] for row in rows(out) if row["kind"] == "run"} == {"finished"}
    assert len([row for row in rows(out) if row["kind"] == "epoch"]) == 2 * 4
    assert not list(out.glob("runs/*/checkpoint*"))
    assert len(list(out.glob("runs/*/model-*.safetensors"))) == 2


@pytest.mark.faults
def test_processes_that_were_started_differently(toy_faces: Path, tmp_path: Path) -> None:
    words = ["compare", "--data", toy_faces, *SMALL, "--out", tmp_path / "runs"]
    codes, _, err = ends(start(2, *words, sizes=(2, 3), timeout=20))
    assert codes == [2, 2], err
    assert "is one of 3" in err
    assert "start all alike" in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.faults
def test_what_cannot_be_divided_and_options_that_do_not_fit(
    toy_faces: Path, painter: Callable[..., Path], tmp_path: Path
) -> None:
    words = ["compare", "--data", toy_faces, *SMALL, "--out", tmp_path / "runs"]
    assert "leave out --engine, --workers" in refused(start(2, *words, "--workers", "2"))
    assert "start all with torchrun" in refused([alone(words)])
    few = [word.replace("batch=18", "batch=4") if isinstance(word, str) else word for word in words]
    assert "A batch of 4 images cannot be divided among 3 processes" in refused(start(3, *few))
    people = painter(tmp_path / "six", 6, 6)
    words = ["compare", "--data", people, *SMALL, "--out", tmp_path / "others"]
    assert "classes cannot be spread over 3 processes" in refused(start(3, *words))


def alone(words: list[object]) -> subprocess.Popen[str]:
    """A process that is told of another, but not where that one is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MASTER")}
    command = [sys.executable, "-m", "faceloss", *map(str, words)]
    environment |= {"RANK": "0", "WORLD_SIZE": "2"}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


SEARCH = [*SMALL[: SMALL.index("--losses")], "--losses", "search_softmax(candidates=3,a=-3)"]


def searched(out: Path) -> bytes:
    """What the run of the search left; softmax beside it is trained by all processes together, with other last bits."""
    (file,) = (out / "runs").glob("search*/result.json")
    return file.read_bytes()


@pytest.fixture(scope="module")
def searched_alone(faceloss: Cli, toy_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search by one process."""
    out = tmp_path_factory.mktemp("search") / "runs"
    done = faceloss("compare", "--data", toy_faces, *SEARCH, "--workers", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_the_candidates_of_a_search_and_find_what_one_finds(
    searched_alone: Path, toy_faces: Path, tmp_path: Path, size: int
) -> None:
    codes, _, err = ends(start(size, "compare", "--data", toy_faces, *SEARCH, "--out", tmp_path / "runs"))
    assert codes == [0] * size, err
    assert searched(tmp_path / "runs") == searched(searched_alone)


@pytest.mark.faults
def test_a_killed_process_costs_a_search_nothing_but_its_candidate(
    searched_alone: Path, toy_faces: Path, tmp_path: Path, faceloss: Cli
) -> None:
    """The others end; continued by one process, the killed one's candidate is trained again."""
    out = tmp_path / "runs"
    started = start(2, "compare", "--data", toy_faces, *SEARCH, "--out", out, timeout=10)
    until = time.monotonic() + 120
    while time.monotonic() < until and not list(out.glob("runs/search*/search/0/*")):
        time.sleep(0.01)
    started[1].send_signal(signal.SIGKILL)
    codes, _, err = ends(started)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] == 3, err
    done = faceloss("resume", out, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert searched(out) == searched(searched_alone)
