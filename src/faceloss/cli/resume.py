"""``faceloss resume``: continue an interrupted comparison or training."""

from pathlib import Path
from typing import Any

import click

from faceloss.cli.engines import engine_options


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@engine_options
def resume(runs: Path, **given: Any) -> None:
    """Continue what runs in the folder RUNS from its checkpoints; its records come out the same to the byte."""
    from faceloss.threads import single_threaded_numpy

    single_threaded_numpy()
    from faceloss.cli.compare import finish
    from faceloss.compare.engine import read_study

    finish(lambda progress: read_study(runs), runs, given)
