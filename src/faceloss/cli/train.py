"""``faceloss train``: one network under one loss, for its own sake."""

from pathlib import Path
from typing import Any

import click

from faceloss.cli.options import data_options, study_from


@click.command()
@data_options
@click.option(
    "--loss",
    "specification",
    required=True,
    help="The loss, hyperparameters in parentheses, e.g. 'arcface(s=30,m=0.3)'; or FILE.py of your own.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides all that is random.")
@click.option(
    "--val",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Share of the identities kept out of training, on which an EER is measured after each epoch.",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    help="Judge the model on this: a folder, .tar, .csv, InsightFace .bin, or an LFW pair list (with --images). May be "
    "repeated. Its people are left out of training. Default: no test, but that of --data if it names one.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the model; made by this command."
)
def train(specification: str, seed: int, val: float, out: Path, **given: Any) -> None:
    """Train one network under one loss on all the faces, and hand over the model.

    The result is OUT/model.safetensors (the weights) and OUT/model.json (network, preprocessing, how it was trained).
    A training that was interrupted goes on with `faceloss resume OUT`.
    """
    from faceloss.threads import single_threaded_numpy

    single_threaded_numpy()
    from faceloss.cli.compare import finish
    from faceloss.compare.outside import FILE, add_files
    from faceloss.compare.study import Single, Study, parse_loss

    make = study_from(given)

    def study(progress: Any) -> Study:
        (loss,) = add_files([specification], ()) if FILE.fullmatch(specification) else (specification,)
        parse_loss(loss)  # a misspelt name is found before minutes of loading
        return make(progress, (loss,), Single(seed=seed, val=val), title=f"Training under {loss}", seeds=1)

    finish(study, out, given)
