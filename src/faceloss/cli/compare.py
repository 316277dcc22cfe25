"""``faceloss compare``: the main job."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from faceloss.cli.engines import NAMES, engine_of, engine_options
from faceloss.cli.options import data_options, faces_option, study_from

DEFAULT_LOSSES = "softmax,normface,cosface(s=30,m=0.2),arcface(s=30,m=0.3),triplet"


@click.command()
@data_options
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
@click.option(
    "--test",
    "tests",
    multiple=True,
    help="Test on this: a folder, .tar, .csv, InsightFace .bin, or an LFW "
    "pair list (with --images); a list for each group, as RFW has, is '{African,Asian}_test.bin'. May be repeated. "
    "Default: test identities of --data.",
)
@click.option(
    "--robustness",
    is_flag=False,
    flag_value="all",
    metavar="[NAME,...]",
    help="Also judge each network on corrupted probes, five levels of each of: brightness, contrast, blur, jpeg, "
    "downscale, occlusion, mask (all of them where none is named). Costs 5 more passes over the test images for each "
    "corruption, 35 for all.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Runs folder; made by this command.")
@engine_options
@click.option(
    "--balance",
    is_flag=True,
    help="Also train each loss on batches with equally many images of every group, as many images in all.",
)
@faces_option
@click.option("--title", default="Comparison of losses", help="Title of the report.")
def compare(
    loss_text: str, loss_files: tuple[str, ...], robustness: str | None, out: Path, show_faces: bool, **given: Any
) -> None:
    """Train each loss on the same faces, with the same recipe and budget, over several seeds, and write one report.

    The result is OUT/report.html (a page to read), OUT/records.jsonl (every number), and a trained model per run.
    A comparison that was interrupted goes on with `faceloss resume OUT`.
    """
    from faceloss.threads import single_threaded_numpy

    single_threaded_numpy()
    from faceloss.compare.outside import add_files
    from faceloss.compare.study import Study, expand, parse_loss, split_specifications
    from faceloss.data.corrupt import corruptions_of

    make = study_from(given)
    corruptions = corruptions_of(robustness) if robustness is not None else ()

    def study(progress: Any) -> Study:
        specifications = add_files(loss_files, expand(split_specifications(loss_text)))
        for specification in specifications:
            parse_loss(specification)  # a misspelt name is found before minutes of loading
        return make(progress, specifications, robustness=corruptions)

    finish(study, out, given, show_faces=show_faces)


def finish(study_of: Callable[[Any], Any], out: Path, given: Mapping[str, Any], *, show_faces: bool = False) -> None:
    """Run what is left of a study, write its page, and say where it is; of a single training, hand over the model.

    Under ``torchrun`` the processes do each run together; all else, ``study_of`` too, is left to the first of them.
    ``given`` are the options of the command, among them those that say who does the runs, if it has such.
    """
    from faceloss.compare.engine import compare as run_all
    from faceloss.compare.model import hand_over
    from faceloss.progress import Progress
    from faceloss.report import write_report
    from faceloss.train.torchrun import joined

    with joined() as ranks:
        progress = Progress(silent=ranks.rank > 0)
        engine = engine_of(**{name: given[name] for name in NAMES if name in given}, processes=ranks.size)
        study = study_of(progress) if ranks.rank == 0 else None  # the others are told
        run_all(study, out, engine=engine, progress=progress, ranks=ranks, show_faces=show_faces)
        if study is not None:
            page = write_report(out, show_faces=show_faces).resolve()
            click.echo(words(out, *hand_over(out)) if study.single else f"{page}")


def words(out: Path, tensors: Path, contract: Path) -> str:
    """Where the trained model is, and how to use it."""
    return f"""\
{tensors.resolve()}
{contract.resolve()}
{(out / "report.html").resolve()}

from faceloss.compare.model import load
embed = load({str(out.resolve())!r})  # what the crops must be is said in {contract.name}
embeddings = embed(crops)  # [N,H,W,3] uint8 RGB -> [N,dim]; compare them by cosine"""
