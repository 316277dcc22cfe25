"""Train, validation and test sets that share no person: by name and by exact file.

A source that names its splits is followed; a part it does not name is drawn from its training identities. Whatever the
origin, the result is checked: a name is compared regardless of case, spaces, underscores and hyphens, a file by the
hash of its bytes, and an identity that two parts share stays in the part that is tested last (test, then val).
"""

import re
import unicodedata
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from faceloss.data.faces import Faces
from faceloss.data.keys import key
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
    left_out: int  # images whose split is none of train, val, test, test_closed


class Removed(NamedTuple):
    """What `remove_overlap` leaves, and how much it took away."""

    train: Faces
    identities: int
    images: int


def plain_name(identity: str) -> str:
    """The name under which identities are compared: ``Ann_Lee``, ``ann lee`` and ``ANN-LEE`` are one person."""
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFKC", identity).casefold()).strip()


def remove_overlap(train: Faces, *others: Faces) -> Removed:
    """``train`` without every identity that is also in ``others``, by name or because it shares an exact file."""
    names = {plain_name(identity) for other in others for identity in other.identities} - {""}
    hashes = {sha for other in others for sha in other.hashes}
    shared = np.isin(train.labels, [i for i, name in enumerate(train.identities) if plain_name(name) in names])
    same_file = np.array([sha in hashes for sha in train.hashes], dtype=bool)
    gone = shared | same_file
    # Images of nobody in particular (identity "") are not one person: only the very files go.
    named = [label for label in np.unique(train.labels[gone]).tolist() if train.identities[label]]
    gone |= np.isin(train.labels, named)
    if not gone.any():
        return Removed(train, 0, 0)
    left = replace(train.take(~gone), refused=train.refused)
    return Removed(left, len(train.identities) - len(left.identities), int(gone.sum()))


def split_identities(faces: Faces, *, seed: int, val: float = 0.1, test: float = 0.2) -> Splits:
    """Parts of ``faces`` without a common identity.

    ``val`` and ``test`` are fractions of the identities, used where the source does not name that part; 0 asks for
    none. Which identities are drawn depends on the seed and their names only, so that adding an image changes nothing.
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
    cut_val = remove_overlap(parts["val"], parts["test"])
    cut = remove_overlap(whole, parts["test"], cut_val.train)
    train, images = cut.train, cut_val.images + cut.images
    closed = parts["test_closed"] if "test_closed" in given else None
    if closed is not None:
        people = {plain_name(identity) for identity in train.identities}
        trained = np.array([plain_name(identity) in people for identity in closed.identities], dtype=bool)
        closed = replace(closed.take(trained[closed.labels]), refused=closed.refused)
        tested = set(closed.hashes)  # of the same people, so only the very files leave train
        new = np.array([sha not in tested for sha in train.hashes], dtype=bool)
        images += int((~new).sum())
        train = replace(train.take(new), refused=train.refused)
    for name, held, asked in (("val", cut_val.train, val > 0), ("test", parts["test"], test > 0)):
        if (asked or name in given) and _with_two(held) < 2:
            raise BadInput(_too_few(faces, name, held))
    if len(train.identities) < 2:
        raise BadInput(_too_few(faces, "train", train))
    identities = cut_val.identities + cut.identities
    return Splits(train, cut_val.train, parts["test"], closed, identities, images, len(faces) - len(part))


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
