"""Train, validation and test sets that share no person: by name, by file and by picture.

A source that names its splits is followed; a part it does not name is drawn from its training identities. Whatever the
origin, the result is checked by `faceloss.data.overlap`: an identity that two parts share stays in the part that is
tested last (test, then val), unless another choice is made.
"""

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from faceloss.data.faces import Faces
from faceloss.data.keys import key
from faceloss.data.overlap import Choice, Removed, kept, plain_name, remove_overlap, without_copies
from faceloss.errors import BadInput


class Splits(NamedTuple):
    """Disjoint parts of one set; ``val`` or ``test`` is empty (length 0) where none was asked for.

    An identity with a single image makes no genuine pair: in ``train`` it is a class as any other, in ``val`` and
    ``test`` it serves as an impostor.
    """

    train: Faces
    val: Faces
    test: Faces
    test_closed: Faces | None  # other images of training identities, where the source has such a split
    overlap_identities: int  # identities removed because another part has them too
    overlap_images: int  # images removed with them
    overlap_kinds: Counter[str]  # what was shared, by kind, removed or not
    left_out: int  # images whose split is none of train, val, test, test_closed


def split_identities(
    faces: Faces, *, seed: int, val: float = 0.1, test: float = 0.2, overlap: Choice = "drop-from-train"
) -> Splits:
    """Parts of ``faces`` without a common identity.

    ``val`` and ``test`` are fractions of the identities, used where the source does not name that part; 0 asks for
    none. Which identities are drawn depends on the seed and their names only, so that adding an image changes nothing.
    What parts share leaves the earlier one (train, then val), with ``overlap`` "drop-from-test" the later one; with
    "keep" it stays, and is counted.
    Raises BadInput unless val and test, where asked for, hold at least 2 identities with 2 images each (fewer cannot
    make both genuine and impostor pairs), and train at least 2 identities.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise BadInput(
            f"Fractions of {val:g} for val and {test:g} for test leave nothing to train on; their sum must be below 1."
        )
    part = _named_parts(faces)
    if not part:
        part = dict.fromkeys(range(len(faces)), "train")
    given = set(part.values())
    wanted = {name: fraction for name, fraction in (("test", test), ("val", val)) if fraction and name not in given}
    drawn = _draw(faces, part, wanted, seed)
    for row, name in list(part.items()):
        moved = drawn.get(plain_name(faces.identities[faces.labels[row]]))
        if moved and name == "train":
            part[row] = moved
        elif moved and name == "test_closed":
            del part[row]  # its identity is no longer trained on
    parts = {name: _part(faces, part, name) for name in ("train", "val", "test", "test_closed")}
    assigned = {refused for some in parts.values() for refused in some.refused}
    rest = tuple(refused for refused in faces.refused if refused not in assigned)
    whole = replace(parts["train"], refused=parts["train"].refused + rest)
    train, val_part, test_part, cuts = _apart(whole, parts["val"], parts["test"], overlap)
    closed = parts["test_closed"] if "test_closed" in given else None
    if closed is not None:
        people = {plain_name(identity) for identity in train.identities}
        trained = np.array([plain_name(identity) in people for identity in closed.identities], dtype=bool)
        closed = replace(closed.take(trained[closed.labels]), refused=closed.refused)
        if overlap == "drop-from-test":
            cuts.append(without_copies(closed, train))
            closed = cuts[-1].left
        else:  # of the same people, so only the very images leave train
            cut = without_copies(train, closed)
            cuts.append(kept(train, cut) if overlap == "keep" else cut)
            train = cuts[-1].left
    for name, held, asked in (("val", val_part, val > 0), ("test", test_part, test > 0)):
        if (asked or name in given) and _with_two(held) < 2:
            raise BadInput(_too_few(faces, name, held))
    if len(train.identities) < 2:
        raise BadInput(_too_few(faces, "train", train))
    identities, images = sum(cut.identities for cut in cuts), sum(cut.images for cut in cuts)
    kinds = sum((cut.kinds for cut in cuts), Counter[str]())
    return Splits(train, val_part, test_part, closed, identities, images, kinds, len(faces) - len(part))


def _apart(train: Faces, val: Faces, test: Faces, overlap: Choice) -> tuple[Faces, Faces, Faces, list[Removed]]:
    """The three parts without what they share, and what was taken or, with "keep", only counted."""
    if overlap == "drop-from-test":
        cut_val = remove_overlap(val, train)
        cut = remove_overlap(test, train, cut_val.left)
        return train, cut_val.left, cut.left, [cut_val, cut]
    cut_val = remove_overlap(val, test)
    if overlap == "keep":
        return train, val, test, [kept(val, cut_val), kept(train, remove_overlap(train, test, val))]
    cut = remove_overlap(train, test, cut_val.left)
    return cut.left, cut_val.left, test, [cut_val, cut]


def _named_parts(faces: Faces) -> dict[int, str]:
    """Part by row, for the rows whose split is one of ours; empty if the source names none."""
    known = ("train", "val", "test", "test_closed")
    named = {row: split for row, split in enumerate(faces.splits) if split in known}
    given = sorted(set(faces.splits) - {""})
    if given and "train" not in given:
        raise BadInput(
            f"{faces.name} names the splits {', '.join(given)} but no train; "
            "give training images the split train, or leave the column out."
        )
    return named


def _draw(faces: Faces, part: dict[int, str], wanted: dict[str, float], seed: int) -> dict[str, str]:
    """Which identities (by plain name) leave train for which wanted part.

    Identities with several images and those with one are drawn separately, so that a set of many single images still
    gets its genuine pairs, whatever the seed.
    """
    counts: dict[str, int] = {}
    for row, name in part.items():
        if name == "train":
            person = plain_name(faces.identities[faces.labels[row]])
            counts[person] = counts.get(person, 0) + 1
    drawn: dict[str, str] = {}
    for several in (True, False):
        people = sorted((p for p, n in counts.items() if (n > 1) == several), key=lambda p: key(seed, "split", p))
        start = 0
        for name, fraction in wanted.items():
            amount = max(2 * several, round(fraction * len(people)))
            drawn.update(dict.fromkeys(people[start : start + amount], name))
            start += amount
    return drawn


def _part(faces: Faces, part: dict[int, str], name: str) -> Faces:
    rows = [row for row in range(len(faces)) if part.get(row) == name]
    chosen = faces.take(rows)
    drawn = set(chosen.identities)
    refused = tuple(r for r in faces.refused if (r.split == name if r.split else r.identity in drawn))
    return replace(chosen, name=f"{faces.name} {name}", refused=refused)


def _with_two(faces: Faces) -> int:
    return int((np.bincount(faces.labels) >= 2).sum()) if len(faces) else 0


def _too_few(faces: Faces, name: str, part: Faces) -> str:
    return (
        f"{faces.name} has {len(faces)} images of {len(faces.identities)} identities, {_with_two(faces)} of them with "
        f"at least 2 images; that leaves {len(part.identities)} identities ({_with_two(part)} with 2 images) for "
        f"{name} once no two parts share a person, where train needs 2 identities, and val and test 2 with 2 images "
        "each; add images, or give test data of its own."
    )
