"""The Slurm engine on a stand-in for Slurm's commands: what is submitted, how a lost job is found, what is refused."""

import getpass
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

submitit = pytest.importorskip("submitit", reason="THE PACKAGE submitit IS ABSENT: pip install faceloss[slurm]")
from faceloss.compare.engines import on_slurm  # noqa: E402
from faceloss.errors import BadInput  # noqa: E402

Cli = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = {
    # Starts every task of the array at once, in the background, and keeps the script.
    "sbatch": """
import os, re, shutil, subprocess, sys
number, script = str(os.getpid()), sys.argv[1]
shutil.copy(script, f"{QUEUE}/{number}.sh")
array = re.search(r"--array=0-(\\d+)", open(script).read())
for task in range(int(array[1]) + 1) if array else [None]:
    env = os.environ | {"SLURM_JOB_ID": number, "SLURM_PROCID": "0"}
    if task is not None:
        env |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}
    quiet = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
    child = subprocess.Popen(["bash", script], env=env, start_new_session=True, **quiet)
    open(f"{QUEUE}/{number}" + ("" if task is None else f"_{task}"), "w").write(str(child.pid))
print("Submitted batch job", number)
""",
    "srun": """
import os, sys
words = sys.argv[1:]
while words[0].startswith("--"):
    words = words[2 if words[0] in ("--output", "--error") else 1 :]
os.execvp(words[0], words)
""",
    "squeue": """
import os, sys
assert sys.argv[1:] == ["--noheader", "--array", "--user", USER, "--format", "%i"]
for job in os.listdir(QUEUE):
    if job.endswith(".sh"):
        continue
    try:
        os.kill(int(open(f"{QUEUE}/{job}").read()), 0)
    except ProcessLookupError:
        continue
    print(job)
""",
    "scancel": """
import os, signal, sys
os.killpg(int(open(f"{QUEUE}/{sys.argv[1]}").read()), signal.SIGTERM)
""",
}


@pytest.fixture
def cluster(tmp_path: Path) -> tuple[Path, str]:
    """The queue of the stand-in, and the PATH on which its commands are."""
    queue, place = tmp_path / "queue", tmp_path / "bin"
    queue.mkdir()
    place.mkdir()
    for name, source in COMMANDS.items():
        head = f"#!{sys.executable}\nQUEUE, USER = {str(queue)!r}, {getpass.getuser()!r}\n"
        (place / name).write_text(head + source)
        (place / name).chmod(stat.S_IRWXU)
    return queue, os.pathsep.join([str(place), os.environ["PATH"]])


def test_runs_are_tasks_of_an_array_with_the_parameters_given(
    faceloss: Cli, toy_faces: Path, cluster: tuple[Path, str], tmp_path: Path
) -> None:
    queue, path = cluster
    small = ["net_options.width=4", "batch=16", "size=32", "dim=16", "images_per_identity=2", "precision=fp32"]
    words = ["--data", toy_faces, "--losses", "cosface", "--epochs", "1", "--seeds", "1"]
    words += [word for setting in small for word in ("--set", setting)]
    done = faceloss("compare", *words, "--out", tmp_path / "here", "--engine", "here")
    assert done.returncode == 0, done.stderr
    slurm = ["--slurm", "partition=faces", "--slurm", "time=7", "--slurm", "mem=2GB"]
    done = faceloss(
        "compare", *words, "--out", tmp_path / "runs", "--engine", "slurm", "--workers", "2", *slurm,
        env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "records.jsonl").read_bytes() == (tmp_path / "here" / "records.jsonl").read_bytes()
    (script,) = queue.glob("*.sh")
    text = script.read_text()
    for wanted in ("array=0-1%2", "partition=faces", "time=7", "mem=2GB", "cpus-per-task=1", "job-name=faceloss"):
        assert f"#SBATCH --{wanted}\n" in text
    assert not (tmp_path / "runs" / "slurm").exists()


def test_a_job_has_left_the_queue_when_it_is_missing_for_a_while(
    cluster: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, path = cluster
    monkeypatch.setenv("PATH", path)
    now = 1000.0
    monkeypatch.setattr(on_slurm.time, "monotonic", lambda: now)
    (queue / "7_0").write_text(str(os.getpid()))
    jobs = on_slurm._Queue()
    assert not jobs.left("7_0")
    assert not jobs.left("7_1")
    now += on_slurm.LOOK + 1
    assert not jobs.left("7_0")
    assert jobs.left("7_1")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))  # the controller is away
    with pytest.MonkeyPatch.context() as away:
        away.setattr(on_slurm.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "down"))
        now += on_slurm.LOOK + 1
        assert not jobs.left("7_0")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"partiton": "gpu"}, r"--slurm: .*partiton.*names are those of sbatch"),
        ({"time": "1:00:00"}, "give the time in minutes"),
        ({"cluster": "pbs"}, "slurm, or local"),
    ],
)
def test_parameters_are_checked_before_any_work(
    parameters: dict[str, Any], sentence: str, cluster: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", cluster[1])
    assert on_slurm.checked({"partition": "gpu", "time": 5}) == {"partition": "gpu", "time": 5}
    with pytest.raises(BadInput, match=sentence):
        on_slurm.checked(parameters)


def test_a_machine_without_slurm_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="this machine has no Slurm"):
        on_slurm.checked({})
