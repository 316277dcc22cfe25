"""The engine of a Ray cluster: a run is a Ray task (Ray core; the extra ``ray``)."""

import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from faceloss.compare.engines.board import Board
from faceloss.compare.engines.drive import drive
from faceloss.compare.engines.work import Outcome, work
from faceloss.compare.prepare import Bench
from faceloss.compare.study import Run, Study
from faceloss.errors import CouldNotFinish
from faceloss.threads import ONE_THREAD

ANSWER = 10.0  # seconds in which the machine at the cluster's address must answer
GONE = 30.0  # seconds after which a head that does not answer is given up; Ray ends the whole process after 60


def on_ray(
    todo: list[Run],
    study: Study,
    bench: Bench,
    out: Path,
    board: Board,
    *,
    workers: int | None = None,
    address: str | None = None,
) -> None:
    """Do ``todo`` on the Ray cluster at ``address``, at most ``workers`` at once if given.

    Without an address it is the cluster of RAY_ADDRESS, and without that one Ray is started on this machine. A run asks
    for ``recipe.threads`` CPUs, and for a GPU where the cluster has one and the recipe's device allows it. Raises as
    :func:`faceloss.compare.engines.drive.drive`.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if address:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")  # else 20 attempts, 40 s each, to find what is no Ray
    import ray

    threads, device = study.recipe.threads, study.recipe.device
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address, (workers or os.cpu_count() or 1) * threads)
    gpu = device.startswith("cuda") or (device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    task = ray.remote(work).options(
        num_cpus=threads,
        num_gpus=1 if gpu else 0,
        max_retries=0,  # lost workers are counted, and told of, where runs are handed out
        runtime_env={"env_vars": ONE_THREAD},
    )

    head = _Head(ray.get_runtime_context().gcs_address, out)

    def submit(runs: list[Run], token: str) -> list[Any]:
        return [task.remote(run, out.absolute(), token) for run in runs]

    def ask(reference: Any) -> Outcome | None:
        head.look()
        ready, _ = ray.wait([reference], timeout=0)
        if not ready:
            return None
        try:
            return Outcome(*ray.get(reference))
        except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as error:
            return Outcome("could not finish", f"a Ray worker could not start: {_last_line(error)}")
        except ray.exceptions.RayError as error:
            return Outcome("lost", f"Ray: {type(error).__name__}")

    def cancel(references: Sequence[Any]) -> None:
        for reference in () if head.gone else references:  # without a head they end by themselves
            ray.cancel(reference, force=True)

    def why() -> str:
        needed = {"CPU": threads, "GPU": int(gpu)}
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        words = f"{threads} CPU{'s' * (threads > 1)}" + " and a GPU" * gpu
        if not any(all(has.get(name, 0) >= number for name, number in needed.items()) for has in alive):
            return f"no machine of the Ray cluster has {words}"
        return f"each asks for {words}, of {sum(has.get('CPU', 0) for has in alive):g} CPUs in the Ray cluster"

    try:
        at_once = workers or len(todo)
        with redirect_stdout(sys.stderr):  # Ray prints there what befalls its machines
            drive(todo, bench, out, board, submit=submit, ask=ask, cancel=cancel, at_once=at_once, pause=0.5, why=why)
    finally:
        if ours and not head.gone:
            ray.shutdown()


class _Head:
    """The head of the cluster, without which nothing goes on."""

    def __init__(self, address: str, out: Path) -> None:
        self.address, self.out = address, out
        self.looked = self.answered = time.monotonic()
        self.gone = False

    def look(self) -> None:
        """See now and then that it is there.

        Raises:
            CouldNotFinish: it has not been for ``GONE`` seconds.
        """
        if time.monotonic() - self.looked < ANSWER:
            return
        self.looked = time.monotonic()
        try:
            _knock(self.address)
            self.answered = self.looked
        except OSError as error:
            if self.looked - self.answered > GONE:
                self.gone = True
                raise CouldNotFinish(
                    f"the head of the Ray cluster at {self.address} is gone ({error}); what was saved is intact: start "
                    f"it again, and continue with: faceloss resume {self.out}"
                ) from error


def _connect(ray: Any, address: str | None, cpus: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            _knock(address)
            ray.init(address=address, **quiet)
        else:
            ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, ImportError, ray.exceptions.RayError) as error:
        if not address:
            raise CouldNotFinish(f"Ray could not be started on this machine ({_last_line(error)}).") from error
        if re.search("auth.*token", f"{error} {error.__cause__}", re.IGNORECASE):
            raise CouldNotFinish(
                f"the Ray cluster at {address} asks for a token that is not here, or is another here; Ray finds it in "
                "RAY_AUTH_TOKEN, or in the file that RAY_AUTH_TOKEN_PATH names."
            ) from error
        raise CouldNotFinish(
            f"the Ray cluster at {address} cannot be reached ({_last_line(error)}); see that it runs (ray start "
            "--head), and that this is its address."
        ) from error


def _knock(address: str) -> None:
    """See that something listens at ``address``, which Ray itself takes many minutes to doubt.

    Raises:
        OSError: it does not.
    """
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if found:  # else "auto", or another word for Ray to understand
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER).close()


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
