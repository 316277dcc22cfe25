"""``faceloss search``: the margin is searched for while the network trains."""

import os
from pathlib import Path
from typing import Any

import click

from faceloss.cli.engines import engine_options
from faceloss.cli.options import data_options, study_from

METHODS = ("random", "guided", "published", "am-lfs", "lookahead")


@click.command()
@data_options
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar=f"[{'|'.join(METHODS)}]",
    help="How to search; may be repeated. Default: lookahead. 'faceloss losses show lookahead_margin' and 'losses show "
    "search_softmax' say what they do.",
)
@click.option(
    "--controls",
    is_flag=True,
    help="All methods beside what they must beat: a grid of fixed margins, the best of as many models with equal "
    "margins, what was found from scratch, fixed margins for as many images.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs per row. 3 explore, 5 claim.")
@click.option(
    "--test",
    "tests",
    multiple=True,
    help="Test on this: a folder, .tar, .csv, InsightFace .bin, or an LFW pair list (with --images). May be repeated. "
    "Default: test identities of --data. No search is ever rewarded by them.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Runs folder; made by this command.")
@engine_options
@click.option("--title", default="Search for the margin", help="Title of the report.")
def search(methods: tuple[str, ...], controls: bool, out: Path, **given: Any) -> None:
    """Search for the margin while the network trains, rewarded by validation identities, beside softmax.

    OUT/report.html shows what was tried and chosen in each epoch, what came of it, and what it cost. With workers to
    spare, the candidates of a run are trained side by side. A search that was interrupted goes on with
    `faceloss resume OUT`; single searches can be compared with any loss: `faceloss compare --losses
    search_softmax,random_softmax,am_lfs,cosface`.
    """
    from faceloss.errors import BadInput, unknown
    from faceloss.threads import single_threaded_numpy

    single_threaded_numpy()
    for method in methods:
        if method not in METHODS:
            raise BadInput(unknown("method", method, METHODS))
    if methods and controls:
        raise BadInput("--controls runs every method; leave out --method.")
    from faceloss.cli.compare import finish
    from faceloss.compare.controls import against_best, arms, table

    make = study_from(given)
    finish(lambda progress: make(progress, arms(methods or METHODS[-1:], controls=controls)), out, given)
    if controls and os.environ.get("RANK", "0") == "0":
        against_best(out)
        click.echo(table(out))
