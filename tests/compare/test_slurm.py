"""The Slurm engine on a stand-in for Slurm's commands: what is submitted, how a lost job is found, what is refused."""

import getpass
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

submitit = pytest.importorskip("submitit", reason="THE PACKAGE submitit IS ABSENT: pip install faceloss[slurm]")
from faceloss.compare.engines import on_slurm  # noqa: E402
from faceloss.compare.engines.drive import NotNow  # noqa: E402
from faceloss.compare.study import Competitor, Run, Study  # noqa: E402
from faceloss.errors import BadInput, CouldNotFinish  # noqa: E402
from faceloss.train.settings import Recipe  # noqa: E402

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
assert sys.argv[1:] == ["--noheader", "--array", "--user", USER, "--format", "%i %T %r"]
open(f"{QUEUE}.asked", "a").write("x")
if os.path.exists(f"{QUEUE}/.away"):
    sys.exit("squeue: error: Unable to contact slurm controller (connect failure)")
for job in os.listdir(QUEUE):
    if job.endswith(".sh"):
        continue
    if job.endswith(".pending"):
        print(job.removesuffix(".pending"), "PENDING", open(f"{QUEUE}/{job}").read())
        continue
    try:
        os.kill(int(open(f"{QUEUE}/{job}").read()), 0)
    except ProcessLookupError:
        continue
    print(job, "RUNNING None")
""",
    "scancel": """
import os, signal, sys
assert sys.argv[1] == "--quiet"
for job in sys.argv[2:]:
    os.killpg(int(open(f"{QUEUE}/{job}").read()), signal.SIGTERM)
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


@pytest.fixture
def queue(cluster: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The queue of the stand-in, whose commands are found from here on."""
    monkeypatch.setenv("PATH", cluster[1])
    return cluster[0]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the time between two looks at the queue pass."""
    now = [1000.0]
    monkeypatch.setattr(on_slurm.time, "monotonic", lambda: now[0])
    return lambda: now.append(now.pop() + on_slurm.LOOK + 1)


def test_a_job_has_left_the_queue_when_it_is_missing_for_a_while(queue: Path, wait: Callable[[], None]) -> None:
    (queue / "7_0").write_text(str(os.getpid()))
    jobs = on_slurm._Queue(queue)
    assert not jobs.left("7_0")
    assert not jobs.left("7_1")
    wait()
    assert not jobs.left("7_0")
    assert jobs.left("7_1")
    assert Path(f"{queue}.asked").read_text() == "xx"  # one look serves all jobs


def test_while_slurm_does_not_answer_no_job_has_left(
    queue: Path, wait: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (queue / ".away").touch()
    jobs = on_slurm._Queue(queue)
    for _ in range(2):
        assert not jobs.left("7_0")
        assert not jobs.left("7_1")
        assert jobs.why() == "Slurm does not answer (squeue)"
        wait()
    assert Path(f"{queue}.asked").read_text() == "xx"  # nor is it asked at every turn

    def hang(command: object, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired("squeue", timeout)

    with monkeypatch.context() as hanging:
        hanging.setattr(on_slurm.subprocess, "run", hang)
        assert not jobs.left("7_0")
        assert jobs.why() == "Slurm does not answer (squeue)"
    (queue / ".away").unlink()
    wait()
    assert not jobs.left("7_0")  # missed from now on
    wait()
    assert jobs.left("7_0")


def test_what_slurm_says_of_jobs_that_wait_is_told(queue: Path) -> None:
    (queue / "7_0").write_text(str(os.getpid()))
    (queue / "7_1.pending").write_text("Nodes required for job are DOWN, DRAINED or reserved")
    (queue / "7_2.pending").write_text("Resources")
    (queue / "7_3.pending").write_text("Resources")
    (queue / "8.pending").write_text("another study's")
    jobs = on_slurm._Queue(queue)
    jobs.ours = {"7_0", "7_1", "7_2", "7_3", "7_4"}
    jobs.left("7_0")
    assert jobs.why() == "3 in the queue (Nodes required for job are DOWN, DRAINED or reserved; Resources), 1 starting"
    jobs.ours = {"7_0"}
    assert jobs.why() == "1 starting"
    jobs.ours = {"7_4"}
    assert jobs.why() == ""
    (queue / "7_5.pending").write_text("None")  # Slurm has not looked at it yet
    jobs.ours = {"7_5"}
    jobs.looked = float("-inf")
    jobs.left("7_5")
    assert jobs.why() == "1 in the queue"


def test_slurm_that_took_jobs_before_will_take_them_again(
    queue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first refusal is for the user to see to; a later one is a controller that is away, or a limit reached."""
    runs = [Run(f"id{seed}", Competitor("softmax", "softmax", {}, "shuffled"), seed) for seed in range(2)]
    found: dict[str, Any] = {}
    monkeypatch.setattr(on_slurm, "drive", lambda *_, **words: found.update(words))
    sbatch = queue.parent / "bin" / "sbatch"
    takes = f"#!{sys.executable}\nprint('Submitted batch job 7')\n"
    refuses = f"#!{sys.executable}\nimport sys\nsys.exit('sbatch: error: Unable to contact slurm controller')\n"
    study = Study(data="builtin", losses=("softmax",), recipe=Recipe())
    on_slurm.on_slurm(runs, study, None, tmp_path / "runs", None, parameters={})  # type: ignore[arg-type]
    sbatch.write_text(refuses)
    with pytest.raises(CouldNotFinish, match=r"Slurm refused the jobs: .*Unable to contact slurm controller"):
        found["submit"](runs, "token")
    sbatch.write_text(takes)
    assert [job.job_id for job in found["submit"](runs, "token")] == ["7_0", "7_1"]
    sbatch.write_text(refuses)
    with pytest.raises(NotNow, match="Unable to contact slurm controller"):
        found["submit"](runs, "token")


def test_jobs_are_withdrawn_at_once_and_a_command_that_fails_is_no_error(
    queue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    for number, process in enumerate(child):
        (queue / f"7_{number}").write_text(str(process.pid))
    assert on_slurm._ask_slurm("scancel", "--quiet", "7_0", "7_1") == ""
    assert [process.wait(timeout=5) for process in child] == [-signal.SIGTERM] * 2
    assert on_slurm._ask_slurm("scancel", "--quiet", "9_9") is None
    monkeypatch.setenv("PATH", str(queue))
    assert on_slurm._ask_slurm("scancel", "--quiet", "7_0") is None


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
