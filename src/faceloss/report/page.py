"""The page: answer, table, figures, all results, failures, data, and how to read and repeat it."""

from collections.abc import Callable

from faceloss.report import (
    answer,
    charts,
    cost_section,
    curves,
    det,
    embedding_map,
    facts,
    failures,
    groups,
    hardest,
    identification,
    robustness,
    search_section,
    tables,
    why,
)
from faceloss.report.markup import Child, Safe, tag
from faceloss.report.records import Records
from faceloss.report.sheet import sheet
from faceloss.report.svg import inline
from faceloss.report.words import metric, place, plural

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # pictures lie in the page itself
SECTIONS = {
    "table": "One table",
    "figures": "Figures",
    "identification": "Identification",
    "search": "Search",
    "robustness": "Robustness",
    "map": "Embedding map",
    "why": "Why",
    "cost": "Cost",
    "results": "All results",
    "groups": "Groups",
    "failures": "Failures",
    "data": "Data",
    "reading": "How to read this",
    "reproduce": "Reproduce",
}


def page(records: Records, progress: Callable[[str, int, int], None]) -> str:
    """The whole HTML page of a study."""
    title = records.study.title or "Comparison of face-recognition losses"
    content: dict[str, list[Child]] = {
        "table": _table(records),
        "figures": _figures(records, progress),
        "identification": identification.section(records),
        "search": search_section.section(records, progress),
        "robustness": robustness.section(records),
        "map": embedding_map.section(records),
        "why": why.section(records, progress),
        "cost": cost_section.section(records, progress),
        "results": tables.all_results(records) or [tag("p", "No test has been measured yet.")],
        "groups": groups.section(records),
        "failures": [*failures.failures(records), *hardest.section(records)],
        "data": facts.data(records),
        "reading": [facts.reading()],
        "reproduce": facts.reproduce(records),
    }
    names = {key: name for key, name in SECTIONS.items() if content[key]}
    links = tag("nav", [[tag("a", name, href=f"#{key}"), " "] for key, name in names.items()], aria_label="Contents")
    sections = [
        tag("section", tag("h2", name), content[key], id=key, class_="wide" if key in ("table", "robustness") else None)
        for key, name in names.items()
    ]
    header = tag("header", tag("h1", title), tag("p", _facts(records), class_="facts"), _answer(records), links)
    meta = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"),
    ]
    document = tag(
        "html", tag("head", *meta, tag("title", title), tag("style", Safe(sheet()))),
        tag("body", tag("main", header, *sections)), lang="en",
    )  # fmt: skip
    return f"<!doctype html>\n{document}\n"


def _facts(records: Records) -> str:
    """One line under the title: what was compared, how often, on how many faces."""
    parts = [plural(len(records.labels), "loss", "losses"), plural(len(records.seeds), "seed")]
    train = next((d for d in records.data if d.role == "train"), None)
    if train:
        faces = f"{plural(train.images, 'training image')} of {plural(train.identities, 'identity', 'identities')}"
        parts.append(faces)
    tests = list(dict.fromkeys(key.test for key in records.keys))
    if tests:
        parts.append(f"tested on {', '.join(tests)}")
    return " · ".join(parts)


def _answer(records: Records) -> Safe:
    first, *rest = [sentence for sentence in answer.sentences(records) if sentence]
    claim, colon, evidence = first.partition(": ")
    said = [tag("p", tag("strong", claim), colon, evidence) if colon else tag("p", first)]
    said += [tag("p", sentence) for sentence in rest]
    waiting = answer.missing(records)
    if waiting:
        said.append(tag("p", tag("b", waiting), " The numbers below are those of the runs so far.", class_="missing"))
    return tag("section", tag("h2", "Answer"), said, class_="answer", aria_label="Answer")


def _table(records: Records) -> list[Child]:
    key = answer.primary(records)
    ranks = f" Rows are ranked by {metric(key)} on {place(key)}." if key else ""
    note = (
        f"Each cell: mean over seeds ± standard deviation over seeds, with its 95 % interval.{ranks} "
        "Only the differences to the baseline are tested, not the order among the others. "
        "Losses that did not finish are rows like all others."
    )
    return [tag("p", note, class_="note"), tables.main_table(records), tables.remarks(records)]


def _figure(picture: Safe, title: str, caption: str) -> Safe:
    return tag("figure", picture, tag("figcaption", tag("b", title), " ", caption))


def _figures(records: Records, progress: Callable[[str, int, int], None]) -> list[Child]:
    steps = (_forest, _other_forests, _det, _families, _scores, _training)
    parts: list[Child] = []
    absent: list[str] = []
    for i, step in enumerate(steps):
        progress("drawing figures", i, len(steps))
        found = step(records)
        if isinstance(found, Safe):
            parts.append(found)
        elif found:
            absent.append(found)
    progress("drawing figures", len(steps), len(steps))
    if len(charts.shown(records)) < len(records.labels):
        parts.insert(
            0, tag("p", f"In color: the best {charts.TOP} and the baseline. All others are grey.", class_="note")
        )
    if absent:
        parts.append(
            tag("p", f"Not drawn, because the records lack what it takes: {', '.join(absent)}.", class_="note")
        )
    return parts


def _forest(records: Records) -> Safe | str:
    key = answer.primary(records)
    rows = answer.compared(records, key)
    if key is None or not rows:
        return "differences to the baseline"
    draw = charts.differences(records, key)
    picture = inline(
        lambda figure: draw(figure.subplots()), name="forest", size=(9.0, 0.42 * len(rows) + 0.8),
        alt=f"Differences in {metric(key)} to {records.baseline} on {place(key)}, with intervals",
    )  # fmt: skip
    return _figure(
        picture, f"Paired differences to {records.baseline}, {place(key)}.",
        "Bars are paired 95 % intervals over subjects and seeds; right of the line is better. A hollow dot marks a "
        "difference that these data cannot tell from none.",
    )  # fmt: skip


def _other_forests(records: Records) -> Safe | str:
    first = answer.primary(records)
    judged = {key for (_, key), row in records.differences.items() if row.value is not None}
    ranks = [k for k in records.keys if k.metric == "rank"]
    repeats = {k for k in ranks if any(k[:3] == other[:3] for other in ranks[: ranks.index(k)])}
    left_out = {*repeats, *(k for k in records.keys if k.metric in (*answer.DIAGNOSTIC, "tar by identity"))}
    keys = [k for k in records.keys if k in judged and k != first and k not in left_out][:6]
    if not keys:
        return ""
    draw, size = charts.small_differences(records, keys)
    picture = inline(draw, name="forests", size=size, alt=f"Differences to {records.baseline} on the other measures")
    return _figure(picture, "The same on the other measures.", "Differences again, each panel on its own scale.")


def _det(records: Records) -> Safe | str:
    draw = det.det(records)
    if draw is None:
        return "DET curves"
    test = curves.test_of(records, "det")
    picture = inline(draw, name="det", size=(9.0, 4.3), alt=f"DET curves on {test}: FNMR against FMR")
    return _figure(
        picture, f"DET on {test}.",
        "Lines are medians over seeds, lower is better. The band reaches from the lowest to the highest 95 % limit "
        "of any seed, over subjects.",
    )  # fmt: skip


def _families(records: Records) -> Safe | str:
    found = det.families(records)
    if found is None:
        return ""
    draw, size = found
    named = det.of_families(records)
    alt = f"DET curves family by family: {', '.join(f'{name} ({len(labels)})' for name, labels in named.items())}"
    picture = inline(draw, name="families", size=size, alt=alt)
    return _figure(
        picture, "The same, family by family.",
        f"Each panel has the losses of one family in color, the baseline in ink and the best of all in grey. Of more "
        f"than {det.COLORED} only the best are named. Families stand in the order of their best loss.",
    )  # fmt: skip


def _scores(records: Records) -> Safe | str:
    found = curves.scores(records)
    if found is None:
        return "score histograms"
    draw, size = found
    test = curves.test_of(records, "scores")
    picture = inline(draw, name="scores", size=size, alt=f"Genuine and impostor scores on {test}")
    return _figure(
        picture, f"Scores on {test}.",
        "Color: genuine pairs; grey, dashed: impostor pairs; mean density over seeds. The line is the threshold at the "
        "FAR beside it.",
    )  # fmt: skip


def _training(records: Records) -> Safe | str:
    found = curves.training(records)
    if found is None:
        return "the course of training"
    draw, size = found
    picture = inline(draw, name="training", size=size, alt="Margin-free measures over epochs")
    return _figure(
        picture, "Training, free of margins.",
        "Medians over seeds, single seeds faint. The raw values of different losses never share an axis: a margin or a "
        "scale changes the number without changing the network. A loss without class vectors has no cross-entropy; its "
        "accuracy is that of the nearest other image in the batch, its angle that between two images of one identity.",
    )  # fmt: skip
