"""``faceloss resume``: continue an interrupted comparison."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(1), help="Runs side by side. Default: one per core.")
def resume(runs: Path, workers: int | None) -> None:
    """Continue the comparison in the folder RUNS from its checkpoints; its records come out the same to the byte."""
    from faceloss.threads import single_threaded_numpy

    single_threaded_numpy()
    from faceloss.cli.compare import finish
    from faceloss.compare.engine import default_workers, read_study
    from faceloss.progress import Progress

    finish(read_study(runs), runs, workers or default_workers(), Progress())
