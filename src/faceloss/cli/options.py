"""Options that several verbs have: what to train on, and how; and the consent to show faces."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from faceloss.compare.study import Single, Study
    from faceloss.progress import Callback

faces_option = click.option(
    "--show-faces",
    is_flag=True,
    help="Show the hardest errors as pictures also where they are faces of real people: only with their consent.",
)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``command`` with --data, --stream, --images, --label-noise, --imbalance, --overlap, --any-contract, --epochs,
    --budget and --set.
    """
    for option in (
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="NAME=VALUE",
            help="Change the recipe, e.g. --set learning_rate=0.05 --set net=iresnet18 --set augment.shift=0.",
        ),
        click.option("--budget", help="Instead of --epochs: images that each run may see, e.g. 200000 or 200k."),
        click.option("--epochs", type=click.IntRange(1), help="Passes over the training images."),
        click.option(
            "--overlap",
            type=click.Choice(["drop-from-train", "drop-from-test", "keep"]),
            default="drop-from-train",
            show_default=True,
            help="People and pictures of training that a test has too, copies and renamed ones included; counted.",
        ),
        click.option(
            "--imbalance",
            type=float,
            metavar="RATIO",
            help="Make training imbalanced: the last identity keeps 1/RATIO of its images, the first all.",
        ),
        click.option(
            "--label-noise",
            "label_noise",
            multiple=True,
            metavar="flip=SHARE,outlier=SHARE",
            help="Spoil training on purpose: labels replaced by another identity's, images replaced by strangers; the "
            "same for every loss and seed (docs/robustness.md).",
        ),
        click.option(
            "--any-contract",
            is_flag=True,
            help="Go on where a test was prepared otherwise than the training faces, as their contract.json say.",
        ),
        click.option("--images", type=click.Path(path_type=Path), help="The folder that a pair list refers to."),
        click.option(
            "--stream",
            is_flag=True,
            help="Decode the faces of --data whenever they are needed instead of keeping them in the cache: for "
            "sets larger than the disk. The results are the same.",
        ),
        click.option(
            "--data",
            required=True,
            help="Faces to train on: builtin, a folder with one sub-folder per identity, "
            "the same as a .tar, a .csv with columns file, identity (optional: split, group), an InsightFace .rec, "
            "shards {000..004}.tar, LMDB, or a Hugging Face dataset on disk.",
        ),
    ):
        command = option(command)
    return command


def study_from(given: Mapping[str, Any]) -> "Callable[..., Study]":
    """A function of progress, losses, single and other fields that makes the study of a command with `data_options`.

    Each of the options ``given`` that has the name of a field of the study is that field. The noise is looked at here,
    in each process of torchrun; the recipe, which may need the faces, when the function is called.

    Raises:
        BadInput: the noise cannot be; by the function: the recipe cannot be.
    """
    from faceloss.compare.noise import noise_from
    from faceloss.compare.recipe import recipe_from, resolve
    from faceloss.compare.study import Study

    noise = noise_from(given["label_noise"], given["imbalance"])
    fields = {name: value for name, value in given.items() if name in Study.model_fields}
    fields |= {"images": str(given["images"]) if given["images"] else None, "noise": noise}

    def study(progress: "Callback", losses: tuple[str, ...], single: "Single | None" = None, **more: Any) -> Study:
        recipe = recipe_from(given["data"], given["epochs"], given["settings"])
        known = (given["budget"], given["data"], bool(given["tests"]), progress, single, noise, given["stream"])
        return Study(**fields | more, losses=losses, single=single, recipe=resolve(recipe, *known))

    return study
