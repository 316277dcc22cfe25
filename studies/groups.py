"""Is a planted bias found, and does balancing the batches undo it? Built-in faces, whose groups are known.

    python studies/groups.py                     trains; about ten minutes of one core
    python studies/groups.py --so-far            the table of what is done already; starts nothing

Two training sets, one test: "even" has equally many identities of each group, "few" has all of these but for one group,
of which most are dropped. Each loss is trained on both as they are and on batches with equally many images of each
group (``compare --balance``). Pages of their own are in runs/groups_even and runs/groups_few.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from faceloss.compare.engine import compare
from faceloss.compare.group_records import group_cell
from faceloss.compare.recipe import recipe_from, resolve
from faceloss.compare.study import Study, split_specifications
from faceloss.data.export import export_folder
from faceloss.data.keys import key
from faceloss.data.load import load_faces, open_named
from faceloss.data.splits import split_identities
from faceloss.errors import FacelossError
from faceloss.evaluate import paired_difference, verdict
from faceloss.progress import Progress
from faceloss.report import write_report
from faceloss.threads import cores

DATA = Path(".data") / "groups"
GROUP = "asian"  # of which the planted set has few
EACH, FEW = 28, 4  # training identities of a group
LOSSES = "softmax"


def gather() -> None:
    """The folders ``even`` and ``few``: the built-in faces with the same validation and test."""
    source = open_named("builtin")
    for name, few in (("even", EACH), ("few", FEW)):
        split = people(few)
        chosen = [entry._replace(split=split[entry.identity]) for entry in source.entries if entry.identity in split]
        if not (DATA / name).exists():
            export_folder(source._replace(entries=tuple(chosen)), DATA / name)


def people(few: int) -> dict[str, str]:
    """Split by identity: all of validation and test, of training ``EACH`` of a group and ``few`` of the planted one."""
    faces = load_faces("builtin", size=64)
    group = {faces.identities[label]: name for label, name in zip(faces.labels, faces.groups, strict=True)}
    parts = split_identities(faces, seed=0, val=0.1, test=0.25)
    split = {who: name for name in ("val", "test") for who in getattr(parts, name).identities}
    for each in sorted(set(group.values())):
        own = sorted((who for who in parts.train.identities if group[who] == each), key=_drawn)
        split |= dict.fromkeys(own[: few if each == GROUP else EACH], "train")
    return split


def _drawn(identity: str) -> int:
    """A random order of people that depends on their names alone."""
    return key("groups", identity)


def study(name: str, losses: str, seeds: int) -> Study:
    """The study of one training set."""
    recipe = resolve(recipe_from("builtin", None, ()), None, "builtin", False, Progress(silent=True))
    return Study(
        title=f"Groups: {name} training identities of one group", data=str(DATA / name),
        losses=split_specifications(losses), seeds=seeds, balance=True, recipe=recipe,
    )  # fmt: skip


def table(runs: dict[str, Path]) -> str:
    """A row a training set and loss: FNMR of each group, and of the planted one against the mean of the others."""
    header: list[str] = []
    lines: list[str] = []
    for name, folder in runs.items():
        rows = list(_records(folder))
        train = next(row for row in rows if row["kind"] == "data" and row["role"] == "train")
        cells = {(r["label"], r["metric"], r["group"]): r for r in rows if r["kind"] == "group summary"}
        groups = sorted({group for _, _, group in cells if group})
        columns = [*(f"FNMR {group}" for group in groups), f"{GROUP} minus the others", "verdict", "FNMR gap"]
        header = ["training identities", "loss", *columns]
        counts = ", ".join(f"{train['group_identities'].get(group, 0)} {group}" for group in groups)
        for label in dict.fromkeys(label for label, _, _ in cells):
            apart = cells[label, "fnmr to the others", GROUP]
            shown = [_number(cells[label, "fnmr", group], "") for group in groups]
            shown += [_number(apart, "+"), apart["verdict"], _number(cells[label, "fnmr gap", ""], "")]
            lines.append(" | ".join([f"{name}: {counts}", label, *shown]))
    return "\n".join(f"| {line} |" for line in (" | ".join(header), " | ".join("---" for _ in header), *lines))


def planted(runs: dict[str, Path]) -> str:
    """What the missing identities did: rates of the group minus those of the others, "few" minus "even", paired by seed
    and by person. That all groups lose by a smaller training set drops out."""
    lines = [
        f"| loss | rate | {GROUP} minus the others, few minus even | p | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for label in dict.fromkeys(run["label"] for run in _plan(runs["even"])):
        for metric in ("fnmr to the others", "fmr to the others"):
            few, even = (_of_seeds(folder, label, metric) for folder in (runs["few"], runs["even"]))
            d = paired_difference(few[0], even[0], few[1], even[1])
            words = verdict(d.low, d.high, d.p, d.seeds, larger_is_better=False)
            shown = f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] | {d.p:.3f} | {words}"
            lines.append(f"| {label} | {metric.split()[0].upper()} | {shown} |")
    return "\n".join(lines)


def _of_seeds(folder: Path, label: str, metric: str) -> tuple[list[float], Any]:
    """The number of the planted group in every seed, and its influence on the people of the test."""
    values: list[float] = []
    influences = []
    for run in _plan(folder):
        if run["label"] == label:
            place = folder / "runs" / run["folder"]
            rows = [row for row in json.loads((place / "result.json").read_text()) if row["kind"] == "group"]
            (cell,) = [row for row in rows if (row["metric"], row["group"]) == (metric, GROUP)]
            values.append(cell["value"])
            with np.load(place / "influence.npz", allow_pickle=False) as archive:
                influences.append(archive[group_cell(cell).name])
    return values, np.stack(influences)


def _plan(folder: Path) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads((folder / "plan.json").read_text())["runs"]
    return runs


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for line in (folder / "records.jsonl").read_text().splitlines():
        yield json.loads(line)


def _number(cell: dict[str, Any], sign: str) -> str:
    if cell["value"] is None:
        return "not measurable"
    return f"{cell['value']:{sign}.3f} [{cell['low']:{sign}.3f}, {cell['high']:{sign}.3f}]"


def main() -> int:
    """Plant, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", default=LOSSES, help="as of faceloss compare")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--so-far", action="store_true", help="the table of what is done already; starts nothing")
    arguments = parser.parse_args()
    runs = {name: Path("runs") / f"groups_{name}" for name in ("even", "few")}
    try:
        if not arguments.so_far:
            gather()
            for name, folder in runs.items():
                compare(
                    study(name, arguments.losses, arguments.seeds),
                    folder,
                    workers=arguments.workers,
                    progress=Progress(),
                )
                print(write_report(folder))
        done = {name: folder for name, folder in runs.items() if (folder / "records.jsonl").exists()}
        print(table(done))
        if len(done) == 2:
            print(f"\n{planted(done)}")
    except FacelossError as error:
        print(f"groups: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
