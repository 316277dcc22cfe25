"""The section on losses that were searched for: what was tried, the schedule found, and who pays for it."""

from collections.abc import Callable

from faceloss.report import searched, trajectories
from faceloss.report.kinds_of_training import Search
from faceloss.report.markup import Child, Safe, head, row, table, tag
from faceloss.report.records import Records
from faceloss.report.searched import MOST_COORDINATES, NATS, Coordinate
from faceloss.report.svg import inline
from faceloss.report.trajectories import MOST_EPOCHS, MOST_SEEDS, scale
from faceloss.report.words import count, duration, listed, number, plural

MOST_ROWS = 12  # searched rows with figures
COLUMNS = 8  # epochs in the table of a schedule
Progress = Callable[[str, int, int], None]


def section(records: Records, progress: Progress) -> list[Child]:
    """Everything on searches; empty where nothing was searched."""
    labels = searched.labels(records)
    if not labels:
        return []
    parts: list[Child] = [
        tag(
            "p", "In each epoch several candidates are trained from the same weights. The one with the highest reward "
            "on validation identities goes on into the next epoch; the others are dropped. The model that went "
            "on is judged like every other row. A search of width B pays B times, hence the cost first.",
        ),
        tag("h3", "Who pays for the search"),
        ledger(records),
        tag("p", _ledger_note(records), class_="note"),
    ]  # fmt: skip
    drawn = labels[:MOST_ROWS]
    for i, label in enumerate(drawn):
        progress("drawing searches", i, len(drawn) + 1)
        parts += _row(records, label, i)
    progress("drawing searches", len(drawn), len(drawn) + 1)
    parts += [tag("h3", "Rewards"), _rewards(records, drawn)]
    if len(labels) > len(drawn):
        parts.append(tag("p", f"Not drawn, only listed above: {listed(labels[len(drawn) :])}.", class_="note"))
    progress("drawing searches", len(drawn) + 1, len(drawn) + 1)
    return parts


def ledger(records: Records) -> Safe:
    """Images and seconds of the model that is judged and of all candidates, of every row."""
    numeric = [
        tag("th", name, tag("small", unit), scope="col", class_="n")
        for name, unit in (
            ("Images", "model that went on"), ("Images", "all candidates"), ("Ratio", "of images"),
            ("Time", "model that went on"), ("Time", "all candidates"), ("Ratio", "of time"),
        )
    ]  # fmt: skip

    def cells(pair: tuple[float, float] | None, show: Callable[[float | None], str]) -> list[Safe]:
        own, all_ = pair or (None, None)
        ratio = "–" if own is None or all_ is None or own <= 0 else f"{number(all_ / own, 2)} ×"
        return [tag("td", text, class_="n") for text in (show(own), show(all_), ratio)]

    body = [
        row(
            tag("th", label, scope="row"),
            *cells(searched.images(records, label), count),
            *cells(searched.seconds(records, label), duration),
            class_="base" if label == records.baseline else None,
        )
        for label in records.labels
    ]
    return table(head("Loss", *numeric), body, name="Who pays for the search", class_="ledger")


def _ledger_note(records: Records) -> str:
    said = [
        "Medians over the seeds that finished. A row is judged by the model that went on, whatever was paid to find it."
    ]
    if any(c.score is not None for found in records.searches.values() for e in found for c in e.candidates):
        said.append("First-order scores of candidates count as time, not as images.")
    replayed = dict.fromkeys(
        run.label for run in records.runs.values() if run.hyperparameters.get("method") == "replay"
    )
    if replayed:
        said.append(f"{listed(list(replayed))}: the training alone; the search that found the schedule comes on top.")
    return " ".join(said)


def _row(records: Records, label: str, place: int) -> list[Child]:
    courses = searched.courses(records, label)
    epochs = [entry for found in courses.values() for entry in found]
    if searched.functions(epochs):
        draw, size = trajectories.functions(records, label)
        title, said = _functions_caption(courses)
        alt = f"{label}: the functions t(c) and tau(p) at the first, middle and last epoch"
    else:
        draw, size = trajectories.trajectory(records, label)
        title, said = _caption(records, label, courses)
        alt = f"{label}: {said[0]}"
    picture = inline(draw, name=f"search{place}", size=size, alt=alt)
    hidden = len(courses) - MOST_SEEDS
    if hidden > 0:
        said.append(f"{plural(hidden, 'more seed')} not drawn.")
    return [
        tag("h3", label),
        tag("figure", picture, tag("figcaption", tag("b", title), " ", " ".join(said))),
        schedule(records, label, courses),
    ]


def _functions_caption(courses: dict[int, list[Search]]) -> tuple[str, list[str]]:
    tau = "tau of the target's probability, as found: they may jump, and tau(p) may lie above 1 or below 0."
    return "Functions found.", [f"t of the target's cosine above, {tau}", *_scores(courses)]


def _caption(records: Records, label: str, courses: dict[int, list[Search]]) -> tuple[str, list[str]]:
    found = searched.coordinates([entry for epochs in courses.values() for entry in epochs])
    first, epochs = next(iter(courses.items()))
    said = []
    s = scale(records, label, first)
    for x in found[:MOST_COORDINATES]:
        ends = [x.of(epochs[i].policy.mean) for i in (0, -1)]
        if ends[0] is not None and ends[1] is not None:
            said.append(f"{_name(x)} {_ends(ends[0], ends[1])}{_margin(x, ends[1], s)}")
    moved = f"From the first epoch to the last, the mean of {listed(said)} (seed {first})." if said else ""
    dots = "A dot is a candidate: within an epoch the worst is on the left, the best on the right and drawn strongest."
    parts = [moved or "What went on, epoch by epoch.", dots]
    if found[0] is NATS:
        parts.append(
            f"{_name(NATS)} is what the search moves, the nats taken from the target's logit; with scale s it is the "
            "CosFace margin m = u / s."
        )
    if len(found) > MOST_COORDINATES:
        parts.append(f"Not drawn: {listed([_name(x) for x in found[MOST_COORDINATES:]])}.")
    if len(epochs) > MOST_EPOCHS:
        parts.append(f"Of {len(epochs)} epochs one in {-(-len(epochs) // MOST_EPOCHS)} is drawn.")
    return "What was searched.", [*parts, *_scores(courses)]


def _name(x: Coordinate) -> str:
    return x.name.split(",")[0]


def _ends(first: float, last: float) -> str:
    same = f"{first:.3g}" == f"{last:.3g}"
    return f"stayed at {_short(last)}" if same else f"went from {_short(first)} to {_short(last)}"


def _margin(x: Coordinate, u: float, s: float | None) -> str:
    return f", which at s = {s:g} is a margin of {number(u / s, 3)}" if x is NATS and s is not None else ""


def _short(value: float) -> str:
    """Three digits, more only before the point."""
    return number(value, 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3 if abs(value) < 1 else 2)


def _scores(courses: dict[int, list[Search]]) -> list[str]:
    right, pairs = searched.scored(entry for epochs in courses.values() for entry in epochs)
    if not pairs:
        return []
    return [f"First-order scores put {right} of {plural(pairs, 'pair')} of tried candidates in the order of rewards."]


def schedule(records: Records, label: str, courses: dict[int, list[Search]]) -> Safe:
    """What went on, at up to eight epochs; of many numbers that of the first seed only."""
    found = [entry for epochs in courses.values() for entry in epochs]
    numbers = searched.coordinates(found)
    seeds = dict(list(courses.items())[: 1 if len(numbers) > MOST_COORDINATES else MOST_SEEDS])
    known = sorted({entry.epoch for entry in found})
    shown = [known[round(i * (len(known) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]
    shown = known if len(known) <= COLUMNS else sorted(set(shown))
    header = head(
        tag("th", "Seed", scope="col", class_="n"), "Number",
        *[tag("th", f"Epoch {epoch}", scope="col", class_="n") for epoch in shown],
    )  # fmt: skip
    body = []
    for seed, epochs in seeds.items():
        went = {entry.epoch: entry.candidates[entry.chosen].values for entry in epochs}
        s = scale(records, label, seed)
        for x in numbers:
            values = [x.of(went[epoch]) if epoch in went else None for epoch in shown]
            body.append(_line(seed, x.name, values))
            if x is NATS and s is not None:
                body.append(_line(seed, f"m = u / s, s = {s:g}", [None if u is None else u / s for u in values]))
    some = "" if len(seeds) == len(courses) else f", {'seed' if len(seeds) == 1 else 'seeds'} "
    named = some + (listed([str(seed) for seed in seeds]) if some else "")
    listing = table(header, body, name=f"Schedule found, {label}")
    return tag("details", tag("summary", f"Schedule found by {label}{named}"), listing)


def _line(seed: int, name: str, values: list[float | None]) -> Safe:
    cells = [tag("td", "–" if v is None else _short(v), class_="n") for v in values]
    return row(tag("td", str(seed), class_="n"), tag("td", name), *cells)


def _rewards(records: Records, labels: list[str]) -> Safe:
    draw, size = trajectories.rewards(records, labels)
    picture = inline(draw, name="rewards", size=size, alt="Rewards over epochs: best, worst and what went on")
    return tag(
        "figure", picture,
        tag(
            "figcaption", tag("b", "Rewards over epochs."), " Measured on validation identities, never on a test. The "
            "shaded band reaches from the worst candidate to the best at the first point of the epoch at which all "
            "tried are compared; a candidate that was dropped there has no later reward. Where it is narrow, the "
            "candidates hardly differed, and a choice between them may be chance.",
        ),
    )  # fmt: skip
