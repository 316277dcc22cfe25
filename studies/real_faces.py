"""The losses of the first release on real faces: trained on 322 identities, tested on all of LFW.

    python studies/real_faces.py --faces ../shared/data      (or: make study)

Trains on pins `train` + celeba `train` and tests on LFW: the official 6,000 pairs, the same with the hardest
negatives, the full matrix of 87.5 million pairs, and other images of the training identities (closed set). The face
sets are not ours to give away; their folder holds a script `unpack`. An interrupted study continues where it stopped.
The records are text and are kept in studies/records/real_faces; `--page` rebuilds page and figure from them alone.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path

from faceloss.cli.compare import default_workers
from faceloss.compare.engine import compare
from faceloss.compare.study import Study
from faceloss.errors import FacelossError
from faceloss.progress import Progress
from faceloss.report import write_figure, write_report
from faceloss.train.settings import Augment, Recipe

HERE = Path(__file__).resolve().parent
KEPT = HERE / "records" / "real_faces"
DATA = Path(".data")  # relative, so that the records hold no path of one machine

LOSSES = (
    "softmax",
    "normface",
    "cosface(s=30,m=0.2)",
    "arcface(s=30,m=0.3)",
    "arcface(s=30,m=0.3,gradient=straight-through)",
    "triplet(mining=random)",
    "triplet(mining=semi_hard)",
    "triplet(mining=hard)",
    "margin",
    "center",
)


def study(seeds: int = 3) -> Study:
    """The study as a value."""
    return Study(
        title="Losses on real faces: 322 training identities, tested on LFW",
        data=str(DATA / "train.csv"),
        tests=(str(DATA / "lfw" / "images"), str(DATA / "lfw" / "pairs.txt"), str(DATA / "lfw" / "pairs_hard.csv")),
        images=str(DATA / "lfw" / "images"),
        losses=LOSSES,
        seeds=seeds,
        recipe=Recipe(epochs=10, batch=64, learning_rate=0.1, augment=Augment()),
    )


def gather(faces: Path) -> None:
    """Unpack the sets once and list the training and validation images of two of them in one CSV.

    Validation people who are also in LFW are left out: nothing of the test may be seen, not even when choosing.
    """
    subprocess.run([faces / "unpack", DATA, "lfw", "pins", "celeba"], check=True)
    rows = []
    for name, same_name in (("pins", True), ("celeba", False)):
        with open(DATA / name / "index.csv", newline="") as file:
            for row in csv.DictReader(file):
                if row["split"] == "val" and row["same_person_in_lfw"]:
                    continue
                identity = row["id"] if same_name else f"{name} {row['id']}"
                rows.append((f"{name}/{row['file']}", identity, row["split"]))
    with open(DATA / "train.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "identity", "split"), *rows])


def keep(runs: Path) -> None:
    """Copy the records (text, no picture) to where they are kept."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in ("records.jsonl", "costs.jsonl"):
        shutil.copyfile(runs / name, KEPT / name)


def main() -> int:
    """Run, keep, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, default=Path("../shared/data"), help="the folder with the face sets")
    parser.add_argument("--out", type=Path, default=Path("runs/real_faces"), help="the runs folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=default_workers())
    parser.add_argument("--page", action="store_true", help="only rebuild page and figure from the kept records")
    arguments = parser.parse_args()
    try:
        if not arguments.page:
            if not (arguments.faces / "unpack").exists():
                print(f"{arguments.faces} holds no face sets; give --faces FOLDER, or use --page.", file=sys.stderr)
                return 2
            gather(arguments.faces)
            compare(study(arguments.seeds), arguments.out, workers=arguments.workers, progress=Progress())
            keep(arguments.out)
        print(write_report(KEPT))
        print(write_figure(KEPT, HERE.parent / "docs" / "figures" / "real_faces.png"))
    except FacelossError as error:
        print(f"real_faces: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
