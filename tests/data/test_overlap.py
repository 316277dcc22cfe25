"""What two sets share is found by kind, and leaves the one or the other, or stays."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from faceloss.data.faces import Faces, PairList
from faceloss.data.load import load_faces
from faceloss.data.overlap import overlap, remove_overlap, without_copies, without_pairs
from faceloss.data.splits import split_identities


@pytest.fixture(scope="module")
def builtin() -> Faces:
    return load_faces("builtin", size=64)


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


Planted = tuple[Faces, Faces]


@pytest.fixture(scope="module")
def planted(builtin: Faces) -> Planted:
    """Train: 100 identities x 24; test: 40 others x 24, with 20 exact and 20 encoded anew of 8 of them, 5 renamed."""
    people = np.asarray(builtin.labels)
    train = builtin.take(people < 100)
    rng = np.random.default_rng(0)
    exact = np.concatenate(
        [rng.choice(np.flatnonzero(train.labels == person), 5, replace=False) for person in range(4)]
    )
    again = np.concatenate([rng.choice(np.flatnonzero(train.labels == p), 5, replace=False) for p in range(4, 8)])
    others = np.flatnonzero((people >= 100) & (people < 140))
    renamed = np.flatnonzero((people >= 10) & (people < 15))  # as files of other bytes
    rows = np.concatenate([others, exact, again, renamed])
    pixels = np.asarray(builtin.pixels)[rows].copy()
    new = np.arange(len(rows)) >= len(others) + 20
    pixels[new] = np.stack([jpeg(image) for image in pixels[new]])
    # Single copies hide one by one among the other people; renamed ones are people of their own.
    names = [f"guest {builtin.labels[row]}" for row in others] + [f"guest {100 + k}" for k in range(40)]
    names += [f"alias {builtin.labels[row]}" for row in renamed]
    identities = tuple(sorted(set(names)))
    test = replace(
        builtin,
        name="test",
        pixels=pixels,
        labels=np.array([identities.index(name) for name in names]),
        identities=identities,
        files=tuple(f"{k:05d}.jpg" for k in range(len(rows))),
        splits=("",) * len(rows),
        groups=("",) * len(rows),
        hashes=tuple(f"new {k}" if new[k] else builtin.hashes[row] for k, row in enumerate(rows)),
        refused=(),
        prints=None,
    )
    return train, test


def test_planted_overlap_is_found_by_kind_and_nothing_else(planted: Planted) -> None:
    train, test = planted
    found = overlap(train, test)
    assert found.names == ()
    assert int(found.copies.exact.sum()) == 20
    assert int((~found.copies.exact).sum()) == 20 + 5 * 24
    pairs = {(train.identities[r.first], test.identities[r.second]): r.pictures for r in found.renamed}
    assert pairs == {(f"p{k:03d}", f"alias {k}"): 24 for k in range(10, 15)}
    cut = remove_overlap(train, test)
    assert (cut.identities, cut.images) == (13, 13 * 24)  # recall 1, and nobody else: precision 1
    assert cut.kinds == {"files": 20, "pictures": 140, "renamed": 5}
    assert not {f"p{k:03d}" for k in (*range(8), *range(10, 15))} & set(cut.left.identities)
    assert remove_overlap(cut.left, test).images == 0


def test_from_the_test_the_people_leave_that_train_has(planted: Planted) -> None:
    train, test = planted
    cut = remove_overlap(test, train)
    assert cut.identities == 45  # each of the 40 guests carried one picture of training
    assert cut.kinds == {"files": 20, "pictures": 140, "renamed": 5}


def test_a_single_shared_picture_is_no_renamed_person(planted: Planted) -> None:
    train, test = planted
    guests = test.take(np.array([test.identities[label].startswith("guest") for label in test.labels]))
    assert overlap(train, guests).renamed == ()
    assert len(overlap(train, guests).copies) == 40
    few = guests.take([int(row) for row in overlap(guests, train).copies.first[:1]])  # nothing but that picture
    assert len(overlap(train, few).copies) == 1
    assert overlap(train, few).renamed == ()


def test_names_count_as_shared_whatever_their_spelling(builtin: Faces) -> None:
    one, other = builtin.take(builtin.labels < 2), builtin.take(builtin.labels >= 2)
    other = replace(other, identities=("P-000".replace("-", ""), *other.identities[1:]))
    found = overlap(one, other)
    assert found.names == ((0, 0),)
    assert remove_overlap(one, other).kinds == {"names": 1}


@pytest.mark.parametrize("choice", ["drop-from-train", "drop-from-test", "keep"])
def test_each_choice_does_as_it_says(planted: Planted, choice: str) -> None:
    train, test = planted
    both = replace(
        train,
        pixels=np.concatenate([np.asarray(train.pixels), test.pixels]),
        labels=np.concatenate([train.labels, test.labels + 100]),
        identities=(*train.identities, *test.identities),
        files=(*(f"train/{f}" for f in train.files), *test.files),
        splits=("train",) * len(train) + ("test",) * len(test),
        groups=("",) * (len(train) + len(test)),
        hashes=(*train.hashes, *test.hashes),
        prints=None,
    )
    if choice == "drop-from-test":  # a guest without copies, so that something is left to test
        tested = [both.identities.index(name) for name in ("p009", "p020", "alias 10")]
        both = replace(both, splits=tuple("test" if label in tested else "train" for label in both.labels))
    parts = split_identities(both, seed=0, val=0, overlap=choice)  # type: ignore[arg-type]
    if choice == "drop-from-train":
        assert (len(parts.train.identities), len(parts.test.identities)) == (87, 45)
        assert (parts.overlap_identities, parts.overlap_images) == (13, 13 * 24)
    elif choice == "keep":
        assert (len(parts.train.identities), len(parts.test.identities)) == (100, 45)
        assert (parts.overlap_identities, parts.overlap_images) == (0, 0)
        assert parts.overlap_kinds == {"files": 20, "pictures": 140, "renamed": 5}
    else:
        assert parts.test.identities == ("p009", "p020")
        assert len(parts.train.identities) == 142
        assert (parts.overlap_identities, parts.overlap_images) == (1, 24)
        assert parts.overlap_kinds == {"pictures": 24, "renamed": 1}


def test_pairs_without_their_images_leave(builtin: Faces) -> None:
    faces = builtin.take(range(6))
    first, second = np.array([0, 2, 4, 0]), np.array([1, 3, 5, 5])
    pairs = PairList(faces, first, second, np.array([True, True, False, False]), np.array([0, 0, 1, 1]))
    left = without_pairs(pairs, faces.take([0, 2, 3, 5]))
    assert [left.faces.files[row] for row in (*left.first, *left.second)] == [faces.files[k] for k in (2, 0, 3, 5)]
    assert left.same.tolist() == [True, False]
    assert left.fold.tolist() == [0, 1]


def test_of_a_closed_test_only_the_copies_leave(planted: Planted) -> None:
    train, test = planted
    cut = without_copies(train, test)
    assert (cut.images, cut.identities) == (160, 5)  # the renamed lose all their pictures
    assert cut.kinds == {"files": 20, "pictures": 140}
