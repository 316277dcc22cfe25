"""The options of ``compare`` and ``train`` that say what to train on, and how."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


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
