"""The section "Why": what the losses did while they trained, and to the embedding, on common axes; no cause claimed."""

from collections.abc import Callable

from faceloss.report import why_figures as figures
from faceloss.report import why_numbers as numbers
from faceloss.report.charts import shown
from faceloss.report.markup import Child, Safe, head, row, table, tag
from faceloss.report.records import Records
from faceloss.report.svg import inline
from faceloss.report.why_numbers import COLUMNS, GRADIENT, NORMS, TEST, TRAINING, Column, Entry, View
from faceloss.report.words import breakable, listed, number, plural, power

Progress = Callable[[str, int, int], None]

WEIGHT = """The gradient weight of a sample is |dL/dc| / s, how hard the loss pulls at the cosine c to the own class in
units of its scale s: of softmax 1 − p, of a margin more at angles where it acts. Left: mean over the samples that stood
at an angle, bins with fewer than ten left out. Right: computed from the loss, with as many classes as in training, one
of them at cosine 0.3 to the own class and the others at right angles, and a norm of 30; the two differ as far as the
trained classes and norms do from that. A curve that is cut at the top goes on above it."""
COLLAPSED = """NC1 to NC4 are 0 at collapse, one point per identity and all as far apart as can be. NC1: spread within
identities over spread between them. NC2: unequal norms of the class means, and unequal angles. NC3: distance between
class vectors and class means. NC4: share of images that classifier and nearest class mean put into other identities.
Embeddings at length 1, of a sample of the faces; training images without augmentation. Effective rank: how many
directions the embeddings fill. ± is the standard deviation over seeds."""
NORMED = """Rank correlation (Spearman) of the norm of an image's embedding, as it is compared, with measures of the
image that need no model, and FNMR at the one threshold of the test for genuine pairs with an image of the lowest tenth
of norms and for the others. Intervals are 95 %, over subjects and seeds, not adjusted for the number of losses."""


def section(records: Records, progress: Progress) -> list[Child]:
    """Everything that may explain a result; empty where the records hold nothing of it."""
    seen = numbers.view(records)
    found = numbers.columns(seen)
    if not found and not records.rulers and not any(e.target_angles for e in records.epochs):
        return []
    steps = (_weights, _weights_by_family, _course, _dots, _factors, _others, _others_by_family)
    drawn = []
    for i, step in enumerate(steps):
        progress("drawing why", i, len(steps))
        drawn.append(step(seen))
    progress("drawing why", len(steps), len(steps))
    intro = (
        "What each loss did while it trained, and to the embedding, measured in the same way for all. These numbers "
        "describe. That one of them goes with a better result does not show that it is the reason."
    )
    parts: list[Child] = [tag("p", intro)]
    said = [s for s in (_gradient_sentence(seen), _collapse_sentence(seen), _norm_sentence(seen)) if s]
    parts += [tag("p", sentence) for sentence in said]
    parts += [*drawn[:4], _table(seen, GRADIENT), _classless(seen), *drawn[4:5]]
    embedding = [
        *drawn[5:],
        _table(seen, TRAINING, "" if numbers.columns(seen, TEST) else COLLAPSED),
        _table(seen, TEST, COLLAPSED),
        _table(seen, NORMS, NORMED + _threshold(seen)),
    ]
    return [*parts, *([tag("h3", "The embedding once trained")] if any(embedding) else []), *embedding]


def grid(records: Records, *, raw: bool = False) -> list[list[str]]:
    """The tables of the section as one, a row a loss, the first row the names; no rows where there are no numbers.

    ``raw``: every number in columns of its own, unrounded: value, low, high, spread; empty where there is none.
    """
    seen = numbers.view(records)
    found = numbers.columns(seen)
    if not found:
        return []
    if raw:
        names = [f"{c.name}{part}" for c in found for part in ("", " low", " high", " spread")]
        rows = [
            [label, *("" if x is None else repr(x) for c in found for x in c.cell(seen, label) or (None,) * 4)]
            for label in seen.labels
        ]
        return [["label", *names], *rows]
    rows = []
    for label in seen.labels:
        cells = [" ".join(filter(None, numbers.written(c.cell(seen, label), c.decimals))) for c in found]
        rows.append([label, *cells])
    return breakable([["Loss", *(c.name for c in found)], *rows])


def _table(seen: View, part: str, note: str = "") -> list[Child]:
    found = numbers.columns(seen, part)
    if not found:
        return []
    body = [
        row(tag("th", label, scope="row"), *[_cell(c, c.cell(seen, label)) for c in found],
            class_="base" if label == seen.baseline else None)
        for label in seen.labels
    ]  # fmt: skip
    header = head("Loss", *[_header(c) for c in found])
    listing = table(header, body, name=part)
    return [tag("h3", part), listing, tag("p", note, class_="note") if note else None]


def _threshold(seen: View) -> str:
    """At which FAR the FNMRs are."""
    at = next((n.at for (_, test, _), n in seen.records.norms.items() if test == seen.test and n.at), None)
    return f" The threshold is that of FAR {power(at)}." if at else ""


def _header(column: Column) -> Safe:
    name, _, below = column.name.partition(", ")
    return tag("th", name, tag("small", below) if below else None, scope="col", class_="n")


def _cell(column: Column, entry: Entry | None) -> Safe:
    value, limits = numbers.written(entry, column.decimals)
    return tag("td", value, tag("small", limits) if limits else None, class_="n" if entry else "n absent")


def _leader(seen: View, column: Column) -> str | None:
    """The best label of another loss than the baseline's that has this number."""
    loss = {run.label: run.loss for run in seen.records.runs.values()}
    same = loss.get(seen.baseline, seen.baseline)
    ranked = [label for label in seen.labels if loss.get(label, label) != same]
    return next((label for label in ranked if column.cell(seen, label) is not None), None)


def _named(name: str) -> Column:
    return next(column for column in COLUMNS if column.name == name)


def _percent(entry: Entry | None) -> str:
    return "–" if entry is None else f"{number(100 * entry.value, 0)} %"


def _gradient_sentence(seen: View) -> str:
    hard, easy = _named("Gradient of the hardest tenth"), _named("Gradient of the easiest half")
    both = [x for x in (_leader(seen, hard), seen.baseline) if x and hard.cell(seen, x) is not None]
    if not both:
        return ""
    tenth = "; ".join(f"{label} {_percent(hard.cell(seen, label))}" for label in both)
    half = "; ".join(f"{label} {_percent(easy.cell(seen, label))}" for label in both)
    return (
        "Of the gradient weight of the last epoch, the hardest tenth of the training samples, those with the largest "
        f"angle to their class, carried: {tenth}. The easiest half carried: {half}. If all samples were pulled alike, "
        "it would be 10 % and 50 %."
    )


def _collapse_sentence(seen: View) -> str:
    parts = []
    for name, words in (("NC1, test", "NC1"), ("Effective rank, test", "the effective rank")):
        column = _named(name)
        known = {label: e for label in seen.labels if (e := column.cell(seen, label)) is not None}
        if len(known) < 2:
            continue
        low, high = (pick(known, key=lambda label: known[label].value) for pick in (min, max))
        base = known.get(seen.baseline)
        shown = [
            number(entry.value, 2 if abs(entry.value) < 10 else 1)
            for entry in (known[low], known[high], *([base] if base else []))
        ]
        middle = f"; {seen.baseline} has {shown[2]}" if base and seen.baseline not in (low, high) else ""
        parts.append(f"{words} of the test's embeddings reaches from {shown[0]} ({low}) to {shown[1]} ({high}){middle}")
    said = ". ".join(part[0].upper() + part[1:] for part in parts)
    return f"{said}." if said else ""


def _norm_sentence(seen: View) -> str:
    parts = []
    for name in numbers.RHO:
        column = _named(f"Norm and {name}, rho")
        known = [e for label in seen.labels if (e := column.cell(seen, label)) is not None]
        above, below = sum((e.low or 0.0) > 0 for e in known), sum((e.high or 0.0) < 0 for e in known)
        if known:
            parts.append(
                f"{name}, above 0 for {above} and below 0 for {below} of {plural(len(known), 'loss', 'losses')}"
            )
    if not parts:
        return ""
    return (
        "The norm of the embedding and what is known of the image: the interval of their rank correlation lies, with "
        f"{'; with '.join(parts)}."
    )


def _classless(seen: View) -> Safe | None:
    some = numbers.without_classes(seen.records)
    if not some:
        return None
    have = "has" if len(some) == 1 else "have"
    return tag(
        "p", f"{listed(some)} {have} no class vectors, so there is no angle to one and no row here; the angles to the "
        "other images of the identity, below, are there for all.", class_="note",
    )  # fmt: skip


def _figure(drawing: figures.Drawing | None, name: str, title: str, caption: str) -> Safe | None:
    if drawing is None:
        return None
    draw, size = drawing
    picture = inline(draw, name=name, size=size, alt=title)
    return tag("figure", picture, tag("figcaption", tag("b", title), " ", caption))


def _weights(seen: View) -> Safe | None:
    return _figure(figures.weights(seen), "why-weights", "Gradient weight against angle.", WEIGHT.replace("\n", " "))


def _weights_by_family(seen: View) -> Safe | None:
    return _figure(
        figures.families(seen, "weights"), "why-families", "The same, family by family.",
        "Solid as applied in the last epoch, thin and dashed the loss alone; all panels on one pair of axes. The "
        "baseline is in ink; of many losses of a family only the best are named.",
    )  # fmt: skip


def _course(seen: View) -> Safe | None:
    left = plural(len(seen.labels) - len(shown(seen.records)), "other loss", "other losses")
    hidden = f" Only the best and the baseline; {left} are in the table." if not left.startswith("0 ") else ""
    return _figure(
        figures.course(seen), "why-course", "Angles of the training samples over the epochs.",
        "Each sample at the angle to its class in the step that it was trained in, all seeds together; the stronger "
        f"the line, the later the epoch.{hidden}",
    )  # fmt: skip


def _dots(seen: View) -> Safe | None:
    return _figure(
        figures.dots(seen), "why-dots", "Who carries the gradient, and what the norm goes with.",
        "Left, a full dot is the hardest tenth of the samples, a hollow one the easiest half, with the standard "
        "deviation over seeds; the dotted lines are where they would be if all samples were pulled alike. Right, rank "
        "correlations with 95 % intervals over subjects and seeds.",
    )  # fmt: skip


def _factors(seen: View) -> Safe | None:
    return _figure(
        figures.factors(seen), "why-factors", "The factor h of the losses that were searched for.",
        "h is what the loss makes of the target's probability p, divided by p, with the numbers that the search ended "
        "with; the dotted line is plain softmax. A line a seed.",
    )  # fmt: skip


def _others(seen: View) -> Safe | None:
    return _figure(
        figures.others(seen), "why-others", "How near the images of an identity are.",
        "Angle between the embedding of an image and the mean of the other images of its identity, once trained; all "
        "seeds together. It needs no class vectors, so every loss that ended with a usable network is here.",
    )  # fmt: skip


def _others_by_family(seen: View) -> Safe | None:
    test = seen.test
    return _figure(
        figures.families(seen, "others"), "why-others-families", "The same on the test, family by family.",
        f"Images of {test}.",
    )  # fmt: skip
