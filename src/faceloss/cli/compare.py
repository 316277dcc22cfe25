"""``faceloss compare``: the main job."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from faceloss.cli.engines import engine_of, engine_options

DEFAULT_LOSSES = "softmax,normface,cosface(s=30,m=0.2),arcface(s=30,m=0.3),triplet"


@click.command()
@click.option(
    "--data",
    required=True,
    help="Faces to train on: builtin, a folder with one sub-folder per identity, "
    "the same as a .tar, or a .csv with columns file, identity (optional: split, group).",
)
@click.option(
    "--losses",
    "loss_text",
    default=DEFAULT_LOSSES,
    show_default=True,
    help="Losses to compare, separated by commas; hyperparameters in parentheses. 'all' is every built-in loss.",
)
@click.option(
    "--loss",
    "loss_files",
    multiple=True,
    metavar="FILE.py",
    help="Also compare the loss in this file of your own (docs/adding-a-loss.md); with hyperparameters: "
    "'FILE.py(m=0.3)'. May be repeated.",
)
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs per loss. 3 explore, 5 claim."
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images.")
@click.option("--budget", help="Instead of --epochs: images that each run may see, e.g. 200000 or 200k.")
@click.option(
    "--test",
    "tests",
    multiple=True,
    help="Test on this: a folder, .tar, .csv, InsightFace .bin, or an LFW "
    "pair list (with --images). May be repeated. Default: test identities of --data.",
)
@click.option("--images", type=click.Path(path_type=Path), help="The folder that a pair list refers to.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Runs folder; made by this command.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change the recipe, e.g. --set learning_rate=0.05 --set net=iresnet18 --set augment.shift=0.",
)
@engine_options
@click.option("--title", default="Comparison of losses", help="Title of the report.")
def compare(
    data: str,
    loss_text: str,
    loss_files: tuple[str, ...],
    seeds: int,
    epochs: int | None,
    budget: str | None,
    tests: tuple[str, ...],
    images: Path | None,
    out: Path,
    settings: tuple[str, ...],
    workers: int | None,
    engine: str | None,
    ray_address: str | None,
    slurm: tuple[str, ...],
    title: str,
) -> None:
    """Train each loss on the same faces, with the same recipe and budget, over several seeds, and write one report.

    The result is OUT/report.html (a page to read), OUT/records.jsonl (every number), and a trained model per run.
    A comparison that was interrupted goes on with `faceloss resume OUT`.
    """
    from faceloss.threads import single_threaded_numpy

    single_threaded_numpy()
    from faceloss.compare.outside import add_files
    from faceloss.compare.recipe import recipe_from, resolve
    from faceloss.compare.study import Study, expand, parse_loss, split_specifications

    def study(progress: Any) -> Study:
        specifications = add_files(loss_files, expand(split_specifications(loss_text)))
        for specification in specifications:
            parse_loss(specification)  # a misspelt name is found before minutes of loading
        recipe = recipe_from(data, epochs, settings)
        return Study(
            title=title,
            data=data,
            tests=tests,
            images=str(images) if images else None,
            losses=specifications,
            seeds=seeds,
            recipe=resolve(recipe, budget, data, bool(tests), progress),
        )

    finish(study, out, engine, workers, ray_address, slurm)


def finish(study_of: Callable[[Any], Any], out: Path, *engine_words: Any) -> None:
    """Run what is left of a study, write its page, and say where it is.

    Under ``torchrun`` the processes do each run together; all else, ``study_of`` too, is left to the first of them.
    """
    from faceloss.compare.engine import compare as run_all
    from faceloss.progress import Progress
    from faceloss.report import write_report
    from faceloss.train.torchrun import joined

    with joined() as ranks:
        progress = Progress(silent=ranks.rank > 0)
        engine = engine_of(*engine_words, processes=ranks.size)
        study = study_of(progress) if ranks.rank == 0 else None  # the others are told
        run_all(study, out, engine=engine, progress=progress, ranks=ranks)
        if ranks.rank == 0:
            click.echo(f"{write_report(out).resolve()}")
