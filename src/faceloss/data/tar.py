"""Images inside an uncompressed tar archive, read in place at their offset; nothing is extracted.

Names inside the archive are only names: ``../../etc/passwd`` is a funny identity, never a path that is opened.
"""

import os
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from faceloss.data.about import belongs, told
from faceloss.data.entries import MAX_FILE, Source, arrange, finish, is_hidden, is_image, shown
from faceloss.data.faces import Refused
from faceloss.errors import BadInput


def open_tar(path: Path, *, flat: bool = False) -> Source:
    """The entries of ``ARCHIVE.tar``, laid out as a folder would be."""
    try:
        with tarfile.open(path, mode="r:") as archive:
            members = archive.getmembers()
    except Exception as error:  # a broken archive raises nearly anything
        raise BadInput(f"{path} is not a readable tar archive ({error}); an archive must be uncompressed.") from None
    listed: dict[tuple[str, ...], Callable[[], bytes]] = {}
    refused: list[Refused] = []
    texts: dict[str, Callable[[], bytes]] = {}
    contracts: dict[int, list[Callable[[], bytes]]] = {}  # by depth
    for member in members:
        if member.isreg() and belongs(name := member.name.removeprefix("./")) and member.size <= MAX_FILE:
            texts[name] = partial(read_range, os.fspath(path), member.offset_data, member.size)
        parts = tuple(part for part in shown(member.name).split("/") if part not in ("", "."))
        if parts[-1:] == ("contract.json",) and len(parts) <= 2 and member.isreg() and member.size < 1_000_000:
            reader = partial(read_range, os.fspath(path), member.offset_data, member.size)
            contracts.setdefault(len(parts), []).append(reader)
        if member.isdir() or not parts or not is_image(parts[-1]) or any(is_hidden(p) and p != ".." for p in parts):
            continue
        file = "/".join(parts)
        if not member.isreg() or member.issparse():
            refused.append(Refused(file, "a link or special file inside an archive"))
        elif member.size > MAX_FILE:
            refused.append(Refused(file, "cannot be read (more than 500 MB)"))
        elif parts in listed:
            refused.append(Refused(file, "listed twice"))
        else:
            listed[parts] = partial(read_range, os.fspath(path), member.offset_data, member.size)
    if not listed:
        raise BadInput(f"{path} holds no images; an archive of faces has one folder of images per identity.")
    pairs: list[tuple[Sequence[str], Callable[[], bytes]]] = list(listed.items())
    entries, misplaced = arrange(pairs, str(path), flat=flat)
    top = contracts[min(contracts)] if contracts else []
    source = told(finish(path.stem, entries, refused + misplaced), texts, str(path))
    return source._replace(contract=top[0] if len(top) == 1 else None)


def read_range(path: str, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise OSError("archive ends early")
    return data
