"""``faceloss report``: the page of a runs folder, from its records alone."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw the main figure as a PNG there.")
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(["csv", "markdown", "latex"]),
    help="Also write the results as RUNS/report.csv (every number), .md or .tex (the tables); may be repeated.",
)  # fmt: skip
def report(runs: Path, figure: Path | None, formats: tuple[str, ...]) -> None:
    """Write RUNS/report.html anew; an unfinished comparison is shown as far as it is."""
    from faceloss.report import write_figure, write_report, write_tables

    if (runs / "plan.json").exists():
        from faceloss.compare.records import assemble

        assemble(runs)
    click.echo(f"{write_report(runs).resolve()}")
    if figure is not None:
        click.echo(f"{write_figure(runs, figure).resolve()}")
    for name in formats:
        for table in write_tables(runs, name):
            click.echo(f"{table.resolve()}")
