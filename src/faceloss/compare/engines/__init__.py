"""Who does the runs of a study: this process, worker processes, a Ray cluster, or Slurm.

An engine is a plain function of the runs to do, the study, its faces, the runs folder and the board that shows how far
everything is; what else it needs is bound to it beforehand. It returns when all runs have their ``result.json``, and
raises otherwise. Runs are independent and continue from their checkpoints, so engines share nothing but the runs
folder, and the records do not depend on the engine.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from faceloss.compare.engines.board import Board
from faceloss.compare.prepare import Bench
from faceloss.compare.study import Run, Study
from faceloss.errors import BadInput, unknown
from faceloss.threads import cores

Engine = Callable[[list[Run], Study, Bench, Path, Board], None]
NAMES = ("here", "processes", "ray", "slurm")


def on_this_machine(todo: list[Run], study: Study, bench: Bench, out: Path, board: Board, *, workers: int) -> None:
    """The engine where none was chosen: this process where one run at a time is enough, worker processes elsewhere."""
    from faceloss.compare.engines.here import here
    from faceloss.compare.engines.processes import processes

    if min(workers, len(todo)) == 1:
        here(todo, study, bench, out, board)
    else:
        processes(todo, study, bench, out, board, workers=workers)


def choose(
    name: str | None = None,
    *,
    workers: int | None = None,
    ray_address: str | None = None,
    slurm: dict[str, Any] | None = None,
) -> Engine:
    """The engine called ``name``, ready to use.

    Args:
        name: one of ``NAMES``; None: ``here`` or ``processes``, whichever ``workers`` asks for.
        workers: runs side by side; None: one per core on this machine, as many as the cluster takes elsewhere.
        ray_address: of a Ray cluster; None: what RAY_ADDRESS says, else Ray on this machine.
        slurm: parameters of the Slurm jobs, such as ``{"partition": "gpu", "time": 120}``.

    Raises:
        BadInput: options that do not go together, or an optional package that is not installed.
    """
    if name not in (None, *NAMES):
        raise BadInput(unknown("engine", str(name), NAMES))
    if ray_address and name != "ray":
        raise BadInput("--ray-address goes with --engine ray.")
    if slurm and name != "slurm":
        raise BadInput("--slurm goes with --engine slurm.")
    if name == "here":
        from faceloss.compare.engines.here import here

        if (workers or 1) > 1:
            raise BadInput(f"--engine here does one run at a time, not {workers}; choose --engine processes.")
        return here
    if name == "ray":
        _needs("ray", "ray")
        from faceloss.compare.engines.on_ray import on_ray

        return partial(on_ray, workers=workers, address=ray_address)
    if name == "slurm":
        _needs("slurm", "submitit")
        from faceloss.compare.engines.on_slurm import checked, on_slurm

        return partial(on_slurm, workers=workers, parameters=checked(slurm or {}))
    if name == "processes":
        from faceloss.compare.engines.processes import processes

        return partial(processes, workers=workers or cores())
    return partial(on_this_machine, workers=workers or cores())


def _needs(engine: str, package: str) -> None:
    if find_spec(package) is None:
        raise BadInput(f"--engine {engine} needs the package {package}; install faceloss[{engine}].")
