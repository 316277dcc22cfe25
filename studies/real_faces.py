"""The losses of the first release on real faces: trained on 322 identities, tested on all of LFW.

    python studies/real_faces.py --faces ../shared/data      (or: make study)
    python studies/real_faces.py --long                      one seed, 24 epochs
    python studies/real_faces.py --dropout                   one seed, 30 epochs, dropout, zoom and rotation
    python studies/real_faces.py --page                      page, figure and table from the kept records alone

Trains on pins `train` + celeba `train` and tests on LFW: the official 6,000 pairs, the same with the hardest
negatives, the full matrix of 87.5 million pairs, and other images of the training identities (closed set). The face
sets are not ours to give away; their folder holds a script `unpack`. An interrupted study continues where it stopped.
The records are text and are kept in studies/records/; the table in LAB.md is what `--page` prints.
"""

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from faceloss.compare.engine import compare
from faceloss.compare.study import Study
from faceloss.errors import FacelossError
from faceloss.progress import Progress
from faceloss.report import write_figure, write_report
from faceloss.threads import cores
from faceloss.train.settings import Augment, Recipe

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
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


def long_study(seeds: int = 1) -> Study:
    """How far the same net comes with more epochs: 24, about 480 CPU seconds a run."""
    short = study(seeds)
    recipe = short.recipe.model_copy(update={"epochs": 24})
    title = "Longer training on real faces, tested on LFW"
    return short.model_copy(update={"title": title, "losses": ("softmax", "cosface(s=30,m=0.2)"), "recipe": recipe})


def dropout_study(seeds: int = 1) -> Study:
    """How far it comes when it is kept from memorizing: 30 epochs, dropout, zoom and rotation.

    About 750 CPU seconds a run. The recipe was chosen on the validation identities (LAB.md).
    """
    long = long_study(seeds)
    changes = {"epochs": 30, "net_options": {"dropout": 0.4}, "augment": Augment(zoom=0.1, rotation=5.0)}
    return long.model_copy(update={"recipe": long.recipe.model_copy(update=changes)})


STUDIES = {"real_faces": study, "real_faces_long": long_study, "real_faces_dropout": dropout_study}


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


def keep(runs: Path, kept: Path) -> None:
    """Copy the records (text, no picture) to where they are kept."""
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("records.jsonl", "costs.jsonl"):
        shutil.copyfile(runs / name, kept / name)


COLUMNS = (
    ("TAR by identity, FAR 1e-3", "images", "tar by identity", 1e-3),
    ("6,000 pairs", "pairs.txt", "accuracy", None),
    ("TAR, FAR 1e-2, pairs", "pairs.txt", "tar", 1e-2),
    ("hard pairs", "pairs_hard.csv", "accuracy", None),
    ("closed set", "train test_closed", "accuracy", None),
)


def table(kept: Path) -> str:
    """The kept records as a Markdown table: mean over seeds [95 % interval], difference to softmax, CPU seconds."""
    rows = [json.loads(line) for line in (kept / "records.jsonl").read_text().splitlines()]
    costs = [json.loads(line) for line in (kept / "costs.jsonl").read_text().splitlines()]
    shown: dict[str, dict[tuple[object, ...], dict[str, Any]]] = {"summary": {}, "difference": {}}
    for row in rows:
        if row["kind"] in shown:
            place = (row["label"], row["test"].rsplit("/", 1)[-1], row["metric"], row["at"])
            shown[row["kind"]][place] = row
    names = [name for name, *_ in COLUMNS]
    lines = ["| loss | " + " | ".join(names) + " | TAR by identity minus softmax's | CPU s |", "| --- " * 8 + "|"]
    for label in next(row["losses"] for row in rows if row["kind"] == "study"):
        cells = [label]
        for _, *place in COLUMNS:
            row = shown["summary"].get((label, *place))
            known = row is not None and row["value"] is not None
            cells.append(f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" if known else "-")
        row = shown["difference"].get((label, *COLUMNS[0][1:]))
        if row is None:
            cells.append("baseline")
        elif row["value"] is None:
            cells.append(row["verdict"])
        else:
            cells.append(f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] {row['verdict']}")
        seconds = [cost["cpu_seconds"] for cost in costs if cost["label"] == label]
        cells.append(f"{statistics.median(seconds):.0f}" if seconds else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run, keep, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, default=Path("../shared/data"), help="the folder with the face sets")
    parser.add_argument("--seeds", type=int, help="in place of the study's own number")
    parser.add_argument("--workers", type=int, default=cores())
    instead = {"action": "store_const", "dest": "name", "default": "real_faces"}
    parser.add_argument("--long", const="real_faces_long", help="the longer training instead", **instead)
    parser.add_argument("--dropout", const="real_faces_dropout", help="that with dropout instead", **instead)
    parser.add_argument("--page", action="store_true", help="only rebuild page, figure and table from the kept records")
    arguments = parser.parse_args()
    name = arguments.name
    kept, runs = RECORDS / name, Path("runs") / name
    try:
        if not arguments.page:
            if not (arguments.faces / "unpack").exists():
                print(f"{arguments.faces} holds no face sets; give --faces FOLDER, or use --page.", file=sys.stderr)
                return 2
            gather(arguments.faces)
            seeds = {} if arguments.seeds is None else {"seeds": arguments.seeds}
            chosen = STUDIES[name](**seeds)
            compare(chosen, runs, workers=arguments.workers, progress=Progress())
            keep(runs, kept)
        page = Path("runs") / f"{name}_page"  # not kept: it is rebuilt from the records
        keep(kept, page)
        print(write_report(page))
        print(write_figure(kept, HERE.parent / "docs" / "figures" / f"{name}.png"))
        print(table(kept))
    except FacelossError as error:
        print(f"real_faces: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
