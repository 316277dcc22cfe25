"""What two sets of faces share: names, files, pictures encoded anew, and people under another name.

A name is compared regardless of case, spaces, underscores and hyphens, a file by the hash of its bytes, a picture as in
`faceloss.data.duplicates`. Two identities of different names are one person, renamed, if they share at least
`RENAMED_PICTURES` pictures and `RENAMED_SHARE` of those of the smaller one: a single shared picture may be a mistake
of a label. Of a train and a test set, what both have leaves the one or the other, or stays and is counted.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from faceloss.data.duplicates import Copies, copies, prints_of
from faceloss.data.entries import silent
from faceloss.data.faces import Faces, PairList
from faceloss.data.people import Alike
from faceloss.progress import Callback

Choice = Literal["drop-from-train", "drop-from-test", "keep"]
KINDS = ("names", "files", "pictures", "renamed")
"""Identities of the same name; images that are the same file; images that show the same picture; renamed identities."""

RENAMED_PICTURES = 2
RENAMED_SHARE = 0.2


class Renamed(NamedTuple):
    """Two identities of different names that share pictures."""

    first: int  # label
    second: int
    pictures: int  # shared: the fewer of the images on either side


class Overlap(NamedTuple):
    """All that two sets share. Labels and rows are those of the first set, then those of the second."""

    names: tuple[tuple[int, int], ...]  # labels of identities of the same name
    copies: Copies
    renamed: tuple[Renamed, ...]


class Removed(NamedTuple):
    """What `remove_overlap` leaves, how much it took away, and why: a count by kind."""

    left: Faces
    identities: int
    images: int
    kinds: Counter[str]


def plain_name(identity: str) -> str:
    """The name under which identities are compared: ``Ann_Lee``, ``ann lee`` and ``ANN-LEE`` are one person."""
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFKC", identity).casefold()).strip()


def overlap(a: Faces, b: Faces, progress: Callback = silent) -> Overlap:
    """What ``a`` and ``b`` share. Images of nobody in particular (identity "") have no name to share."""
    known: dict[str, list[int]] = {}
    for label, identity in enumerate(b.identities):
        known.setdefault(plain_name(identity), []).append(label)
    known.pop("", None)
    names = tuple((i, j) for i, identity in enumerate(a.identities) for j in known.get(plain_name(identity), ()))
    found = copies(a, b, progress)
    return Overlap(names, found, renamed(a, b, found))


def renamed(a: Faces, b: Faces, found: Copies) -> tuple[Renamed, ...]:
    """The identities of ``a`` and ``b`` (which may be ``a``) that share many pictures under different names."""
    sides: dict[tuple[int, int], tuple[set[int], set[int]]] = {}
    for row, other in zip(found.first.tolist(), found.second.tolist(), strict=True):
        ours, theirs = sides.setdefault((int(a.labels[row]), int(b.labels[other])), (set(), set()))
        ours.add(row)
        theirs.add(other)
    ours_have, theirs_have = np.bincount(a.labels), np.bincount(b.labels)
    people = []
    for (i, j), (ours, theirs) in sorted(sides.items()):
        first, second = plain_name(a.identities[i]), plain_name(b.identities[j])
        pictures = min(len(ours), len(theirs))
        enough = max(RENAMED_PICTURES, RENAMED_SHARE * min(ours_have[i], theirs_have[j]))
        if first and second and first != second and pictures >= enough:
            people.append(Renamed(i, j, pictures))
    return tuple(people)


def remove_overlap(faces: Faces, *others: Faces, progress: Callback = silent) -> Removed:
    """``faces`` without every identity that is also in ``others``, by name or because it shares a file or picture.

    A shared image takes its whole identity with it: it shows a person whom the others have.
    """
    others = tuple(other for other in others if len(other))
    if not len(faces) or not others:
        return Removed(faces, 0, 0, Counter())
    faces = replace(faces, prints=prints_of(faces, progress))
    names, people = np.zeros(len(faces.identities), bool), np.zeros(len(faces.identities), bool)
    files, pictures = np.zeros(len(faces), bool), np.zeros(len(faces), bool)
    for other in others:
        found = overlap(faces, other, progress)
        names[[label for label, _ in found.names]] = True
        people[[pair.first for pair in found.renamed]] = True
        files[found.copies.first[found.copies.exact]] = True
        pictures[found.copies.first[~found.copies.exact]] = True
    pictures &= ~files
    counts = zip(KINDS, (int(kind.sum()) for kind in (names, files, pictures, people)), strict=True)
    gone = names[faces.labels] | files | pictures
    # Images of nobody in particular (identity "") are not one person: only the very images go.
    named = [label for label in np.unique(faces.labels[gone]).tolist() if faces.identities[label]]
    gone |= np.isin(faces.labels, named)
    if not gone.any():
        return Removed(faces, 0, 0, Counter())
    left = replace(faces.take(~gone), refused=faces.refused)
    return Removed(left, len(faces.identities) - len(left.identities), int(gone.sum()), +Counter(dict(counts)))


def without_copies(faces: Faces, other: Faces) -> Removed:
    """``faces`` without the very images that ``other`` also has; their people stay."""
    found = copies(faces, other)
    files = np.zeros(len(faces), bool)
    files[found.first[found.exact]] = True
    gone = files.copy()
    gone[found.first] = True
    left = replace(faces.take(~gone), refused=faces.refused) if gone.any() else faces
    kinds = +Counter(files=int(files.sum()), pictures=int((gone & ~files).sum()))
    return Removed(left, len(faces.identities) - len(left.identities), int(gone.sum()), kinds)


def kept(faces: Faces, removed: Removed) -> Removed:
    """As ``removed``, but with nothing taken from ``faces``: what is shared is only counted."""
    return Removed(faces, 0, 0, removed.kinds)


def without_pairs(pairs: PairList, left: Faces) -> PairList:
    """The pairs of which both images are in ``left``, a part of their faces; folds keep their numbers."""
    rows = {file: row for row, file in enumerate(left.files)}
    number = np.array([rows.get(file, -1) for file in pairs.faces.files], dtype=np.int64)
    first, second = number[pairs.first], number[pairs.second]
    stay = (first >= 0) & (second >= 0)
    used, again = np.unique(np.concatenate([first[stay], second[stay]]), return_inverse=True)
    half = int(stay.sum())
    faces = replace(left.take(used), refused=left.refused)
    return replace(
        pairs, faces=faces, first=again[:half], second=again[half:], same=pairs.same[stay], fold=pairs.fold[stay]
    )


def by_kind(kinds: Counter[str]) -> dict[str, int]:
    """A count of every kind, none left out."""
    return {kind: kinds[kind] for kind in KINDS}


def evidence(a: Faces, b: Faces, found: Overlap, people: Sequence[Alike] = ()) -> list[dict[str, Any]]:
    """One flat record for each thing shared, by kind: the two names or files, and what tells that they are one.

    ``people`` are identities that embeddings find to be one person; those of the same name are no news.
    """
    rows: list[dict[str, Any]] = [
        {"kind": "names", "first": a.identities[i], "second": b.identities[j]} for i, j in found.names
    ]
    one = found.copies
    columns = (one.first, one.second, one.exact, one.bits, one.correlation, one.mirrored)
    for i, j, exact, bits, correlation, mirrored in zip(*(column.tolist() for column in columns), strict=True):
        row = {"kind": "files" if exact else "pictures", "first": a.files[i], "second": b.files[j]}
        row |= {"first_identity": a.identities[a.labels[i]], "second_identity": b.identities[b.labels[j]]}
        facts = {"bits": bits, "correlation": round(correlation, 4)} | ({"mirrored": True} if mirrored else {})
        rows.append(row | ({} if exact else facts))
    pairs: dict[tuple[int, int], dict[str, Any]] = {}
    for two in found.renamed:
        pairs[two.first, two.second] = {"pictures": two.pictures}
    for person in people:
        names = plain_name(a.identities[person.first]), plain_name(b.identities[person.second])
        if names[0] != names[1] and "" not in names:
            facts = {"cosine": round(person.cosine, 4), "threshold": round(person.threshold, 4)}
            pairs.setdefault((person.first, person.second), {}).update(facts)
    for (i, j), facts in sorted(pairs.items()):
        rows.append({"kind": "renamed", "first": a.identities[i], "second": b.identities[j], **facts})
    return sorted(rows, key=lambda row: KINDS.index(row["kind"]))
