"""One image of a source, and how a list of paths becomes identities and splits."""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from faceloss.data.faces import Refused
from faceloss.errors import BadInput

# Kinds that Pillow cannot open (.heic) are listed too: they shall appear among the refused, not vanish.
IMAGE_ENDINGS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".pnm")
) | {".avif", ".jp2", ".heic", ".heif"}
SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "test": "test", "test_closed": "test_closed"}
MAX_FILE = 500_000_000  # bytes


def silent(what: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""


class Entry(NamedTuple):
    """One image of a source; ``read()`` gives its bytes or raises OSError."""

    file: str
    identity: str
    split: str
    group: str
    read: Callable[[], bytes]
    place: tuple[int, int] = (0, 0)  # of several archives which, and where in it: reading in this order goes forward


class Source(NamedTuple):
    """All images of a source, sorted by file name (bytewise), and what was refused before reading."""

    name: str
    entries: tuple[Entry, ...]
    refused: tuple[Refused, ...]
    generated: bool = False  # no picture shows a real person
    contract: Callable[[], bytes] | None = None  # reads the ``contract.json`` that an archive holds


def shown(name: str) -> str:
    """A file name as valid text: bytes that are not UTF-8 appear as ``\\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS


def is_hidden(name: str) -> bool:
    """What file managers leave behind: dot files, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def read_file(path: str) -> bytes:
    # A named pipe would wait for ever, a device would never end.
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("not a regular file")
    if found.st_size > MAX_FILE:
        raise OSError("more than 500 MB")
    with open(path, "rb") as file:
        return file.read()


def arrange(
    listed: Iterable[tuple[Sequence[str], Callable[[], bytes]]], what: str, *, flat: bool = False
) -> tuple[list[Entry], list[Refused]]:
    """Entries from (path parts, reader): which folder is the identity, which the split.

    ``flat`` allows images outside any folder (their identity is ""), as lists of pairs may use them.
    """
    images = [(tuple(parts), read) for parts, read in listed]
    lead = 0
    while images and all(len(parts) - lead >= 3 for parts, _ in images):
        tops = {parts[lead].casefold() for parts, _ in images}
        if tops <= SPLIT_NAMES.keys() or len(tops) > 1:
            break
        lead += 1
    tops = {parts[lead].casefold() for parts, _ in images}
    has_splits = bool(images) and tops <= SPLIT_NAMES.keys() and all(len(parts) - lead >= 3 for parts, _ in images)
    entries, refused = [], []
    for parts, read in images:
        file, inner = "/".join(parts), parts[lead + has_splits :]
        if len(inner) < 2 and not flat:
            refused.append(Refused(file, "not in the folder of an identity"))
            continue
        identity = inner[0] if len(inner) > 1 else ""
        split = SPLIT_NAMES[parts[lead].casefold()] if has_splits else ""
        entries.append(Entry(file, identity, split, "", read))
    if images and not entries:
        raise BadInput(
            f"{what} holds {len(images)} images but no folder per identity; put the images of each person into a "
            "sub-folder of their own, or give a CSV with the columns file and identity."
        )
    return entries, refused


def finish(name: str, entries: Iterable[Entry], refused: Iterable[Refused]) -> Source:
    ordered = sorted(entries, key=lambda entry: entry.file.encode())
    return Source(shown(name), tuple(ordered), tuple(refused))
