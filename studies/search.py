"""Is it worth searching for the margin while training? Searches, fixed margins and controls, on the same faces.

    python studies/search.py                      the built-in faces, 5 seeds      (or: make search-study)
    python studies/search.py --real FACES         real faces, tested on LFW, 3 seeds
    python studies/search.py --so-far             tables of the runs that are done already; starts none
    python studies/search.py --page               tables from the kept records alone

Arms: softmax, a grid of fixed margins, a random margin in each epoch, the reward-guided search as described and as its
code does it, with successive halving, AM-LFS, ours, and the controls: the best of as many models with equal margins,
ours without its scores, the schedules that were found from scratch under another seed, and fixed margins for as many
images as a search of width 4 sees. An interrupted study continues where it stopped. The records are text and are kept
in studies/records/; the tables in LAB.md are what `--page` prints.
"""

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from real_faces import DATA, HERE, RECORDS, gather

from faceloss.compare.engine import compare
from faceloss.compare.recipe import recipe_from
from faceloss.compare.records import assemble
from faceloss.compare.study import Study
from faceloss.errors import FacelossError
from faceloss.evaluate import holm, paired_difference, summary, verdict
from faceloss.progress import Progress
from faceloss.report import write_report
from faceloss.threads import cores
from faceloss.train.settings import Augment, Recipe

START = "a=-600"  # of every search of one number: m = 0.2 at s = 32, the middle of the grid
GRID = tuple(f"cosface(s=32,m={m})" for m in (0.05, 0.1, 0.2, 0.3, 0.4))
SEARCHES = (
    "random_softmax",
    f"search_softmax({START})",
    f"search_softmax({START},method=published)",
    "am_lfs",
    "lookahead_margin",
)
CONTROLS = (
    f"search_softmax({START},method=same)",
    f"search_softmax({START},method=replay)",
    "lookahead_margin(method=random)",
    "lookahead_margin(method=replay)",
    "am_lfs(method=replay)",
    f"search_softmax({START},candidates=8,trial=halving)",
)
LONGER = ("softmax*4", "cosface(s=32,m=0.2)*4")
OURS = "lookahead_margin"


def builtin(seeds: int) -> Study:
    """On the built-in faces, 12 epochs."""
    recipe = recipe_from("builtin", 12, ())
    return Study(
        title="Is it worth searching for the margin? Built-in faces",
        data="builtin",
        losses=(*GRID, *SEARCHES, *CONTROLS, *LONGER),
        seeds=seeds,
        recipe=recipe.model_copy(update={"precision": "bf16", "device": "cpu"}),
    )


def real(seeds: int) -> Study:
    """On 322 identities of real faces, a small net, 6 epochs; tested on LFW."""
    recipe = Recipe(
        net_options={"width": 16}, epochs=6, batch=64, learning_rate=0.1, augment=Augment(), precision="bf16", device="cpu"
    )
    return Study(
        title="Is it worth searching for the margin? Real faces, tested on LFW",
        data=str(DATA / "train.csv"),
        tests=(str(DATA / "lfw" / "images"), str(DATA / "lfw" / "pairs.txt")),
        images=str(DATA / "lfw" / "images"),
        losses=(*GRID, *SEARCHES, *CONTROLS, *LONGER),
        seeds=seeds,
        recipe=recipe,
    )


def main() -> int:
    """Run, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, metavar="FACES", help="real faces instead; the folder with the face sets")
    parser.add_argument("--seeds", type=int, help="in place of the study's own number")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--so-far", action="store_true", help="tables of the runs that are done already; starts none")
    parser.add_argument("--page", action="store_true", help="only print the tables of the kept records")
    arguments = parser.parse_args()
    chosen = real(arguments.seeds or 3) if arguments.real else builtin(arguments.seeds or 5)
    name = "search_real" if arguments.real else "search"
    runs = Path("runs") / name
    try:
        if arguments.real and not (arguments.page or arguments.so_far):
            if not (arguments.real / "unpack").exists():
                print(f"{arguments.real} holds no face sets; give --real FOLDER, or use --page.", file=sys.stderr)
                return 2
            gather(arguments.real)
        if arguments.so_far:
            assemble(runs)
        elif not arguments.page:
            compare(chosen, runs, workers=arguments.workers, progress=Progress())
    except FacelossError as error:
        print(f"search: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
