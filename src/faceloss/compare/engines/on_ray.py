"""The engine of a Ray cluster: a run is a Ray task (Ray core; the extra ``ray``)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceloss.compare.engines.board import Board
from faceloss.compare.engines.drive import drive
from faceloss.compare.engines.work import Outcome, work
from faceloss.compare.prepare import Bench
from faceloss.compare.study import Run, Study
from faceloss.errors import CouldNotFinish
from faceloss.threads import ONE_THREAD


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
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    import ray

    threads, device = study.recipe.threads, study.recipe.device
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address or os.environ.get("RAY_ADDRESS"), (workers or os.cpu_count() or 1) * threads)
    gpu = device.startswith("cuda") or (device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    task = ray.remote(work).options(
        num_cpus=threads,
        num_gpus=1 if gpu else 0,
        max_retries=0,  # lost workers are counted, and told of, where runs are handed out
        runtime_env={"env_vars": ONE_THREAD},
    )

    def submit(runs: list[Run], token: str) -> list[Any]:
        return [task.remote(run, out.absolute(), token) for run in runs]

    def ask(reference: Any) -> Outcome | None:
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
        for reference in references:
            ray.cancel(reference, force=True)

    try:
        at_once = workers or len(todo)
        drive(todo, bench, out, board, submit=submit, ask=ask, cancel=cancel, at_once=at_once, pause=0.5)
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str | None, cpus: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise CouldNotFinish(
            f"{where} does not answer ({_last_line(error)}); start it with: ray start --head"
        ) from error


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
