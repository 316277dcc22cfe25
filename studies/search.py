"""Is it worth searching for the margin while training? Searches, fixed margins and controls, on the same faces.

    python studies/search.py                      the built-in faces, 5 seeds      (or: make search-study)
    python studies/search.py --real FACES         real faces, tested on LFW, 3 seeds
    python studies/search.py --real FACES --decisive      then 5 seeds of the arms that decide
    python studies/search.py --so-far             tables of the runs that are done already; starts none
    python studies/search.py --page               tables from the kept records alone

Arms: softmax, a grid of fixed margins, a random margin in each epoch, the reward-guided search as described and as its
code does it, with successive halving, AM-LFS, ours, and the controls: the best of as many models with equal margins,
ours without its scores, the schedules that were found from scratch under another seed, and fixed margins for as many
images as a search of width 4 sees. An interrupted study continues where it stopped. The records are text and are kept
in studies/records/; the tables in LAB.md are what `--page` prints.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from real_faces import DATA, RECORDS, gather, keep

from faceloss.compare.controls import BESIDE, CONTROLS, GRID, METHODS, against_best, arms, table
from faceloss.compare.engine import compare
from faceloss.compare.recipe import recipe_from
from faceloss.compare.records import assemble
from faceloss.compare.study import Study
from faceloss.errors import FacelossError
from faceloss.progress import Progress
from faceloss.report import write_report
from faceloss.threads import cores
from faceloss.train.settings import Augment, Recipe


def builtin(seeds: int) -> Study:
    """On the built-in faces, 12 epochs."""
    recipe = recipe_from("builtin", 12, ())
    return Study(
        title="Is it worth searching for the margin? Built-in faces",
        data="builtin",
        losses=arms((), controls=True),
        seeds=seeds,
        recipe=recipe.model_copy(update={"precision": "bf16", "device": "cpu"}),
    )


# Softmax, the grid, whose best is what all are compared with, the search as described and as published with the best of
# as many equal models, ours with and without its scores.
DECISIVE = (*GRID, METHODS["guided"], METHODS["published"], CONTROLS[0], METHODS["lookahead"], CONTROLS[2])


def real(seeds: int, losses: tuple[str, ...] = arms((), controls=True)) -> Study:
    """On 322 identities of real faces, a small net, 4 epochs; tested on LFW."""
    small: dict[str, Any] = {"net_options": {"width": 16}, "batch": 64, "precision": "bf16", "device": "cpu"}
    recipe = Recipe(epochs=4, learning_rate=0.1, augment=Augment(), **small)
    return Study(
        title="Is it worth searching for the margin? Real faces, tested on LFW",
        data=str(DATA / "train.csv"),
        tests=(str(DATA / "lfw" / "images"), str(DATA / "lfw" / "pairs.txt")),
        images=str(DATA / "lfw" / "images"),
        losses=losses,
        seeds=seeds,
        recipe=recipe,
    )


def take_over(study: Study, done: Path, runs: Path) -> None:
    """Runs that ``done`` has complete are not trained again: a folder's name says all that decides what is in it."""
    (runs / "runs").mkdir(parents=True)
    (runs / "study.json").write_text(study.model_dump_json(indent=1))
    for result in done.glob("runs/*/result.json"):
        shutil.copytree(result.parent, runs / "runs" / result.parent.name)


def kept_from(runs: Path, kept: Path) -> None:
    """Keep what the tables are made of, as text: records, costs, differences to the best fixed margin."""
    assemble(runs)
    against_best(runs)
    keep(runs, kept)
    shutil.copyfile(runs / BESIDE, kept / BESIDE)


def main() -> int:
    """Run, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, metavar="FACES", help="real faces instead; the folder with the face sets")
    parser.add_argument("--seeds", type=int, help="in place of the study's own number")
    parser.add_argument("--decisive", action="store_true", help="with --real: 5 seeds of the arms that decide")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--so-far", action="store_true", help="tables of the runs that are done already; starts none")
    parser.add_argument("--page", action="store_true", help="only print the tables of the kept records")
    arguments = parser.parse_args()
    if arguments.decisive and not arguments.real:
        parser.error("--decisive is a part of the study on real faces: give --real FACES")
    if arguments.decisive:
        chosen, name = real(arguments.seeds or 5, DECISIVE), "search_real_decisive"
    elif arguments.real:
        chosen, name = real(arguments.seeds or 3), "search_real"
    else:
        chosen, name = builtin(arguments.seeds or 5), "search"
    runs = Path("runs") / name
    try:
        if arguments.real and not (arguments.page or arguments.so_far):
            if not (arguments.real / "unpack").exists():
                print(f"{arguments.real} holds no face sets; give --real FOLDER, or use --page.", file=sys.stderr)
                return 2
            gather(arguments.real)
        if arguments.decisive and not runs.exists():
            take_over(chosen, Path("runs") / "search_real", runs)
        if not (arguments.page or arguments.so_far):
            compare(chosen, runs, workers=arguments.workers, progress=Progress())
        kept = RECORDS / name
        if not arguments.page:
            kept_from(runs, kept)
        page = Path("runs") / f"{name}_page"  # not kept: it is rebuilt from the records
        keep(kept, page)
        print(write_report(page))
        print(table(kept))
    except FacelossError as error:
        print(f"search: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
