"""Shards as WebDataset keeps them: uncompressed tar archives of samples, read in place.

The files of a sample share their name up to the first dot: ``000017.jpg`` is the image, and who is shown is either in
``000017.json`` (``identity``, else ``label``; where known ``split``, ``group`` and ``file``, the name that the image
had before), or in ``000017.cls`` (a class number or name). Class numbers are padded with zeros so that they sort as
numbers do.
"""

import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from faceloss.data.entries import MAX_FILE, Entry, Source, finish, is_hidden, is_image, shown
from faceloss.data.faces import Refused
from faceloss.data.tar import read_range
from faceloss.errors import BadInput

_PEEK = 64  # members of an archive that are looked at to tell what it is


class Sample(NamedTuple):
    """One labeled image of a shard, and where its bytes are."""

    file: str
    identity: str
    split: str
    group: str
    offset: int  # bytes
    size: int  # bytes


def expand(pattern: Path) -> list[Path]:
    """The shards named by ``FOLDER/{000..004}.tar``, all of which must exist."""
    found = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", pattern.name)
    if not found or int(found[2]) > int(found[3]) or int(found[3]) - int(found[2]) > 10**6:
        raise BadInput(f"{pattern} names no shards; a row of them is written as {{000..004}}.tar, first to last.")
    numbers = range(int(found[2]), int(found[3]) + 1)
    shards = [pattern.with_name(f"{found[1]}{number:0{len(found[2])}d}{found[4]}") for number in numbers]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise BadInput(
            f"{len(missing)} of the {len(shards)} shards of {pattern} are missing, the first is {missing[0]}."
        )
    return shards


def is_shard(path: Path) -> bool:
    """Whether an archive starts with samples; one that cannot be read is none."""
    images, labels = set(), set()
    try:
        with tarfile.open(path, "r:") as archive, open(path, "rb") as file:
            for number, member in enumerate(archive):
                key, ending = _key(member.name)
                if is_image(f"x.{ending}"):
                    images.add(key)
                elif ending == "cls" or (ending == "json" and "identity" in _label(_read(file, member), ending)):
                    labels.add(key)
                if images & labels:
                    return True
                if number >= _PEEK:
                    break
    except Exception:  # a broken archive raises nearly anything
        return False
    return False


def open_shards(shards: Sequence[Path], name: str) -> Source:
    """The labeled images of all shards; raises BadInput if one of them is cut or no archive, or none has any."""
    refused: list[Refused] = []
    entries: dict[str, Entry] = {}
    for number, path in enumerate(shards):
        for sample in samples(path, refused, prefix=f"{shown(path.stem)}/" if len(shards) > 1 else ""):
            if sample.file in entries:
                refused.append(Refused(sample.file, "listed twice", sample.identity, sample.split))
                continue
            read: Callable[[], bytes] = partial(read_range, os.fspath(path), sample.offset, sample.size)
            place = number, sample.offset
            entries[sample.file] = Entry(sample.file, sample.identity, sample.split, sample.group, read, place)
    if not entries:
        raise BadInput(f"{name} holds no labeled images; each KEY.jpg of a shard needs its KEY.cls or KEY.json.")
    padded = pad({entry.identity for entry in entries.values()})
    return finish(name, [entry._replace(identity=padded[entry.identity]) for entry in entries.values()], refused)


def pad(identities: set[str]) -> dict[str, str]:
    """What each identity is called: if all are numbers, they get zeros in front up to one width, else as they are.

    >>> sorted(pad({"2", "10"}).values())
    ['02', '10']
    """
    numbers = all(identity.isascii() and identity.isdigit() for identity in identities)
    width = max(map(len, identities), default=0) if numbers else 0
    return {identity: identity.zfill(width) if numbers else identity for identity in identities}


def samples(path: Path, refused: list[Refused], prefix: str = "") -> Iterator[Sample]:
    """The labeled images of one shard in the order of their keys; what has to be left out is added to ``refused``.

    An image whose metadata does not name its file is called ``prefix`` + key + ending.
    """
    parts: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            members, end = archive.getmembers(), archive.offset
    except Exception as error:  # a broken archive raises nearly anything
        raise BadInput(f"The shard {path} is not a readable tar archive ({error}); get it anew.") from None
    for member in members:
        key, ending = _key(shown(member.name))
        if member.isreg() and not member.issparse() and not is_hidden(key.split("/")[-1]):
            parts.setdefault(key, {}).setdefault(ending, member)
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise BadInput(f"The shard {path} has no end: it was cut; get it anew.")
        for key in sorted(parts, key=str.encode):
            images = sorted(ending for ending in parts[key] if is_image(f"x.{ending}"))
            if not images:
                continue
            image = parts[key][images[0]]
            told: dict[str, str] = {}
            for ending in ("cls", "json"):
                if ending in parts[key]:
                    told |= _label(_read(file, parts[key][ending]), ending)
            name = told.get("file") or f"{prefix}{key}.{images[0]}"
            if not told.get("identity"):
                refused.append(Refused(name, "no identity in its .json or .cls"))
            elif image.size > MAX_FILE:
                refused.append(Refused(name, "cannot be read (more than 500 MB)", told["identity"]))
            else:
                rest = told.get("split", ""), told.get("group", ""), image.offset_data, image.size
                yield Sample(name, told["identity"], *rest)


def _key(name: str) -> tuple[str, str]:
    """Key and ending of a member: ``a.b/17.seg.png`` is sample ``a.b/17`` with the ending ``seg.png``."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    key, _, ending = last.partition(".")
    return folder + slash + key, ending.lower()


def _read(file: Any, member: tarfile.TarInfo) -> bytes:
    file.seek(member.offset_data)
    data: bytes = file.read(min(member.size, 1_000_000))
    return data


def _label(data: bytes, ending: str) -> dict[str, str]:
    """What a ``.cls`` or ``.json`` tells: identity, split, group, file; nothing where it cannot be understood."""
    try:
        text = data.decode()
        told = json.loads(text) if ending == "json" else {"identity": text.strip()}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    told.setdefault("identity", told.get("label"))
    plain = {name: told.get(name) for name in ("identity", "split", "group", "file")}
    return {n: shown(str(v)) for n, v in plain.items() if isinstance(v, str | int) and not isinstance(v, bool)}
