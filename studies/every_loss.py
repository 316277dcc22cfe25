"""Does every loss train? Each one, as it comes, from scratch on the built-in faces, beside the same nets untrained.

    python studies/every_loss.py                 (or: make every-loss)
    python studies/every_loss.py --so-far        table of the runs that are done already; starts none
    python studies/every_loss.py --page          table from the kept records alone

The losses have their own defaults, `Start with` values where there is no default, and the recipe of `faceloss compare
--data builtin`. A loss that by default warms up or otherwise departs from its published setting is also run as
published. An interrupted study continues where it stopped. The records are text and are kept in studies/records/; the
table in LAB.md is what `--page` prints.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from faceloss.compare.engine import compare
from faceloss.compare.judge import embedder, judge
from faceloss.compare.prepare import prepare
from faceloss.compare.recipe import recipe_from, resolve
from faceloss.compare.records import assemble
from faceloss.compare.run import build_state
from faceloss.compare.study import Run, Study, competitors, expand, plan
from faceloss.errors import FacelossError
from faceloss.evaluate import paired_difference, summary
from faceloss.losses import describe
from faceloss.progress import Progress
from faceloss.threads import cores

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
NAME = "every_loss"

PUBLISHED = (  # as these are published; why they are not so by default
    "arcface(warmup=0)",
    "arcnegface(warmup=0)",
    "combined(warmup=0)",
    "elasticface(warmup=0)",
    "vpl(warmup=0)",
    "subcenter_arcface(gradient=exact)",
    "coco(s=30)",
)

CELLS = (("eer", None), ("tar", 1e-3))
CLEARLY = -0.05  # an EER that is lower by more than this, wherever in the interval of the difference
UNTRAINED = "untrained"


def study(seeds: int = 3) -> Study:
    """The study as a value."""
    return Study(
        title="Every loss from scratch on the built-in faces",
        data="builtin",
        losses=(*expand(("all",)), *PUBLISHED),
        seeds=seeds,
        recipe=resolve(recipe_from("builtin", None, ()), None, "builtin", False, Progress()),
    )


def against_untrained(runs: Path, chosen: Study) -> list[dict[str, Any]]:
    """Records of the nets as they start, and of each loss's EER minus theirs, on the seeds that it finished.

    "value", "low" and "high" are the mean over seeds with its 95 % interval over subjects and seeds; the difference is
    paired by seed and test subject.
    """
    bench = prepare(chosen)
    rows = competitors(chosen, len(bench.train.identities))
    planned = plan(chosen, rows, bench.digests)
    start = {run.seed: _judged_untrained(run, chosen, bench) for run in planned if run.competitor.label == "softmax"}
    eer = np.array([start[seed][0] for seed in sorted(start)])
    vectors = np.stack([start[seed][1] for seed in sorted(start)])
    total = summary(eer, vectors)
    records = [_row("summary", UNTRAINED, sorted(start), total.mean, total.low, total.high)]
    for row in rows:
        done: dict[int, tuple[float, Any]] = {}
        for run in planned:
            folder = runs / "runs" / run.folder
            if run.competitor.label == row.label and (folder / "result.json").exists():
                found = [r for r in json.loads((folder / "result.json").read_text()) if r.get("metric") == "eer"]
                if found:
                    with np.load(folder / "influence.npz", allow_pickle=False) as archive:
                        vector = next(archive[name] for name in archive.files if "|eer|" in name)
                    done[run.seed] = (found[0]["value"], vector)
        if done:
            seeds = sorted(done)
            mine, theirs = (np.stack([part[seed][1] for seed in seeds]) for part in (done, start))
            values = [[part[seed][0] for seed in seeds] for part in (done, start)]
            gain = paired_difference(values[0], values[1], mine, theirs)
            records.append(_row("difference", row.label, seeds, gain.value, gain.low, gain.high))
    return records


def _judged_untrained(run: Run, chosen: Study, bench: Any) -> tuple[float, Any]:
    """EER and its influence vector of the net of ``run`` before the first step."""
    judged = judge(embedder(build_state(run, chosen, len(bench.train.identities)), chosen), bench)
    value = next(row["value"] for row in judged.results if row["metric"] == "eer")
    return value, next(vector for name, vector in judged.influences.items() if "|eer|" in name)


def _row(kind: str, label: str, seeds: list[int], value: float, low: float, high: float) -> dict[str, Any]:
    numbers = {"value": value, "low": low, "high": high}
    return {"kind": kind, "label": label, "baseline": UNTRAINED, "metric": "eer", "seeds": seeds, **numbers}


def keep(runs: Path, kept: Path, chosen: Study) -> None:
    """Keep what the table is made of; all curves and epochs of so many runs would be megabytes."""
    kept.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (runs / "records.jsonl").read_text().splitlines()]
    rows = [row for row in rows if _is_kept(row, chosen.recipe.epochs)]
    write = {"records.jsonl": rows, "untrained.jsonl": against_untrained(runs, chosen)}
    for name, records in write.items():
        (kept / name).write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in records))
    (kept / "costs.jsonl").write_bytes((runs / "costs.jsonl").read_bytes())


def _is_kept(row: dict[str, Any], epochs: int) -> bool:
    if row["kind"] in ("curve", "epoch"):
        return row["kind"] == "epoch" and row["epoch"] == epochs
    return "metric" not in row or (row["metric"], row["at"]) in CELLS


def table(kept: Path) -> str:
    """The kept records as a Markdown table, one row a loss, in the order of the study."""
    rows = [json.loads(line) for line in (kept / "records.jsonl").read_text().splitlines()]
    beside = [json.loads(line) for line in (kept / "untrained.jsonl").read_text().splitlines()]
    shown = {(row["label"], row["metric"]): row for row in rows if row["kind"] == "summary"}
    gains = {row["label"]: row for row in beside if row["kind"] == "difference"}
    nets = next(row for row in beside if row["kind"] == "summary")
    lines = [
        "| loss | EER | TAR, FAR 1e-3 | EER minus the untrained nets' | learnt | recognized | angle | seeds | remark |",
        "| --- " * 9 + "|",
        f"| the nets untrained | {_cell(nets)} | - | - | - | - | - | {len(nets['seeds'])} | before the first step |",
    ]
    for label in dict.fromkeys(row["label"] for row in rows if row["kind"] == "run"):
        runs = [row for row in rows if row["kind"] == "run" and row["label"] == label]
        lost = [row for row in runs if row["status"] != "finished"]
        gain = gains.get(label)
        remarks = [f"{row['status']} on seed {row['seed']} ({row['reason'].split(' on ')[0]})" for row in lost]
        cells = [
            label,
            _cell(shown.get((label, "eer"))),
            _cell(shown.get((label, "tar"))),
            f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]" if gain else "-",
            learnt(gain, len(lost)),
            *_training([row for row in rows if row["kind"] == "epoch" and row["label"] == label]),
            str(len(runs)),
            "; ".join([*_remarks(runs[0]), *remarks]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def learnt(gain: dict[str, Any] | None, lost: int) -> str:
    """The verdict on a loss: "clearly", "yes" or "no", from its EER minus the untrained nets' and the seeds it lost.

    "clearly": every seed finished and the whole interval is below -0.05; "yes": it is below 0.
    """
    if gain is None or lost or gain["high"] >= 0:
        return "no"
    return "clearly" if gain["high"] < CLEARLY else "yes"


def _training(epochs: list[dict[str, Any]]) -> tuple[str, str]:
    """Share of the training images recognized in the last epoch, and their angle to their own class; mean of seeds."""
    if not epochs:
        return "-", "-"
    share, angle = (np.mean([row[name] for row in epochs]) for name in ("accuracy", "target_angle"))
    return f"{share:.2f}", f"{angle:.0f}°"


def _remarks(run: dict[str, Any]) -> list[str]:
    """What sets this row apart: batches by identity, and a course that it follows."""
    balanced = ["identity-balanced batches"] if run["batches"] == "identity-balanced" else []
    if "warmup" in run["hyperparameters"]:
        warm = run["hyperparameters"]["warmup"]
        return [*balanced, f"margin warms up over {100 * warm:g} %" if warm else "as published"]
    return [*balanced, *(["annealed, as published"] if describe(run["loss"]).course else [])]


def _cell(row: dict[str, Any] | None) -> str:
    return "-" if row is None or row["value"] is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def main() -> int:
    """Run, keep, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--so-far", action="store_true", help="keep the runs that are done, and start none")
    parser.add_argument("--page", action="store_true", help="only print the table of the kept records")
    arguments = parser.parse_args()
    kept, runs = RECORDS / NAME, Path("runs") / NAME
    try:
        if not arguments.page:
            chosen = study(arguments.seeds)
            if arguments.so_far:
                assemble(runs)
            else:
                compare(chosen, runs, workers=arguments.workers, progress=Progress())
            keep(runs, kept, chosen)
        print(table(kept))
    except FacelossError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
