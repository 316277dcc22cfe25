"""What is likely wrong in a set of faces, each with its evidence; nothing is changed but in a new list.

duplicate       a copy of a picture of the same person               drop
two names       one picture under the names of two people            drop (with embeddings, all but the likeliest)
renamed         two identities that are one person                   merge into the larger one
wrong picture   a picture that is no nearer to its identity than     drop
                to strangers (only with embeddings)
"""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faceloss.data.contract import NAME, decisive, read_contract
from faceloss.data.duplicates import Copies, copies
from faceloss.data.entries import silent
from faceloss.data.faces import Faces
from faceloss.data.overlap import renamed
from faceloss.data.people import Ints, alike, means, unit, wrong_pictures
from faceloss.errors import BadInput
from faceloss.files import write_atomically
from faceloss.progress import Callback

ENDINGS = (".csv", ".jsonl")


class Proposal(NamedTuple):
    """One thing to do and why. Of a file, or where ``file`` is "" of a whole identity."""

    kind: str  # "duplicate", "two names", "renamed", "wrong picture"
    action: str  # "drop" or "merge"
    file: str
    identity: str
    other_file: str = ""  # the copy that stays
    other_identity: str = ""  # the identity to merge into, or the one that the picture looks like
    exact: bool | None = None  # the same bytes
    bits: int | None = None  # of 64, that differ between the perceptual hashes
    correlation: float | None = None  # of the two pictures
    mirrored: bool | None = None  # one is the mirror image of the other
    pictures: int | None = None  # that the two identities share
    cosine: float | None = None  # of the embedding with its identity's mean, or of the means of two identities
    other_cosine: float | None = None  # with the mean of ``other_identity``
    threshold: float | None = None  # of the cosine


def propose(
    faces: Faces, embeddings: npt.NDArray[np.floating] | None = None, progress: Callback = silent
) -> list[Proposal]:
    """What should be done about ``faces``: merges first, then pictures to drop in the order of the set.

    ``embeddings`` [N,D] are those of the faces by any network; without them, people are told by shared pictures only.
    """
    e = None if embeddings is None else unit(embeddings)
    found = copies(faces, progress=progress)
    merges: list[Proposal] = []
    into = list(range(len(faces.identities)))
    images = np.bincount(faces.labels)

    def merge(first: int, second: int, **evidence: float) -> None:
        first, second = _root(into, first), _root(into, second)
        if first == second:
            return
        small, large = sorted((first, second), key=lambda label: (images[label], -label))
        into[small] = large
        images[large] += images[small]
        names = faces.identities[small], faces.identities[large]
        merges.append(Proposal("renamed", "merge", "", names[0], "", names[1], **evidence))  # type: ignore[arg-type]

    for pair in renamed(faces, faces, found):
        merge(pair.first, pair.second, pictures=pair.pictures)
    if e is not None:
        for one in alike(e, np.asarray(faces.labels)):
            merge(one.first, one.second, cosine=one.cosine, threshold=one.threshold)
    roots = np.array([_root(into, label) for label in range(len(into))], dtype=np.int64)
    people = np.unique(roots[faces.labels], return_inverse=True)[1].astype(np.int64)  # [N] after the merges
    drops = _copies(faces, people, e, found)
    if e is not None:
        rest = np.array([row not in drops for row in range(len(faces))], dtype=bool)
        rows = np.flatnonzero(rest)
        kept, again = np.unique(people[rest], return_inverse=True)
        names = {int(people[row]): faces.identities[roots[faces.labels[row]]] for row in range(len(faces))}
        for wrong in wrong_pictures(e[rest], again.astype(np.int64)):
            row = int(rows[wrong.row])
            drops[row] = Proposal(
                "wrong picture", "drop", faces.files[row], faces.identities[faces.labels[row]],
                other_identity=names[int(kept[wrong.nearest])], cosine=wrong.cosine,
                other_cosine=wrong.nearest_cosine, threshold=wrong.threshold,
            )  # fmt: skip
    return merges + [drops[row] for row in sorted(drops)]


def _root(into: list[int], label: int) -> int:
    while into[label] != label:
        label = into[label]
    return label


def _copies(faces: Faces, people: Ints, e: npt.NDArray[np.float64] | None, found: Copies) -> dict[int, Proposal]:
    """Of each group of copies all but one image, by row; of a group under several names, see the module."""
    into = list(range(len(faces)))
    evidence: dict[int, tuple[int, bool, int, float, bool]] = {}
    columns = (found.first, found.second, found.exact, found.bits, found.correlation, found.mirrored)
    for i, j, *facts in zip(*(column.tolist() for column in columns), strict=True):
        evidence.setdefault(i, (j, *facts))
        evidence.setdefault(j, (i, *facts))
        low, high = sorted((_root(into, i), _root(into, j)))
        into[high] = low
    groups: dict[int, list[int]] = {}
    for row in sorted(evidence):
        groups.setdefault(_root(into, row), []).append(row)
    centers = means(e, people) if e is not None and groups else None
    drops = {}
    for group in groups.values():
        several = len({int(people[row]) for row in group}) > 1
        keep: int | None = group[0]
        if several:
            keep = None
            if e is not None and centers is not None:
                keep = max(group, key=lambda row: (float(e[row] @ centers[people[row]]), -row))
        for row in group:
            if row == keep:
                continue
            other, *facts = evidence[row]
            drops[row] = Proposal(
                "two names" if several and (keep is None or people[row] != people[keep]) else "duplicate",
                "drop", faces.files[row], faces.identities[faces.labels[row]], faces.files[other],
                faces.identities[faces.labels[other]], *facts,
            )  # fmt: skip
    return drops


def counts(proposals: Sequence[Proposal]) -> dict[str, int]:
    """How many proposals of each kind; exact and other duplicates apart."""
    kinds = Counter(f"exact {p.kind}" if p.kind == "duplicate" and p.exact else p.kind for p in proposals)
    return dict(sorted(kinds.items()))


def write_proposals(proposals: Sequence[Proposal], out: Path) -> None:
    """The proposals with their evidence as a ``.csv`` or ``.jsonl``; raises BadInput for any other ending."""
    if out.suffix.lower() not in ENDINGS:
        raise BadInput(f"{out}: the proposals are written as .csv or .jsonl.")
    if out.suffix.lower() == ".jsonl":
        lines = [json.dumps({k: v for k, v in p._asdict().items() if v not in (None, "")}) + "\n" for p in proposals]
        write_atomically(out, "".join(lines).encode())
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Proposal._fields)
    writer.writerows([_cell(value) for value in proposal] for proposal in proposals)
    write_atomically(out, text.getvalue().encode())


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def apply(faces: Faces, data: Path, proposals: Sequence[Proposal], out: Path) -> tuple[int, int]:
    """Write the list that is left as ``out``, a CSV with file, identity, split and group: (images, identities).

    Its files are named from the folder of ``out``; ``data`` is the folder or ``.csv`` that ``faces`` came from, and is
    not written to. Where they have a preprocessing contract, it is written beside ``out``.

    Raises:
        BadInput: ``data`` is an archive, ``out`` exists, is no ``.csv``, lies in ``data`` or beside the
            contract of other faces, or a file cannot be named.
    """
    if out.suffix.lower() != ".csv":
        raise BadInput(f"{out}: the cleaned list is a .csv.")
    if not (data.is_dir() or data.suffix.lower() == ".csv"):
        raise BadInput(f"A list cannot name files within {data}; unpack it and give the folder.")
    root = data if data.is_dir() else data.parent
    if out.exists():
        raise BadInput(f"{out} exists; give the cleaned list a name of its own.")
    beside = read_contract(out.parent)
    if beside is not None and decisive(beside) != decisive(faces.contract):
        raise BadInput(f"{out.parent / NAME} is of other faces; give the cleaned list another folder.")
    if data.is_dir() and data.resolve() in out.resolve().parents:
        raise BadInput(f"{out} lies in {data}, which is not written to; give another folder.")
    dropped = {p.file for p in proposals if p.action == "drop"}
    merged = {p.identity: p.other_identity for p in proposals if p.action == "merge"}
    text, people = io.StringIO(newline=""), set()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "identity", "split", "group"))
    for row, file in enumerate(faces.files):
        if file in dropped:
            continue
        if not (root / file).is_file():
            raise BadInput(f"{root / file} cannot be named in a list; rename it and start again.")
        identity = faces.identities[faces.labels[row]]
        while identity in merged:
            identity = merged[identity]
        people.add(identity)
        name = os.path.relpath((root / file).resolve(), out.resolve().parent)
        writer.writerow((name, identity, faces.splits[row], faces.groups[row]))
    if faces.contract is not None and not (out.parent / NAME).exists():
        write_atomically(out.parent / NAME, (json.dumps(faces.contract, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(out, text.getvalue().encode())
    return len(faces) - len(dropped), len(people)
