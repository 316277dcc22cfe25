"""What was compared on what: the data, the meaning of the words, and how to do it again."""

import json
import shlex
from typing import Any

from faceloss.report.answer import CLAIM, EXPLORE
from faceloss.report.kinds import Data
from faceloss.report.markup import Child, Safe, head, row, table, tag
from faceloss.report.records import Records
from faceloss.report.words import count, listed, plural


def data(records: Records) -> list[Child]:
    """One row a role, and the statement about identities that two roles share."""
    if not records.data:
        return [tag("p", "The records say nothing about the data.", class_="note")]
    numeric = [tag("th", name, scope="col", class_="n") for name in ("Images", "Identities")]
    tail = [tag("th", name, scope="col", class_="n") for name in ("Refused", "Overlap removed")]
    per = tag("th", "Images per identity", tag("small", "fewest, median, most"), scope="col", class_="n")
    header = head("Role", "Data", *numeric, per, *tail, "Digest of the contents")
    body = [
        row(
            d.role, tag("td", d.name, tag("small", plural(d.pairs, "pair")) if d.pairs else None, class_="wrap"),
            *[tag("td", count(n), class_="n") for n in (d.images, d.identities)],
            tag("td", ", ".join(f"{n:g}" for n in d.images_per_identity) or "–", class_="n"),
            tag("td", count(d.refused), class_="n"), tag("td", _removed(d), class_="n"),
            tag("td", tag("code", d.digest or "–"), class_="digest"),
        )
        for d in records.data
    ]  # fmt: skip
    parts: list[Child] = [table(header, body, name="Data"), tag("p", disjoint(records.data))]
    parts += [tag("p", said) for d in records.data if (said := _noise(d))]
    parts.append(tag("p", preparation(records.data)))
    groups = [(d, name, n) for d in records.data for name, n in d.groups.items()]
    if groups:
        listing = [row(d.role, name, tag("td", _plain(n), class_="n")) for d, name, n in groups]
        header = head("Role", "Group", tag("th", "Images", scope="col", class_="n"))
        parts += [tag("h3", "Groups"), table(header, listing, name="Groups")]
    return parts


def _noise(d: Data) -> str:
    """What was put into a training set on purpose."""
    if not d.noise:
        return ""
    names = ("flipped", "outliers", "identities_given_up", "images_left_out")
    flipped, outliers, given_up, left_out = (int(d.noise.get(name) or 0) for name in names)
    said = []
    if flipped or outliers:
        said.append(
            f"of {plural(d.images, 'label')} {flipped:,} are those of another identity and {outliers:,} stand on a "
            f"stranger's face, {100 * (flipped + outliers) / max(1, d.images):.1f} % in all"
        )
    if given_up:
        said.append(f"{plural(given_up, 'identity', 'identities')} left training to be the strangers")
    if left_out:
        last = f"1/{d.noise.get('imbalance', 1):g}"
        said.append(f"{plural(left_out, 'image')} left it, so that the last identity keeps {last} of its own")
    noise = "; ".join(said) or "none came of it"
    return f"Noise put into {d.role} on purpose, the same for every loss and seed: {noise}."


def _removed(d: Data) -> str:
    if d.overlap_identities is None and d.overlap_images is None:
        return "not checked"
    return f"{plural(d.overlap_identities or 0, 'identity', 'identities')}, {plural(d.overlap_images or 0, 'image')}"


def preparation(rows: tuple[Data, ...]) -> str:
    """Whether all faces were aligned and cropped alike, as far as their preprocessing contracts say."""
    known = [d.contract for d in rows if d.contract]
    if not known:
        return "How the faces were aligned and cropped is not known: no set came with a preprocessing contract."
    differ = sorted({name for one in known for name in one if one[name] != known[0].get(name, one[name])})
    if not differ and len(known) == len(rows):
        return f"All faces were prepared alike: {_way(known[0])}."
    ways: dict[str, list[str]] = {}
    for d in rows:
        ways.setdefault(_way(d.contract), []).append(f"{d.role} ({d.name})")
    parts = "; ".join(f"{listed(names)}: {way}" for way, names in ways.items())
    if not differ:
        return f"Of some faces it is not known how they were aligned and cropped. {parts}."
    return f"The faces were not prepared alike; they differ in {listed(differ)}. {parts}."


def _way(contract: dict[str, Any] | None) -> str:
    """A contract in words: "arcface 1, 112 x 112, RGB"."""
    if not contract:
        return "not known"
    size, template = contract.get("size") or {}, contract.get("template") or {}
    words = f"{template.get('name')} {template.get('version')}, {size.get('width')} x {size.get('height')}"
    return f"{words}, {contract.get('channels')}"


_SHARED = {
    "names": ("identity by name", "identities by name"),
    "files": ("image file", "image files"),
    "pictures": ("picture encoded anew", "pictures encoded anew"),
    "renamed": ("identity under another name", "identities under another name"),
}


def disjoint(rows: tuple[Data, ...]) -> str:
    """What the check of training, validation and test for shared identities and images found."""
    checked = [d for d in rows if d.overlap_identities is not None or d.overlap_images is not None]
    if not checked:
        return "The records hold no check for identities or images shared by training, validation and test."
    taken = [f"{_removed(d)} from {d.role}" for d in checked if d.overlap_identities or d.overlap_images]
    roles = listed(list(dict.fromkeys(d.role for d in rows)))
    found = f"removed as shared: {listed(taken)}" if taken else "nothing was shared, so nothing was removed"
    kept = any(d.overlap == "keep" and any(d.overlap_kinds.values()) for d in checked)
    found = "what was shared was kept, so that the tests know people of training" if kept else found
    return f"The identities and images of {roles} were checked against each other; {found}.{_kinds(checked)}"


def _kinds(rows: list[Data]) -> str:
    """What was shared, by kind; nothing where nothing was, or where the records do not say."""
    total = {kind: sum(d.overlap_kinds.get(kind, 0) for d in rows) for kind in _SHARED}
    if not any(total.values()):
        return ""
    words = [plural(total[kind], one, many) for kind, (one, many) in _SHARED.items() if total[kind]]
    return f" Shared were {listed(words)}."


_INTERVAL = """A 95 % interval of the mean over seeds. It covers both sources of chance: the subjects in the test, and
the seed that trained the network. Pairs that share a subject are not independent, hence the effective n."""
_BETTER = f"""The paired 95 % interval of the difference to the baseline excludes 0 after Holm's adjustment for all
losses compared, on at least {EXPLORE} seeds. {EXPLORE} seeds are exploratory, {CLAIM} a claim."""
_THIRTY = """Fewer than 30 errors are expected, so that a number would be chance: FAR 1e-3 needs 30,000 impostor pairs,
1e-6 needs 30 million."""

_TERMS = [
    ("FAR, FMR", "The share of impostor pairs (two identities) that a threshold accepts. It is fixed first."),
    ("TAR, FNMR", "The share of genuine pairs (one identity) accepted at that threshold, and its complement 1 − TAR."),
    ("[low, high]", _INTERVAL),
    ("± spread", "The standard deviation over seeds alone."),
    ("better, worse", _BETTER),
    ("no difference found", "Anything short of that. It does not mean that the losses are equal."),
    ("not measurable", _THIRTY),
    ("diverged", "Training did not end with a usable network. That is a result and stays in every table."),
    ("EER, AUC", "Diagnostics. They average over thresholds nobody would use, and rank nothing here."),
]


def reading() -> Safe:
    """Short definitions of all words that the page uses."""
    return tag("dl", [[tag("dt", term), tag("dd", meaning)] for term, meaning in _TERMS])


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | str):
        return str(value)
    if isinstance(value, list) and all(isinstance(v, int | float | str) for v in value):
        return ", ".join(str(v) for v in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def reproduce(records: Records) -> list[Child]:
    """The command, every setting of the study, and the hyperparameters of every label."""
    parts: list[Child] = []
    command = records.study.command
    if command:
        parts.append(tag("pre", tag("code", shlex.join(command) if isinstance(command, list) else command)))
    settings = _flat({k: v for k, v in records.settings.items() if k not in ("title", "command")})
    if settings:
        body = [
            row(tag("th", k.replace("_", " "), scope="row"), tag("td", _plain(v), class_="wrap"))
            for k, v in settings.items()
        ]
        parts.append(table(head("Setting", "Value"), body, name="Settings of the study"))
    else:
        parts.append(
            tag("p", "The records hold no study record, so that command and settings are unknown.", class_="note")
        )
    if records.runs:
        parts += [tag("h3", "Hyperparameters"), _hyperparameters(records)]
    parts.append(tag("p", "This page is a function of records.jsonl with SHA-256 ", tag("code", records.digest), "."))
    return parts


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings one level deep; what a group repeats of the others is said once."""
    flat = {k: v for k, v in settings.items() if not isinstance(v, dict)}
    for group, inner in settings.items():
        if isinstance(inner, dict):
            flat |= {f"{group}: {k}": v for k, v in inner.items() if k not in flat or flat[k] != v}
    return flat


def _hyperparameters(records: Records) -> Safe:
    body = []
    for label in records.labels:
        runs = [run for (name, _), run in records.runs.items() if name == label]
        if not runs:
            body.append(row(label, "not run yet", "", ""))
            continue
        given = list(dict.fromkeys(_pairs(run.hyperparameters) for run in runs))
        batches = ", ".join(dict.fromkeys(run.batches for run in runs if run.batches)) or "–"
        body.append(row(label, runs[0].loss, batches, tag("td", "; ".join(given), class_="wrap")))
    return table(head("Label", "Loss", "Batches", "Hyperparameters"), body, name="Hyperparameters")


def _pairs(hyperparameters: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_plain(value)}" for name, value in sorted(hyperparameters.items())) or "none"
