"""The section on cost: images and time to one target, operations, memory, accuracy against compute, latency."""

from collections.abc import Callable, Mapping
from itertools import zip_longest
from math import inf, isfinite
from statistics import median
from typing import TYPE_CHECKING

from faceloss.report import answer, charts, searched
from faceloss.report.charts import look, shown
from faceloss.report.curves import legend
from faceloss.report.kinds import Run
from faceloss.report.markup import Child, Safe, head, numeric, row, table, tag
from faceloss.report.records import Records
from faceloss.report.svg import MUTED, inline
from faceloss.report.words import count, duration, memory, metric, number, operations, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[[str, int, int], None]
Course = list[tuple[float, float]]  # images trained on, validation AUC


def section(records: Records, progress: Progress) -> list[Child]:
    """Everything on cost; empty where the records say nothing of it."""
    parts: list[Child] = []
    if _known(records):
        parts += [_rule(records), _table(records), tag("p", _note(records), class_="note")]
    drawings = [draw for draw in (_course(records), _against(records)) if draw is not None]
    for i, draw in enumerate(drawings):
        progress("drawing costs", i, len(drawings))
        parts.append(draw())
    if drawings:
        progress("drawing costs", len(drawings), len(drawings))
    return parts + _latency(records)


def _known(records: Records) -> bool:
    return bool(records.costs or records.targets or any(run.flops for run in records.runs.values()))


def _rule(records: Records) -> Safe | None:
    aim = next((row_.target for row_ in records.targets.values()), None)
    if aim is None:
        return None
    return tag(
        "p", f"One target for all: a validation AUC of {number(aim, 4)}, which is 95 % of what {records.baseline} "
        "gained over chance (0.5) by the end of its training, mean over seeds. The rule is fixed; a run has reached it "
        "at the end of the first epoch whose AUC is as high. Not to reach it is a result.",
    )  # fmt: skip


def to_target(records: Records, label: str) -> dict[str, float] | None:
    """Medians over the seeds of a label, a seed that did not reach the target counting as never: ``images`` and
    ``seconds`` of the model, ``all_images`` and ``all_seconds`` of all candidates; None where no seed was looked at."""
    seeds = [seed for name, seed in records.targets if name == label]
    if not seeds:
        return None
    found: dict[str, list[float]] = {"images": [], "seconds": [], "all_images": [], "all_seconds": []}
    for seed in seeds:
        row_, cost = records.targets[label, seed], records.costs.get((label, seed))
        reached = row_.status == "reached"
        images, time = row_.images, cost.seconds_to_target if cost else None
        tried = row_.images_tried if row_.images_tried is not None else images
        all_time = cost.search_seconds_to_target if cost and cost.search_seconds_to_target is not None else time
        for name, value in zip(found, (images, time, tried, all_time), strict=True):
            if not reached:
                found[name].append(inf)
            elif value is not None:
                found[name].append(value)
    return {name: median(values) for name, values in found.items() if values}


def _soon(records: Records, label: str) -> list[Safe]:
    """Cells: seeds that reached the target, images and time to it."""
    known = to_target(records, label)
    if known is None:
        return [tag("td", "–", class_="n absent") for _ in range(3)]
    rows = [row_ for (name, _), row_ in records.targets.items() if name == label]
    cells = [tag("td", f"{sum(row_.status == 'reached' for row_ in rows)} of {len(rows)}", class_="n")]
    base = to_target(records, records.baseline) or {}
    for name, show in (("images", count), ("seconds", duration)):
        value, everything = known.get(name), known.get(f"all_{name}")
        if value is None or not isfinite(value):
            cells.append(tag("td", "–" if value is None else "not reached", class_="n absent"))
            continue
        more = []
        if everything is not None and everything > value:
            more.append(f"{show(everything)} by all candidates")
        elif label != records.baseline and isfinite(base.get(name, inf)) and base[name] > 0:
            more.append(f"{number(value / base[name], 2)} × {records.baseline}")
        cells.append(tag("td", show(value), *[tag("small", text) for text in more], class_="n"))
    return cells


def _table(records: Records) -> Safe:
    """A row a loss: to the target, and of a whole run. Columns of which nothing is known are left out."""
    counted = any(run.flops for run in records.runs.values())
    names = ["Seeds at the target", "Images to it", "Time to it"] if records.targets else []
    names += ["Operations of a run"] if counted else []
    names += ["CPU time", "Images/s", "Peak memory"]
    body = []
    for label in answer.ranked(records, answer.primary(records)):
        cells = _soon(records, label) if records.targets else []
        cells += [_operations(records, label)] if counted else []
        cells += [tag("td", text, class_="n") for text in _of_machine(records, label)]
        body.append(row(tag("th", label, scope="row"), *cells, class_="base" if label == records.baseline else None))
    return table(head("Loss", *numeric(*names)), body, name="Cost of each loss", class_="ledger")


def _of_machine(records: Records, label: str) -> list[str]:
    """CPU time, images a second and peak memory: medians over the seeds that finished."""
    done = [s for s in answer.finished(records, label) if (label, s) in records.costs]
    costs = [records.costs[label, seed] for seed in done]
    texts = []
    for name, show in (("cpu_seconds", duration), ("images_per_second", count), ("peak_memory_mib", memory)):
        known = [getattr(cost, name) for cost in costs if getattr(cost, name) is not None]
        texts.append(show(median(known) if known else None))
    return texts


def _counted(records: Records, label: str) -> list[Run]:
    """Finished runs whose operations were counted."""
    return [run for (name, _), run in records.runs.items() if name == label and run.flops and run.status == "finished"]


def _operations(records: Records, label: str) -> Safe:
    runs = _counted(records, label)
    if not runs:
        return tag("td", "–", class_="n absent")
    net, head_ = float(runs[0].flops_net_step or 0), float(runs[0].flops_head_step or 0)
    share = f"loss {number(100 * head_ / (net + head_), 2)} %" if net + head_ else None
    shown_ = operations(median(run.flops or 0.0 for run in runs))
    return tag("td", shown_, tag("small", share) if share else None, class_="n")


def _note(records: Records) -> str:
    said = ["Medians over seeds; a seed that did not reach the target counts as never."]
    run = next((run for run in records.runs.values() if run.flops_per_image), None)
    if run is not None:
        said.append(
            "Operations are multiplications and additions of convolutions and matrix products, the same on every "
            f"machine: {operations(run.flops_per_image)} to embed an image, {operations(run.flops_net_step)} of the "
            f"network for a training step of {run.batch} images."
        )
    if searched.labels(records):
        said.append(
            "Operations are those of all candidates of a search; CPU time, images/s and memory those of the model that "
            "went on. Who pays how much stands under Search."
        )
    return " ".join(said)


def courses(records: Records) -> dict[str, list[Course]]:
    """Of each label, for each seed: images trained on by all candidates, and the validation AUC, epoch by epoch."""
    found: dict[str, dict[int, Course]] = {}
    for entry in records.epochs:
        if entry.val_auc is None or entry.images_seen is None:
            continue
        tried = [e.images for e in records.searches.get((entry.label, entry.seed), [])[: entry.epoch]]
        images = sum(n or 0 for n in tried) if tried and None not in tried else entry.images_seen
        found.setdefault(entry.label, {}).setdefault(entry.seed, []).append((images, entry.val_auc))
    return {label: list(seeds.values()) for label, seeds in found.items()}


def _course(records: Records) -> Callable[[], Safe] | None:
    """Validation AUC against images: how soon."""
    drawn = {label: found for label, found in courses(records).items() if any(len(course) > 1 for course in found)}
    if not drawn:
        return None
    aim = next((row_.target for row_ in records.targets.values()), None)
    style, colored = look(records), shown(records)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for label, seeds in drawn.items():
            mark = style[label]
            epochs = [[point for point in points if point is not None] for points in zip_longest(*seeds)]
            together = [list(zip(*points, strict=True)) for points in epochs]  # of the seeds that got so far
            x = [median(images) for images, _ in together]
            if label in colored:
                low, high = ([side(values) for _, values in together] for side in (min, max))
                axes.fill_between(x, low, high, color=mark.color, alpha=0.12, linewidth=0)
            y = [median(values) for _, values in together]
            axes.plot(x, y, color=mark.color, linestyle=mark.dash, linewidth=mark.width, zorder=mark.order)
        if aim is not None:
            axes.axhline(aim, color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
            axes.annotate(
                "target", (0, aim), (4, 3), xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8
            )
        axes.set_xlabel("Images trained on")
        axes.set_ylabel("Validation AUC (diagnostic)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        legend(figure, records, list(drawn))

    said = "Medians over seeds; the band reaches from the lowest to the highest seed. A search stands at the images of "
    said += "all its candidates. Validation identities, never a test."
    alt = "Validation AUC against the images trained on"
    return lambda: _figure(inline(draw, name="soon", size=(9.0, 3.8), alt=alt), "How soon.", said)


def _against(records: Records) -> Callable[[], Safe] | None:
    key = answer.primary(records)
    draw = charts.against_cost(records, key) if key else None
    if key is None or draw is None:
        return None
    said = f"{metric(key)} on {place(key)} with 95 % intervals. Up and left is better."
    if any(searched.paid(records, label) is not None for label in records.labels):
        said += " A search stands at the time of all its candidates; the hollow mark is the model that went on alone."
    alt = f"{metric(key)} on {place(key)} against the cost of one run"
    return lambda: _figure(
        inline(lambda figure: draw(figure.subplots()), name="cost", size=(8.0, 3.6), alt=alt), "What it costs.", said
    )


def _figure(picture: Safe, title: str, said: str) -> Safe:
    return tag("figure", picture, tag("figcaption", tag("b", title), " ", said))


_STEPS = {"detect": "Find the faces", "embed": "Embed", "match": "Find the nearest"}


def _latency(records: Records) -> list[Child]:
    if not records.latencies:
        return []
    body = [
        row(
            _STEPS[entry.what], entry.about,
            *[tag("td", _milliseconds(value), class_="n") for value in (entry.p50_ms, entry.p95_ms)],
            tag("td", count(entry.calls), class_="n"),
        )
        for entry in records.latencies
    ]  # fmt: skip
    header = head("Step", "Of what", *numeric("p50", "p95", "Calls"))
    machines = ", ".join(dict.fromkeys(entry.machine for entry in records.latencies if entry.machine))
    said = f"Wall-clock time of one call, warm, all measured in one run on {machines or 'one machine'}. The network is "
    said += "the same for every loss, so that one measurement stands for all; 50 and 95 of 100 calls took no longer."
    return [tag("h3", "Latency"), table(header, body, name="Latency"), tag("p", said, class_="note")]


def _milliseconds(value: float) -> str:
    return f"{number(value, 2 if value < 10 else 1 if value < 100 else 0)} ms"


def grid(records: Records) -> list[list[str]]:
    """Costs as text, medians over seeds, a row a loss, the first row the names; no rows where nothing is known.

    Beside the table of the page what all candidates of a search cost. Columns of which nothing is known are left out.
    """
    if not _known(records):
        return []
    header = [
        "Loss", "Images", "Images of all candidates", "Seeds at the target", "Images to it", "Time to it",
        "Operations of a run", "Time", "Time of all candidates", "CPU time", "Images/s", "Peak memory",
    ]  # fmt: skip
    rows = [header]
    for label in answer.ranked(records, answer.primary(records)):
        images, time = searched.images(records, label), searched.seconds(records, label)
        searching = searched.paid(records, label) is not None
        seen, all_seen = images or (None, None)
        own, all_time = time or (None, None)
        reached = [row_.status == "reached" for (name, _), row_ in records.targets.items() if name == label]
        soon = to_target(records, label) or {}
        far = [_reached(soon.get("images"), count), _reached(soon.get("seconds"), duration)]
        runs = _counted(records, label)
        flops = operations(median(run.flops or 0.0 for run in runs) if runs else None)
        rows.append([
            label, count(seen), count(all_seen if searching else None),
            f"{sum(reached)} of {len(reached)}" if reached else "–", *far, flops, duration(own),
            duration(all_time if searching else None), *_of_machine(records, label),
        ])  # fmt: skip
    some = [i for i in range(len(header)) if any(row_[i] != "–" for row_ in rows[1:])]
    return [[row_[i] for i in some] for row_ in rows]


def _reached(value: float | None, show: Callable[[float | None], str]) -> str:
    return "not reached" if value is not None and not isfinite(value) else show(value)


OF_RUN = ("loss", "status", "batches", "images_seen", "images_tried", "flops_per_image", "flops")
OF_COST = ("seconds", "search_seconds", "cpu_seconds", "images_per_second", "peak_memory_mib", "seconds_to_target",
           "search_seconds_to_target")  # fmt: skip
OF_TARGET = ("metric", "target", "status", "epoch", "images", "images_tried")


def listing(records: Records) -> list[list[str | float | None]]:
    """What each run cost, unrounded, the first row the names; no rows where nothing is known."""
    if not _known(records):
        return []
    of_target = [name if name == "target" else f"target_{name}" for name in OF_TARGET]
    rows: list[list[str | float | None]] = [["label", "seed", *OF_RUN, *OF_COST, *of_target]]
    sources: tuple[tuple[Mapping[tuple[str, int], object], tuple[str, ...]], ...]
    sources = ((records.runs, OF_RUN), (records.costs, OF_COST), (records.targets, OF_TARGET))
    for label in answer.ranked(records, answer.primary(records)):
        for seed in sorted({seed for found, _ in sources for name, seed in found if name == label}):
            rows.append(
                [label, seed, *(getattr(found.get((label, seed)), x, None) for found, names in sources for x in names)]
            )
    return rows
