"""Lists of pairs with answers: who is compared with whom, in which fold.

    .bin        InsightFace: encoded images and answers in one file, identities unknown (all "")
    pairs.txt   LFW: ``folds n``, then per fold n lines ``name i j`` (same) and n lines ``name i name j`` (different);
                RFW: such lines alone, in any order
    .csv        columns a, b, same and where known fold; a and b name images

Where a file says nothing about folds, they are 10 consecutive blocks, as is usual in the field. A pair is left out,
with a reason, if one of its images is missing or cannot be used; a list that loses more than half is refused.

Several lists may be one, each the pairs of a group: `faceloss.data.pair_groups`.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from faceloss.data.bin import read_bin
from faceloss.data.cache import read_faces
from faceloss.data.contract import Contract, contract_of, must_agree, read_contract
from faceloss.data.entries import Entry, Source, finish, shown, silent
from faceloss.data.faces import Faces, PairList, Refused
from faceloss.data.load import load_faces
from faceloss.data.pair_groups import group_lists, short
from faceloss.data.sources import open_source
from faceloss.data.table import read_table
from faceloss.errors import BadInput
from faceloss.progress import Callback

FOLDS = 10


class _Pair(NamedTuple):
    first: str
    second: str
    same: bool
    fold: int
    group: str = ""


class _List(NamedTuple):
    """Pairs as a file lists them, not yet looked at; ``known`` says which image a name means."""

    path: Path
    pairs: list[_Pair]
    source: Source  # only the images that a pair uses
    known: dict[str, str]
    contract: Contract | None


def load_pairs(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    size: int,
    cache: Path | None = None,
    progress: Callback | None = None,
) -> PairList:
    """A list of M pairs over the images it uses.

    ``images`` is where the images of a ``.txt`` or ``.csv`` list are (anything `load_faces` reads, also a flat folder);
    by default the folder of the list. Images are found by path, path without ending, ``name/name_0001`` or
    ``name_0001``, in this order.

    ``path`` may name several lists, ``rfw/{African,Asian}_test.bin``: then every image is of the group whose list has
    it, and the images of a group are looked for in the sub-folder of ``images`` that is named as it, if there is one.
    """
    lists = group_lists(path)
    if not lists:
        return _resolve(_open(Path(path), images), size, cache, progress)
    parts = {name: _open(file, _of_group(images, name)) for name, file in lists.items()}
    return _resolve(_joined(Path(path), parts), size, cache, progress)


def _of_group(images: str | os.PathLike[str] | None, name: str) -> str | os.PathLike[str] | None:
    return Path(images) / name if images is not None and (Path(images) / name).is_dir() else images


def _open(place: Path, images: str | os.PathLike[str] | None) -> _List:
    """One list; refused if the images of more than half of its pairs are missing."""
    if not place.is_file():
        raise BadInput(f"There is no pair file {place}; give a .bin, an LFW pairs.txt or a .csv with a, b and same.")
    if place.suffix.lower() == ".bin":
        source, pairs = _open_bin(place)
        itself = {entry.file: entry.file for entry in source.entries}
        return _List(place, pairs, source, itself, read_contract(place.parent))
    pairs = _read_csv(place) if place.suffix.lower() == ".csv" else _read_lfw(place)
    where = images if images is not None else place.parent
    whole = open_source(where, flat=True)
    known = _names(whole.entries)
    absent = [pair for pair in pairs if not _has(pair, known)]
    if not whole.entries or len(absent) > len(pairs) / 2:
        example = _left_out(absent[0], "").file if absent else "none"
        raise BadInput(
            f"{place} lists {len(pairs)} pairs, but the images of {len(absent)} are missing (e.g. {example}); "
            "say where the images are (name/name_0001.jpg)."
        )
    used = {known[name] for pair in pairs for name in (pair.first, pair.second) if name in known}
    name = shown(f"{place.resolve().parent.name} {place.stem}")
    entries = tuple(entry for entry in whole.entries if entry.file in used)
    return _List(place, pairs, Source(name, entries, ()), known, contract_of(where, whole))


def _joined(path: Path, lists: dict[str, _List]) -> _List:
    """All lists as one, in which every name and file starts with that of the group."""
    pairs: list[_Pair] = []
    entries: list[Entry] = []
    known: dict[str, str] = {}
    first = next(iter(lists.values()))
    for name, part in lists.items():
        must_agree(str(part.path), part.contract, str(first.path), first.contract, "Prepare all lists alike.")
        group = shown(name)
        entries += [entry._replace(file=f"{group}/{entry.file}", group=group) for entry in part.source.entries]
        known |= {f"{group}/{image}": f"{group}/{file}" for image, file in part.known.items()}
        pairs += [
            _Pair(f"{group}/{pair.first}", f"{group}/{pair.second}", pair.same, pair.fold, group) for pair in part.pairs
        ]
    contracts = [part.contract for part in lists.values()]
    contract = None if None in contracts else first.contract
    place = short(path)
    return _List(place, pairs, finish(f"{place.resolve().parent.name} {place.stem}", entries, ()), known, contract)


def load_test(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    size: int,
    cache: Path | None = None,
    progress: Callback | None = None,
) -> Faces | PairList:
    """Test data of either kind: pairs for ``.bin``, ``.txt`` and a ``.csv`` with columns a, b and same, and for several
    of them (`load_pairs`), else faces."""
    place = Path(path)
    if group_lists(path):
        return load_pairs(path, images=images, size=size, cache=cache, progress=progress)
    ending = place.suffix.lower() if place.is_file() else ""
    if ending in (".bin", ".txt") or (ending == ".csv" and {"a", "b", "same"} <= set(read_table(place)[0])):
        return load_pairs(place, images=images, size=size, cache=cache, progress=progress)
    return load_faces(path, size=size, cache=cache, progress=progress)


def consecutive_folds(pairs: int, folds: int = FOLDS) -> list[int]:
    """The fold of each pair: equal consecutive blocks, the first ones longer by one where it does not come out even."""
    blocks = np.array_split(np.arange(pairs), folds)
    return np.repeat(np.arange(folds), [len(block) for block in blocks]).tolist()


def _open_bin(path: Path) -> tuple[Source, list[_Pair]]:
    encoded, same = read_bin(path)
    # Popular images occur in many pairs; each different file is decoded, kept and later embedded once.
    number: dict[bytes, int] = {}
    names = [f"{number.setdefault(data, len(number)):08d}" for data in encoded]

    def entry(name: str, data: bytes) -> Entry:
        return Entry(name, "", "", "", lambda: data)

    entries = [entry(f"{i:08d}", data) for data, i in number.items()]
    folds = consecutive_folds(len(same))
    pairs = [_Pair(names[2 * i], names[2 * i + 1], same[i], folds[i]) for i in range(len(same))]
    return finish(path.stem, entries, ()), pairs


def _read_lfw(path: Path) -> list[_Pair]:
    expected = (
        "the first line says how many folds there are and how many pairs of each kind in a fold, e.g. 10 300, "
        "or is a pair as all others"
    )
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    head = lines[0][1].split() if lines else []
    if len(head) in (3, 4):
        return [_pair(path, *line, fold) for line, fold in zip(lines, consecutive_folds(len(lines)), strict=True)]
    if len(head) not in (1, 2) or not all(_is_number(field) and int(field) for field in head):
        raise BadInput(f"{path} is no list of pairs: {expected}.")
    folds, each = (1, int(head[0])) if len(head) == 1 else (int(head[0]), int(head[1]))
    if len(lines) - 1 != 2 * folds * each:
        raise BadInput(f"{path} announces {folds} x 2 x {each} pairs but holds {len(lines) - 1}; {expected}.")
    return [_pair(path, *line, row // (2 * each)) for row, line in enumerate(lines[1:])]


def _pair(path: Path, number: int, line: str, fold: int) -> _Pair:
    fields = [field.strip() for field in line.split("\t")] if "\t" in line else line.split()
    if len(fields) not in (3, 4) or not (_is_number(fields[1]) and _is_number(fields[-1])):
        raise BadInput(
            f"{path}, line {number}: expected 'name i j' or 'name i name j', found '{shown(line.strip()[:60])}'."
        )
    first, second = shown(fields[0]), shown(fields[0] if len(fields) == 3 else fields[2])
    images = (f"{first}/{first}_{int(fields[1]):04d}", f"{second}/{second}_{int(fields[-1]):04d}")
    return _Pair(*images, len(fields) == 3, fold)


def _read_csv(path: Path) -> list[_Pair]:
    header, rows = read_table(path)
    missing = [name for name in ("a", "b", "same") if name not in header]
    if missing or not rows:
        raise BadInput(
            f"{path} has {len(rows)} rows with the columns {', '.join(map(shown, header))}; a list of pairs needs rows "
            "with a, b and same (1 or 0), and may have fold."
        )
    answers = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    pairs = []
    for number, (row, block) in enumerate(zip(rows, consecutive_folds(len(rows)), strict=True), start=2):
        fold = row["fold"] if "fold" in header else str(block)
        if row["same"].casefold() not in answers or not _is_number(fold):
            raise BadInput(f"{path}, row {number}: same must be 1 or 0 and fold a whole number from 0.")
        pairs.append(_Pair(shown(row["a"]), shown(row["b"]), answers[row["same"].casefold()], int(fold)))
    return pairs


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9


def _names(entries: Sequence[Entry]) -> dict[str, str]:
    """Every name under which an image may be asked for -> its file; names that fit several images are left out."""
    known: dict[str, str] = {}
    ways = (
        lambda path: str(path),
        lambda path: str(path.with_suffix("")),
        lambda path: "/".join(path.with_suffix("").parts[-2:]),
        lambda path: path.stem,
    )
    for way in ways:
        found: dict[str, list[str]] = {}
        for entry in entries:
            found.setdefault(way(PurePosixPath(entry.file)), []).append(entry.file)
        known = {name: files[0] for name, files in found.items() if len(files) == 1} | known
    return known


def _resolve(given: _List, size: int, cache: Path | None, progress: Callback | None) -> PairList:
    path, pairs, known = given.path, given.pairs, given.known
    faces = replace(read_faces(given.source, size, cache, progress or silent), contract=given.contract)
    row = {file: number for number, file in enumerate(faces.files)}
    absent = [pair for pair in pairs if not _has(pair, known)]
    whole = [pair for pair in pairs if _has(pair, known)]
    usable = [pair for pair in whole if known[pair.first] in row and known[pair.second] in row]
    unusable = [pair for pair in whole if not (known[pair.first] in row and known[pair.second] in row)]
    lost, listed = (Counter(pair.group for pair in some) for some in (absent + unusable, pairs))
    for group, count in lost.items():
        if count > listed[group] / 2:
            of = f" of {group}" if group else ""
            raise BadInput(
                f"{path} lists {listed[group]} pairs{of}, but {count} cannot be compared because an image is missing "
                f"or refused (e.g. {faces.refused[0].file}: {faces.refused[0].reason})."
            )
    left_out = [_left_out(pair, "an image of the pair is missing") for pair in absent]
    left_out += [_left_out(pair, "an image of the pair cannot be used") for pair in unusable]
    first = np.array([row[known[pair.first]] for pair in usable], dtype=np.int64)
    second = np.array([row[known[pair.second]] for pair in usable], dtype=np.int64)
    return PairList(
        faces=faces,
        first=first,
        second=second,
        same=np.array([pair.same for pair in usable], dtype=np.bool_),
        fold=np.array([pair.fold for pair in usable], dtype=np.int64),
        left_out=tuple(left_out),
    )


def _has(pair: _Pair, known: dict[str, str]) -> bool:
    return pair.first in known and pair.second in known


def _left_out(pair: _Pair, reason: str) -> Refused:
    return Refused(f"{pair.first} and {pair.second}", reason)
