"""The page of a folder of prepared crops: what became of the photographs, and if wanted how the crops look.

A pure function of ``ledger.jsonl`` and ``contract.json`` (and of the crops, for contact sheets); reads the ledger line
by line, so that its length does not matter.
"""

import base64
import heapq
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from faceloss.errors import BadInput
from faceloss.files import write_atomically
from faceloss.report.markup import Child, Safe, head, row, table, tag
from faceloss.report.sheet import sheet
from faceloss.report.words import plural

SHOWN = 96  # crops of a contact sheet
EXAMPLES = 3  # files named beside a reason

_GRID = """
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(5.5rem, 1fr)); gap: 0.5rem; margin: 1rem 0; }
.sheet figure { margin: 0; } .sheet img { width: 100%; display: block; }
.sheet figcaption { font-size: 0.7rem; margin-top: 0.15rem; overflow-wrap: anywhere; }
"""


def write_prepared(folder: Path, *, sheets: bool = False) -> Path:
    """Write ``FOLDER/prepare.html``; with ``sheets`` it holds pictures of crops, and is as private as they are.

    Raises:
        BadInput: the folder has no finished ledger.
        CouldNotFinish: the page cannot be written.
    """
    path = folder / "prepare.html"
    write_atomically(path, page(folder, sheets).encode("utf-8"))
    return path


def page(folder: Path, sheets: bool) -> str:
    """The whole HTML page."""
    tally = Tally(folder)
    title = "Photographs prepared"
    content = [
        *_section("Dropped", _counts(tally.reasons, tally.examples, tally.files, "Reason")),
        *_section("Changed before alignment", _counts(tally.changes, tally.examples, tally.files, "What was done")),
        *_section("Crops", _crops(tally)),
        *(_section("Contact sheets", _sheets(folder, tally)) if sheets else []),
        *_section("Preprocessing contract", [tag("pre", json.dumps(tally.contract, indent=1, ensure_ascii=False))]),
    ]
    answer = tag("section", tag("h2", "What became of them"), tag("p", _answer(tally)), class_="answer")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    meta = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="color-scheme", content="light dark"),
    ]
    style = tag("style", Safe(sheet() + _GRID))
    body = tag("body", tag("main", tag("header", tag("h1", title), answer), *content))
    document = tag("html", tag("head", *meta, tag("title", title), style), body, lang="en")
    return f"<!doctype html>\n{document}\n"


class Tally:
    """What the page says, counted in one pass over the ledger."""

    def __init__(self, folder: Path):
        self.files = 0
        self.status: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}  # first files of each reason and change
        self.per_identity: Counter[str] = Counter()  # crops
        self.scores: list[float] = []
        self.sides: list[float] = []  # of the boxes, in pixels of the photographs
        self.outside: list[float] = []
        self.copies = 0
        seen: set[bytes] = set()
        try:
            self.contract: dict[str, Any] = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
            for record in records(folder):
                self._add(record, seen)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{folder} is no finished folder of faceloss prepare ({error}).") from None

    def _add(self, record: dict[str, Any], seen: set[bytes]) -> None:
        self.files += 1
        self.status[record["status"]] += 1
        for what, counter in [(record["reason"], self.reasons), *((c, self.changes) for c in record["changes"])]:
            if what:
                counter[what] += 1
                named = self.examples.setdefault(what, [])
                if len(named) < EXAMPLES:
                    named.append(record["file"])
        if record["sha256"]:
            key = bytes.fromhex(record["sha256"])[:12]
            self.copies += key in seen
            seen.add(key)
        self.per_identity[record["identity"]] += 0
        for face in record["faces"]:
            if face["crop"]:
                left, top, right, bottom = face["box"]
                self.per_identity[record["identity"]] += 1
                self.scores.append(face["score"])
                self.sides.append(math.sqrt(max(right - left, 0) * max(bottom - top, 0)))
                self.outside.append(face["outside"])


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of the ledger."""
    with open(folder / "ledger.jsonl", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _section(title: str, content: Sequence[Child]) -> list[Child]:
    return [tag("section", tag("h2", title), content)] if content else []


def _answer(tally: Tally) -> str:
    kept = tally.status["kept"] + tally.status["changed"]
    people = [identity for identity in tally.per_identity if identity]
    without = sum(not tally.per_identity[identity] for identity in people)
    counts = f"{kept} kept ({tally.status['changed']} of them converted), {tally.status['dropped']} dropped"
    parts = [f"{plural(tally.files, 'file')}: {counts}; {plural(len(tally.scores), 'crop')}"]
    if people:
        parts.append(f" of {plural(len(people) - without, 'identity', 'identities')}")
    parts.append(f"; {plural(without, 'identity has', 'identities have')} no crop left" if without else "")
    parts.append(
        f". {plural(tally.copies, 'file is an exact copy', 'files are exact copies')} of another one."
        if tally.copies
        else "."
    )
    return "".join(parts)


def _counts(counter: Counter[str], examples: dict[str, list[str]], files: int, name: str) -> list[Child]:
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    rows = [
        row(what, tag("td", str(count), class_="n"), tag("td", f"{100 * count / files:.1f} %", class_="n"),
            tag("td", ", ".join(examples[what]), class_="wrap"))
        for what, count in ordered
    ]  # fmt: skip
    return [table(head(name, "Files", "Share", "For example"), rows, name=name)] if rows else []


def _crops(tally: Tally) -> list[Child]:
    people = [float(count) for identity, count in tally.per_identity.items() if identity and count]
    measured = {
        "score of the detector": (tally.scores, "{:.3f}"),
        "side of the face in the photograph, pixels": (tally.sides, "{:.0f}"),
        "share of the crop outside the photograph": (tally.outside, "{:.3f}"),
        "crops per identity": (people, "{:.0f}"),
    }
    shares = (0.0, 0.05, 0.5, 0.95, 1.0)
    rows = [
        row(name, *(tag("td", form.format(_quantile(sorted(values), share)), class_="n") for share in shares))
        for name, (values, form) in measured.items()
        if values
    ]
    header = head("", "Least", "5 %", "Median", "95 %", "Most")
    return [table(header, rows, name="Crops in numbers")] if rows else []


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]


def _sheets(folder: Path, tally: Tally) -> list[Child]:
    count = len(tally.scores)
    step = max(1, count // SHOWN)
    even = list(islice(islice(_all_crops(folder), 0, None, step), SHOWN))
    doubtful = heapq.nsmallest(SHOWN, _all_crops(folder), key=lambda crop: (crop["score"], crop["crop"]))
    border = heapq.nlargest(SHOWN, _all_crops(folder), key=lambda crop: (crop["outside"], crop["crop"]))
    content: list[Child] = []
    for title, crops, what in (
        ("Evenly drawn", even, "score"),
        ("Lowest scores", doubtful, "score"),
        ("Nearest the border", [crop for crop in border if crop["outside"]], "outside"),
    ):
        if crops:
            content += [tag("h3", title), tag("div", [_figure(folder, c, what) for c in crops], class_="sheet")]
    return content


def _all_crops(folder: Path) -> Iterator[dict[str, Any]]:
    return (face for record in records(folder) for face in record["faces"] if face["crop"])


def _figure(folder: Path, crop: dict[str, Any], what: str) -> Safe:
    path = folder / crop["crop"]
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    try:
        source = f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); prepare the photographs anew.") from None
    words = f"{crop['crop'].removeprefix('images/')} ({what} {crop[what]:.3f})"
    return tag("figure", tag("img", src=source, alt=words), tag("figcaption", words))
