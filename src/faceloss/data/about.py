"""What a set of faces says about itself beside its images: two files in the root of its folder or archive.

    identities.csv   a row per identity, column ``identity`` (or ``id``). Column ``group`` is the group of its images;
                     where there is none, the largest of the shares of origin ``african``, ``asian``, ``caucasian``.
                     So a mixed head counts to its largest share, a tie to the first of the three names.
    README           (.txt, .md) with a line ``generated: true``: no picture shows a real person, so any may be shown.
                     It says nothing of images that an index.csv names outside of its folder.

A group that the images themselves carry (a column of index.csv, the JSON of a sample) goes before that of their
identity. An empty ``group`` says that it is unknown. Other columns and an identities.csv without these are left alone.
"""

import math
import os
import re
from collections.abc import Callable

from faceloss.data.entries import Source, shown
from faceloss.data.table import parse_table
from faceloss.errors import BadInput

TABLE = "identities.csv"
READMES = ("readme", "readme.txt", "readme.md")
ORIGINS = ("african", "asian", "caucasian")
MARK = "generated: true"
_GENERATED = re.compile(r"^\s*generated\s*:\s*true\s*$", re.IGNORECASE | re.MULTILINE)


def belongs(name: str) -> bool:
    """Whether a file in the root is one of the two."""
    return name == TABLE or name.casefold() in READMES


def told(source: Source, files: dict[str, Callable[[], bytes]], where: str) -> Source:
    """``source`` with what the ``files`` of its root (name to reader) tell: groups, and whether generated.

    Raises:
        BadInput: an identities.csv with groups that lacks an identity of the set, names one twice with two groups, or
            cannot be read.
    """
    try:
        texts = {name: read() for name, read in files.items() if belongs(name)}
    except OSError as error:
        raise BadInput(f"{where}: {TABLE} or README cannot be read ({error.strerror or error}).") from None
    readmes = (text.decode("utf-8", "replace") for name, text in sorted(texts.items()) if name != TABLE)
    marked = any(_GENERATED.search(text) for text in readmes)
    generated = source.generated or (marked and not any(_outside(entry.file) for entry in source.entries))
    groups = _groups(texts[TABLE], f"{where}/{TABLE}") if TABLE in texts else {}
    if not groups:
        return source._replace(generated=generated)
    silent = sorted({e.identity for e in source.entries if e.identity and not e.group} - groups.keys())
    if silent:
        raise BadInput(
            f"{where}/{TABLE} says nothing of {len(silent)} identities of the set, the first is {silent[0]}; "
            "add a row for each, with an empty group where it is not known."
        )
    entries = tuple(entry._replace(group=entry.group or groups.get(entry.identity, "")) for entry in source.entries)
    return source._replace(entries=entries, generated=generated)


def _outside(file: str) -> bool:
    return os.path.isabs(file) or os.path.normpath(file).startswith("..")


def _groups(data: bytes, where: str) -> dict[str, str]:
    """Group by identity; nothing where the table has no column that tells it."""
    header, rows = parse_table(data, where)
    if "group" not in header and not set(ORIGINS) <= set(header):
        return {}
    key = "id" if "id" in header and "identity" not in header else "identity"
    if key not in header:
        raise BadInput(f"{where} has groups but no column identity; add one, so that it is known whose they are.")
    found: dict[str, str] = {}
    for row in rows:
        identity = shown(row[key])
        group = shown(row["group"]) if "group" in header else _largest(row, where, identity)
        if found.setdefault(identity, group) != group:
            raise BadInput(f"{where} gives {identity} two groups, {found[identity]} and {group}; leave one row.")
    return found


def _largest(row: dict[str, str], where: str, identity: str) -> str:
    if not any(row[name] for name in ORIGINS):
        return ""
    try:
        shares = [float(row[name]) for name in ORIGINS]
    except ValueError:
        shares = [math.nan]
    if not all(0 <= share < math.inf for share in shares) or not any(shares):
        given = ", ".join(f"{name} {row[name] or '(nothing)'}" for name in ORIGINS)
        raise BadInput(f"{where}: the shares of {identity} are {given}; give three numbers of 0 or more, not all 0.")
    return ORIGINS[shares.index(max(shares))]
