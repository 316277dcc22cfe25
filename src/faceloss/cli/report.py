"""``faceloss report``: the page of a runs folder, from its records alone."""

from pathlib import Path

import click

from faceloss.cli.options import faces_option


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--figure", type=click.Path(path_type=Path), help="Also draw the main figure as a PNG there.")
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(["csv", "markdown", "latex"]),
    help="Also write the results as RUNS/report.csv (every number), .md or .tex (the tables), and beside it "
    "report-robustness, report-why, report-cost and report-curves.csv where the records have them; may be repeated.",
)  # fmt: skip
@faces_option
@click.option(
    "--latency", is_flag=True, help="Also measure here how long detecting, embedding and matching take: half a minute."
)
def report(runs: Path, figure: Path | None, formats: tuple[str, ...], show_faces: bool, latency: bool) -> None:
    """Write RUNS/report.html anew; an unfinished comparison is shown as far as it is."""
    from faceloss.report import write_figure, write_report, write_tables

    if (runs / "plan.json").exists():
        from faceloss.compare.records import assemble

        assemble(runs)
        if show_faces:
            from faceloss.compare.failures import keep_anew

            keep_anew(runs)
    if latency:
        _measure(runs)
    click.echo(f"{write_report(runs, show_faces=show_faces).resolve()}")
    if figure is not None:
        click.echo(f"{write_figure(runs, figure).resolve()}")
    for name in formats:
        for table in write_tables(runs, name):
            click.echo(f"{table.resolve()}")


def _measure(runs: Path) -> None:
    """Write ``RUNS/latency.jsonl`` of the first network that is there; all of a study have the same form."""
    import json

    from faceloss.compare.latency import measure
    from faceloss.compare.model import load_model
    from faceloss.errors import BadInput
    from faceloss.files import write_atomically
    from faceloss.progress import Progress

    model = next(iter(sorted(runs.glob("runs/*/model.json"))), None)
    if model is None:
        raise BadInput(f"{runs} holds no trained network yet, so there is no latency to measure.")
    progress = Progress()
    rows = list(measure(load_model(model.parent), progress))
    progress.clear()
    write_atomically(runs / "latency.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
