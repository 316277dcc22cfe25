"""The ledger: what became of every input file, as JSON lines, as CSV, and as the ``index.csv`` that `load_faces` reads.

One JSON object per input file, in bytewise order of names:

    file, identity, split, group    as the source names them
    status                          "kept"; "changed": kept, after the pixels were converted; "dropped"
    reason                          why it was dropped, from a small fixed vocabulary; "" otherwise
    changes                         what was done to the pixels before alignment
    sha256, bytes                   of the file; null where it could not be read
    kind, width, height             of the picture, upright; null where it could not be decoded
    faces                           every face found, best score first: box (left, top, right, bottom), landmarks (five
                                    times x, y), score, outside (share of its crop outside the picture), crop (path
                                    in the folder, "" if not cropped), sha256 of the crop
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

Record = dict[str, Any]

_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = (
    *(
        "file",
        "identity",
        "split",
        "group",
        "status",
        "reason",
        "changes",
        "sha256",
        "bytes",
        "kind",
        "width",
        "height",
    ),
    *("faces", "face", "left", "top", "right", "bottom"),
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
    *("score", "outside", "crop", "crop_sha256"),
)


def record(file: str, identity: str, split: str, group: str) -> Record:
    """A record of a file of which nothing is known yet."""
    who = {"file": file, "identity": identity, "split": split, "group": group}
    facts = {"sha256": None, "bytes": None, "kind": None, "width": None, "height": None}
    return {**who, "status": "dropped", "reason": "", "changes": [], **facts, "faces": []}


def line(row: Record) -> str:
    """A record as one line of JSON."""
    return json.dumps(row, ensure_ascii=False, separators=(", ", ": ")) + "\n"


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV; text that a spreadsheet would run as a formula is left as it is, for files are named so."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def csv_rows(row: Record) -> Iterator[list[Any]]:
    """The lines of ``ledger.csv`` for a record: one per face, or one if there is none."""
    start = [row[name] for name in COLUMNS[:12]]
    start[6] = "; ".join(row["changes"])
    start = ["" if value is None else value for value in start]
    for number, face in enumerate(row["faces"]):
        points = [x for point in face["landmarks"] for x in point]
        end = [face[name] for name in ("score", "outside", "crop", "sha256")]
        yield [*start, len(row["faces"]), number, *face["box"], *points, *end]
    if not row["faces"]:
        yield [*start, 0, *([""] * (len(COLUMNS) - 13))]


def index_rows(row: Record) -> Iterator[list[Any]]:
    """The lines of ``index.csv`` for a record: one per crop."""
    for face in row["faces"]:
        if face["crop"]:
            yield [face["crop"], row["identity"], row["split"], row["group"]]
