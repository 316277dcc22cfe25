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
@click.option(
    "--show-faces",
    is_flag=True,
    help="Show the hardest errors as pictures also where they are faces of real people: only with their consent.",
)
def report(runs: Path, figure: Path | None, formats: tuple[str, ...], show_faces: bool) -> None:
    """Write RUNS/report.html anew; an unfinished comparison is shown as far as it is."""
    from faceloss.report import write_figure, write_report, write_tables

    if (runs / "plan.json").exists():
        from faceloss.compare.records import assemble

        assemble(runs)
        if show_faces:
            from faceloss.compare.failures import keep_anew

            keep_anew(runs)
    click.echo(f"{write_report(runs, show_faces=show_faces).resolve()}")
    if figure is not None:
        click.echo(f"{write_figure(runs, figure).resolve()}")
    for name in formats:
        for table in write_tables(runs, name):
            click.echo(f"{table.resolve()}")
