"""Runs on other processes and machines: the same records, a lost worker's run taken over, a stop obeyed everywhere."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from faceloss.cli.engines import engine_of
from faceloss.compare import engines
from faceloss.errors import BadInput

Cli = Callable[..., subprocess.CompletedProcess[str]]
SMALL = [
    "--epochs", "3", "--seeds", "1", "--set", "net_options.width=4", "--set", "batch=16", "--set", "size=32",
    "--set", "dim=16", "--set", "learning_rate=0.05", "--set", "precision=fp32", "--set", "images_per_identity=2",
    "--set", "checkpoint_seconds=0",
]  # fmt: skip
# A margin loss that kills its own process, once for every file in FACELOSS_TEST_KILLS, when its run has a checkpoint;
# and that takes as many seconds for a step as the file FACELOSS_TEST_SLOW says while there is one.
DEADLY = '''"""Deadly: softmax on cosines with a margin.

    loss = CosFace with margin 0.1 and s = 10

Paper: none; made up for a test, 2026.
Batches: shuffled.
Deviations: none.
"""

import os
import signal
import time
from pathlib import Path

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def psi(cos):
    if not cos.requires_grad:  # asked, not trained
        return cos - 0.1
    if os.path.exists(os.environ.get("FACELOSS_TEST_SLOW", "")):
        time.sleep(float(Path(os.environ["FACELOSS_TEST_SLOW"]).read_text()))
    if "FACELOSS_TEST_KILLS" in os.environ:
        kills = sorted(Path(os.environ["FACELOSS_TEST_KILLS"]).iterdir())
        if kills and list(Path(os.environ["FACELOSS_TEST_OUT"]).glob("runs/deadly*/checkpoint.json")):
            kills[0].unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return cos - 0.1


def build(dim: int, classes: int) -> Loss:
    return ClassHead(dim, classes, scale=Number(10.0), psi=psi, hyperparameters={})
'''
needs_submitit = pytest.mark.skipif(find_spec("submitit") is None, reason="THE PACKAGE submitit IS ABSENT")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="THE PACKAGE ray IS ABSENT: pip install faceloss[ray]")
SLURM = ["--engine", "slurm", "--slurm", "cluster=local", "--slurm", "time=5", "--workers", "2"]
ENGINES = [
    pytest.param(["--engine", "processes", "--workers", "2"], id="processes"),
    pytest.param(SLURM, id="slurm", marks=needs_submitit),
    pytest.param(["--engine", "ray", "--workers", "2"], id="ray", marks=needs_ray),
]


@pytest.fixture(scope="module")
def study(toy_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The words of the command that starts the study of this file."""
    file = tmp_path_factory.mktemp("mine") / "deadly.py"
    file.write_text(DEADLY)
    return ["--data", toy_faces, "--losses", "cosface(s=10,m=0.2)", "--loss", file, *SMALL]


@pytest.fixture(scope="module")
def undisturbed(faceloss: Cli, study: list[object], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The records of that study, done in one process."""
    out = tmp_path_factory.mktemp("undisturbed") / "runs"
    done = faceloss("compare", *study, "--out", out, "--engine", "here")
    assert done.returncode == 0, done.stderr
    return (out / "records.jsonl").read_bytes()


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment for the deadly loss in the study of ``tmp_path / "runs"``; no kill is ordered yet."""
    (tmp_path / "kills").mkdir()
    names = {"KILLS": tmp_path / "kills", "OUT": tmp_path / "runs", "SLOW": tmp_path / "slow"}
    yield os.environ | {f"FACELOSS_TEST_{name}": str(path) for name, path in names.items()}
    assert not (tmp_path / "runs" / "session.json").exists()  # nobody hands out runs any more


def start(words: list[object], env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "faceloss.cli.main", *map(str, words)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def leave(process: subprocess.Popen[str]) -> None:
    """Kill ``process``, but nothing that it started."""
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):  # its children have them too, so they do not end with it
        assert pipe is not None
        pipe.close()


def at_work(out: Path) -> list[int]:
    """The processes of the workers that have begun, once there are some."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := list(out.glob("runs/deadly*/progress.json")):
            return [json.loads(file.read_text())["process"] for file in found]
        time.sleep(0.02)
    raise AssertionError("no worker has begun")


def ended(process: int, seconds: float) -> bool:
    """Whether ``process`` is gone within that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.faults
@pytest.mark.parametrize("engine", ENGINES)
def test_stopped_and_continued_with_killed_workers_the_records_are_equal_to_the_byte(
    engine: list[str], faceloss: Cli, study: list[object], undisturbed: bytes, trap: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("0.5")
    out = tmp_path / "runs"
    process = start(["compare", *study, "--out", out, *engine], trap)
    workers = at_work(out)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert f"faceloss resume {out}" in stderr
    assert "Traceback" not in stderr
    assert all(ended(worker, 5) for worker in workers)
    assert list(out.glob("runs/deadly*/checkpoint.json"))
    (tmp_path / "slow").unlink()
    (tmp_path / "kills" / "1").touch()
    (tmp_path / "kills" / "2").touch()
    done = faceloss("resume", out, *engine, env=trap)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "kills").iterdir())
    assert done.stderr.count("taken over: deadly seed 0") == 2
    assert (out / "records.jsonl").read_bytes() == undisturbed


@pytest.mark.faults
def test_a_run_that_kills_every_worker_is_given_up_and_the_others_are_done(
    faceloss: Cli, study: list[object], undisturbed: bytes, trap: dict[str, str], tmp_path: Path
) -> None:
    for number in range(9):
        (tmp_path / "kills" / str(number)).touch()
    out = tmp_path / "runs"
    done = faceloss("compare", *study, "--out", out, "--workers", "2", env=trap)
    assert done.returncode == 3
    assert "lost 3 workers in a row without getting further: deadly seed 0 (worker process killed by SIGKILL)" in (
        done.stderr
    )
    assert f"faceloss resume {out}" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "kills").iterdir())) == 6
    assert len(list(out.glob("runs/*/result.json"))) == 2
    for kill in (tmp_path / "kills").iterdir():
        kill.unlink()
    assert faceloss("resume", out, "--workers", "1", env=trap).returncode == 0
    assert (out / "records.jsonl").read_bytes() == undisturbed


@pytest.mark.faults
def test_worker_processes_end_with_the_process_that_started_them(
    study: list[object], trap: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("5")
    process = start(["compare", *study, "--out", tmp_path / "runs", "--workers", "2"], trap)
    workers = at_work(tmp_path / "runs")
    leave(process)
    assert all(ended(worker, 30) for worker in workers)  # of 75 seconds that their run takes
    (tmp_path / "runs" / "session.json").unlink()


@pytest.mark.faults
@needs_submitit
def test_jobs_whose_study_is_continued_elsewhere_hand_over(
    faceloss: Cli, study: list[object], undisturbed: bytes, trap: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "slow").write_text("5")
    out = tmp_path / "runs"
    process = start(["compare", *study, "--out", out, *SLURM], trap)
    workers = at_work(out)
    leave(process)
    time.sleep(2)
    assert not any(ended(worker, 0.1) for worker in workers)  # jobs do not end with the process that submitted them
    second = start(["resume", out, "--engine", "here"], trap)
    assert all(ended(worker, 50) for worker in workers)  # of 75 seconds that their run takes
    (tmp_path / "slow").unlink()
    _, stderr = second.communicate(timeout=100)
    assert second.returncode == 0, stderr
    assert (out / "records.jsonl").read_bytes() == undisturbed


def test_an_unknown_engine_gets_one_sentence_before_any_work(
    faceloss: Cli, study: list[object], tmp_path: Path
) -> None:
    done = faceloss("compare", *study, "--out", tmp_path / "runs", "--engine", "rya")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "faceloss: There is no engine named 'rya'; did you mean 'ray'? Known: here, processes, ray, slurm."
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("engine", "workers", "address", "slurm", "sentence"),
    [
        ("here", 2, None, (), "--engine here does one run at a time, not 2"),
        ("ray", None, None, ("partition=gpu",), "--slurm goes with --engine slurm"),
        (None, None, "auto", (), "--ray-address goes with --engine ray"),
        ("slurm", None, None, ("gpu",), "--slurm gpu: write NAME=VALUE"),
        ("slurm", None, None, ("time=1", "time=2"), "--slurm time is given twice"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    engine: str | None, workers: int | None, address: str | None, slurm: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        engine_of(engine, workers, address, slurm)


@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    engine: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(BadInput, match=rf"needs the package {package}; install faceloss\[{engine}\]"):
        engine_of(engine, None, None, ())


@pytest.mark.faults
@needs_submitit
def test_the_trial_on_the_page_about_many_machines_runs(faceloss: Cli, tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "many-machines.md"
    lines = page.read_text().replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if line.startswith("faceloss") and "cluster=local" in line]
    done = faceloss(*shlex.split(line)[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "trial" / "report.html").exists()
    assert not (tmp_path / "runs" / "trial" / "slurm").exists()
