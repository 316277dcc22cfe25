"""``faceloss report``: the page of a runs folder, from its records alone."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw the main figure as a PNG there.")
def report(runs: Path, figure: Path | None) -> None:
    """Write RUNS/report.html anew; an unfinished comparison is shown as far as it is."""
    from faceloss.report import write_figure, write_report

    if (runs / "plan.json").exists():
        from faceloss.compare.records import assemble

        assemble(runs)
    click.echo(f"{write_report(runs).resolve()}")
    if figure is not None:
        click.echo(f"{write_figure(runs, figure).resolve()}")
