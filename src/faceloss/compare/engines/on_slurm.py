"""The engine of a Slurm cluster: runs are the tasks of a job array, through submitit (the extra ``slurm``)."""

import getpass
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from faceloss.compare.engines.board import Board
from faceloss.compare.engines.drive import NotNow, drive
from faceloss.compare.engines.session import signals
from faceloss.compare.engines.work import Outcome, work
from faceloss.compare.prepare import Bench
from faceloss.compare.study import Run, Study
from faceloss.errors import BadInput, CouldNotFinish

MINUTES = 60  # of a job unless told otherwise; a run that needs more is saved in time and submitted again
ARRAY = 1000  # tasks of an array; Slurm's own limit is 1,001 unless configured
LOOK = 20.0  # seconds between two looks at the queue
ANSWER = 60.0  # seconds in which a command of Slurm must answer
FOLDER = "slurm"


def checked(parameters: dict[str, Any]) -> dict[str, Any]:
    """``parameters`` of Slurm jobs, found to be ones that there are.

    Raises:
        BadInput: an unknown parameter, a time that is not in minutes, or no Slurm on this machine.
    """
    if not isinstance(parameters.get("time", MINUTES), int):
        raise BadInput(f"--slurm time={parameters['time']}: give the time in minutes, for example --slurm time=120.")
    if parameters.get("cluster", "slurm") not in ("slurm", "local"):
        raise BadInput(f"--slurm cluster={parameters['cluster']}: slurm, or local to try it without a cluster.")
    if parameters.get("cluster") != "local":
        _executor(Path(FOLDER), parameters, None, 1)
    return parameters


def on_slurm(
    todo: list[Run],
    study: Study,
    bench: Bench,
    out: Path,
    board: Board,
    *,
    workers: int | None = None,
    parameters: dict[str, Any],
) -> None:
    """Do ``todo`` as tasks of a Slurm array, at most ``workers`` at once if given.

    ``parameters`` are those of sbatch as submitit spells them: ``partition``, ``time`` in minutes, ``mem``,
    ``gpus_per_node``, ``account``, ...; and ``cluster="local"``, submitit's stand-in for a cluster: processes on this
    machine. A job that comes to its time limit or is preempted saves, and its run is submitted again. The folder
    ``out/slurm`` holds the jobs' logs until all runs are done. Raises as
    :func:`faceloss.compare.engines.drive.drive`.
    """
    folder, local = out.absolute() / FOLDER, parameters.get("cluster") == "local"
    executor = _executor(folder, parameters, workers, study.recipe.threads)
    queue = _Queue(folder)

    def submit(runs: list[Run], token: str) -> list[Any]:
        jobs: list[Any] = []
        try:
            for start in range(0, len(runs), ARRAY):
                some = runs[start : start + ARRAY]
                jobs += executor.map_array(_job, some, [out.absolute()] * len(some), [token] * len(some))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            cancel(jobs)
            sentence = f"Slurm refused the jobs: {' '.join(str(error).split())[-300:]}"
            raise (NotNow if queue.ours else CouldNotFinish)(sentence) from error  # what it took once, it will again
        queue.ours |= {job.job_id for job in jobs}
        queue.looked = float("-inf")
        return jobs

    def ask(job: Any) -> Outcome | None:
        if job.paths.result_pickle.exists():
            if error := job.exception():
                return Outcome("could not finish", f"a Slurm job could not start: {str(error).strip()[-300:]}")
            return Outcome(*job.result())
        if not (job.done() if local else queue.left(job.job_id)):
            return None
        if job.paths.result_pickle.exists():  # written between the two looks
            return None
        return Outcome("lost", f"Slurm job {job.job_id} ended without a result; see {job.paths.stderr}")

    def cancel(jobs: Sequence[Any]) -> None:
        if local:
            for job in jobs:
                job.cancel(check=False)
        elif jobs:
            _ask_slurm("scancel", "--quiet", *(job.job_id for job in jobs))

    at_once = (workers or os.cpu_count() or 1) if local else len(todo)
    pause, why = (0.3, lambda: "") if local else (2.0, queue.why)
    drive(todo, bench, out, board, submit=submit, ask=ask, cancel=cancel, at_once=at_once, pause=pause, why=why)
    shutil.rmtree(folder, ignore_errors=True)


def _executor(folder: Path, parameters: dict[str, Any], workers: int | None, threads: int) -> Any:
    given = {"time": MINUTES, "cpus_per_task": threads, "job_name": "faceloss", **parameters}
    if given.pop("cluster", "slurm") == "local":
        executor = submitit.LocalExecutor(folder)
        executor.update_parameters(timeout_min=given["time"])
        return executor
    if workers:
        given["array_parallelism"] = workers
    try:
        executor = submitit.SlurmExecutor(folder)
        executor.update_parameters(**given)
    except RuntimeError as error:
        raise BadInput(
            "--engine slurm: this machine has no Slurm (srun is not found); start from a login node."
        ) from error
    except (ValueError, TypeError) as error:
        raise BadInput(f"--slurm: {str(error).splitlines()[0]}; names are those of sbatch, with _ for -.") from error
    return executor


class _Queue:
    """Which jobs Slurm has in its queue, waiting or running. ``squeue`` works where accounting (``sacct``) does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours: set[str] = set()
        self.looked = float("-inf")
        self.answers = True
        self.present: dict[str, tuple[str, str]] = {}  # state and reason of each job
        self.missed: dict[str, float] = {}  # when a job was first missed

    def left(self, job: str) -> bool:
        """Whether ``job`` has left the queue, for long enough that its result would be seen here."""
        if time.monotonic() - self.looked > LOOK:
            listed = _ask_slurm("squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", "%i %T %r")
            self.answers = listed is not None  # a controller that is away for a moment says nothing about the jobs
            if listed is not None:
                self.present = {name: (state, reason) for name, state, reason in map(_words, listed.splitlines())}
            self.looked = time.monotonic()
            os.listdir(self.folder)  # a file system shared over the network then looks for results that are new
        if not self.answers or job in self.present:
            self.missed.pop(job, None)
            return False
        return time.monotonic() - self.missed.setdefault(job, time.monotonic()) > LOOK

    def why(self) -> str:
        """What keeps our jobs from beginning, as Slurm says it."""
        if not self.answers:
            return "Slurm does not answer (squeue)"
        ours = [self.present[job] for job in self.ours & self.present.keys()]
        states = Counter(state for state, _ in ours)
        reasons = "; ".join(sorted({reason for state, reason in ours if state == "PENDING"} - {"None"}))
        pending = f"{states['PENDING']} in the queue" + (f" ({reasons})" if reasons else "")
        words = [pending] * (states["PENDING"] > 0) + [f"{states['RUNNING']} starting"] * (states["RUNNING"] > 0)
        return ", ".join(words)


def _words(line: str) -> tuple[str, str, str]:
    job, state, reason = (*line.split(maxsplit=2), "", "")[:3]
    return job, state, reason


def _ask_slurm(*command: str) -> str | None:
    """What a command of Slurm prints; None where it fails or does not answer."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None


def _job(run: Run, out: Path, token: str) -> Outcome:
    """What runs on the node. Slurm's warnings (time is up, preempted, cancelled) are requests to save and stop."""
    asked: list[bool] = []
    warning = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
    with signals(lambda: asked.append(True), signal.SIGTERM, signal.SIGINT, warning):
        return work(run, out, token, stop=lambda: bool(asked))
