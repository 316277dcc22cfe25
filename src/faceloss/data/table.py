"""A CSV that lists images: columns ``file`` and ``identity`` (or ``id``), and where known ``split`` and ``group``.

Files are relative to the folder of the CSV. Absolute names and ``..`` are allowed: the table is the user's own, files
are only ever read, and only as images. Other columns are ignored. The delimiter is a comma, semicolon or tab.
"""

import csv
import io
import os
from functools import partial
from pathlib import Path

from faceloss.data.entries import SPLIT_NAMES, Entry, Source, finish, read_file, shown
from faceloss.data.faces import Refused
from faceloss.errors import BadInput


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header (lower case) and rows of a CSV; short rows are filled with ""."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    return parse_table(data, str(path))


def parse_table(data: bytes, path: str) -> tuple[list[str], list[dict[str, str]]]:
    """`read_table` of bytes; ``path`` is what they are called in a sentence."""
    text = data.decode("utf-8-sig", "surrogateescape")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise BadInput(f"{path} is not a CSV file ({error}).") from None
    if not rows:
        raise BadInput(f"{path} is empty; its first line must name the columns.")
    header = [name.strip().casefold() for name in rows[0]]
    filled = (row + [""] * (len(header) - len(row)) for row in rows[1:] if any(cell.strip() for cell in row))
    return header, [dict(zip(header, (cell.strip() for cell in row), strict=False)) for row in filled]


def open_table(path: Path, *, flat: bool = False) -> Source:
    """The entries of a CSV. With ``flat`` rows need no identity (it is "" where missing)."""
    header, rows = read_table(path)
    column = "id" if "id" in header and "identity" not in header else "identity"
    missing = [name for name in ("file", column) if name not in header]
    if "file" in missing or (missing and not flat):
        raise BadInput(
            f"{path} has the columns {', '.join(map(shown, header))} but not {' and '.join(missing)}; "
            "it needs file and identity, and may have split and group."
        )
    entries: list[Entry] = []
    refused: list[Refused] = []
    seen: set[str] = set()
    for row in rows:
        file, identity = shown(row["file"]), shown(row.get(column, ""))
        split = shown(row.get("split", ""))
        split = SPLIT_NAMES.get(split.casefold(), split)
        place = os.path.normpath(path.parent / row["file"])
        if not file:
            refused.append(Refused("(no file name)", "a row without a file", identity, split))
        elif not identity and not flat:
            refused.append(Refused(file, "a row without an identity", identity, split))
        elif place in seen:
            refused.append(Refused(file, "listed twice", identity, split))
        else:
            seen.add(place)
            entries.append(Entry(file, identity, split, shown(row.get("group", "")), partial(read_file, place)))
    if not entries:
        raise BadInput(f"{path} lists no usable image; each row needs a file and an identity.")
    name = path.resolve().parent.name if path.name == "index.csv" else path.stem
    return finish(name, entries, refused)
