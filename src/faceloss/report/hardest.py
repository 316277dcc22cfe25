"""The hardest errors of each loss: as pictures where the faces are generated, else by the names of their files."""

from faceloss.report import answer
from faceloss.report.kinds import Failures, Image, Pair
from faceloss.report.markup import Child, Safe, head, numeric, row, table, tag
from faceloss.report.records import Records
from faceloss.report.words import listed, number, power

KINDS = {"false_matches": "False matches", "false_non_matches": "False non-matches"}
DRAWN = 3  # tests whose pairs are drawn; of others there is the table
LISTED = 3  # pairs of a kind that the table of all losses has


def section(records: Records) -> list[Child]:
    """A part for each test whose errors are known; empty where none are."""
    parts: list[Child] = []
    for i, test in enumerate(dict.fromkeys(f.test for f in records.failures)):
        found = _first(records, test)
        measured = {label: f for label, f in found.items() if f.status == "measured"}
        parts.append(tag("h3", f"Hardest pairs of {test}"))
        if not measured:
            said = "Not measurable: the pairs carry no FAR at which a threshold could be set."
            parts.append(tag("p", said, class_="note"))
            continue
        far = next((f.threshold_far for f in measured.values() if f.threshold_far), None)
        parts.append(tag("p", _note(records, test, far), class_="note"))
        for label in dict.fromkeys([next(iter(measured)), records.baseline]):
            if label in measured and i < DRAWN:
                parts += _sheet(records, measured[label])
        parts.append(tag("details", tag("summary", "The hardest pairs of every loss"), _listing(measured)))
    return parts


def _first(records: Records, test: str) -> dict[str, Failures]:
    """The failures of each label's first seed, from the best label to the worst."""
    found: dict[str, Failures] = {}
    for failures in sorted((f for f in records.failures if f.test == test), key=lambda f: f.seed):
        found.setdefault(failures.label, failures)
    ranked = answer.ranked(records, answer.primary(records))
    return {label: found[label] for label in ranked if label in found}


def _note(records: Records, test: str, far: float | None) -> str:
    at = f" of FAR {power(far)}" if far else ""
    said = [f"Pairs on the wrong side of the threshold{at} in the first seed, the furthest from it first."]
    said.append("Of two identities, and of the pictures of one, only the hardest pair is shown.")
    if not any(name == test for name, _ in records.pictures):
        marked = any(d.generated for d in records.data if d.name == test)
        why = "Their pictures are not kept here" if marked else "These faces are not marked as generated"
        said.append(f"{why}, so that only file names are shown.")
    elif any(name == test and not picture.generated for (name, _), picture in records.pictures.items()):
        said.append("These are pictures of real people, shown because whoever wrote this page consented for them.")
    else:
        said.append("All these faces are generated: nobody real is shown.")
    return " ".join(said)


def _sheet(records: Records, failures: Failures) -> list[Child]:
    parts: list[Child] = [tag("h4", f"{failures.label}, seed {failures.seed}")]
    for name, title in KINDS.items():
        pairs: tuple[Pair, ...] = getattr(failures, name)
        if not pairs:
            parts.append(tag("p", f"{title}: none."))
            continue
        shown = [tag("li", _pair(records, failures.test, pair)) for pair in pairs]
        parts.append(tag("div", tag("p", title), tag("ul", shown, class_="pairs"), class_="hardest"))
    return parts


def _pair(records: Records, test: str, pair: Pair) -> list[Child]:
    pictures = [_picture(records, test, image) for image in (pair.first, pair.second)]
    names = listed(list(dict.fromkeys([_name(pair.first), _name(pair.second)])))
    told = [tag("b", number(pair.score, 3)), " ", names]
    if all(pictures):
        return [tag("span", pictures, class_="two"), tag("small", told)]
    return [tag("small", told, tag("br"), f"{pair.first.file}, {pair.second.file}")]


def _picture(records: Records, test: str, image: Image) -> Safe | None:
    picture = records.pictures.get((test, image.file))
    return tag("img", src=f"data:image/jpeg;base64,{picture.jpeg}", alt=image.file) if picture else None


def _name(image: Image) -> str:
    return image.identity or "unnamed"


def _listing(found: dict[str, Failures]) -> Safe:
    body = []
    for label, failures in found.items():
        for name, title in KINDS.items():
            pairs: tuple[Pair, ...] = getattr(failures, name)
            for pair in pairs[:LISTED]:
                ends = [
                    tag("td", _name(image), tag("small", image.file), class_="wrap")
                    for image in (pair.first, pair.second)
                ]
                score = tag("td", number(pair.score, 3), class_="n")
                body.append(row(label, title.removesuffix("es").lower(), score, *ends))
    header = head("Loss", "Error", *numeric("Score"), "First image", "Second image")
    return table(header, body, name="Hardest pairs of every loss")
