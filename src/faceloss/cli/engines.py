"""The options of ``compare`` and ``resume`` that say who does the runs."""

from collections.abc import Callable
from typing import Any

import click

NAMES = ("engine", "workers", "ray_address", "slurm")  # of the options below


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``command`` with the options whose values :func:`engine_of` takes."""
    for option in (
        click.option(
            "--slurm",
            multiple=True,
            metavar="NAME=VALUE",
            help="A parameter of the Slurm jobs, e.g. --slurm partition=gpu --slurm time=120 (minutes).",
        ),
        click.option("--ray-address", help="The Ray cluster. Default: RAY_ADDRESS; without it, Ray on this machine."),
        click.option(
            "--engine",
            metavar="[here|processes|ray|slurm]",
            help="Who does the runs (docs/many-machines.md). Default: this process, or worker processes.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1),
            help="Runs side by side. Default: one per core; on a cluster, as many as it takes.",
        ),
    ):
        command = option(command)
    return command


def engine_of(
    engine: str | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
    slurm: tuple[str, ...] = (),
    *,
    processes: int = 1,
) -> Any:
    """The engine that the options ask for; None where ``processes`` that torchrun started do the runs.

    Raises:
        BadInput: options that do not go together, or an optional package that is missing.
    """
    from faceloss.compare.engines import choose
    from faceloss.compare.study import parse_value
    from faceloss.errors import BadInput

    if processes > 1:
        if engine or workers or ray_address or slurm:
            raise BadInput(
                f"torchrun started {processes} processes, which do one run after another together; leave out --engine, "
                "--workers, --ray-address and --slurm, or start faceloss without torchrun."
            )
        return None
    parameters = {}
    for text in slurm:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise BadInput(f"--slurm {text}: write NAME=VALUE, for example --slurm partition=gpu.")
        if name in parameters:
            raise BadInput(f"--slurm {name} is given twice.")
        parameters[name] = parse_value(value)
    return choose(engine, workers=workers, ray_address=ray_address, slurm=parameters)
