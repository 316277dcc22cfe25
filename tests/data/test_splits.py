"""Parts that share no person, by name and by exact file."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloss.data.decode import PREPROCESSING
from faceloss.data.faces import Faces, Refused, digest
from faceloss.data.load import load_faces
from faceloss.data.overlap import plain_name, remove_overlap
from faceloss.data.splits import split_identities
from faceloss.errors import BadInput


def made(people, splits=None, hashes=None):
    """Faces without files: ``people`` names the person on each image."""
    identities = tuple(sorted(set(people)))
    n = len(people)
    hashes = hashes or [f"{i:04x}" for i in range(n)]
    pixels = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    return Faces(
        "made", pixels, np.array([identities.index(p) for p in people], dtype=np.int64), identities,
        tuple(f"{i:04d}.png" for i in range(n)), tuple(splits or [""] * n), ("",) * n, tuple(hashes), (), "d",
    )  # fmt: skip


def people_of(faces):
    return {plain_name(identity) for identity in faces.identities}


def test_take_numbers_labels_anew():
    faces = made(["a", "a", "b", "c", "c"])
    part = faces.take([4, 0, 3])
    assert part.identities == ("a", "c")
    assert part.labels.tolist() == [1, 0, 1]
    assert part.files == ("0004.png", "0000.png", "0003.png")
    assert np.asarray(part.pixels)[:, 0, 0, 0].tolist() == [4, 0, 3]
    assert part.digest != faces.digest
    by_mask = faces.take(np.array([True, False, False, True, True]))
    assert by_mask.digest == part.digest  # the same images, in another order
    assert len(faces.take([])) == 0


def test_take_reads_images_only_when_asked(folder):
    whole = load_faces(folder(ann=3, bob=4, cid=2), size=16)
    assert isinstance(whole.pixels, np.memmap)
    images = np.array(whole.pixels)
    assert len({image.tobytes() for image in images}) == 9
    part = whole.take([8, 1, 2, 3, 0]).take(np.array([True, False, True, True, True]))  # rows 8, 2, 3, 0
    assert part.pixels.array is whole.pixels, "a copy"
    assert part.pixels.shape == (4, 16, 16, 3)
    assert len(part.pixels) == 4
    for index in (2, -1, slice(1, 3), np.array([3, 0, 3]), np.array([False, True, True, False]), []):
        found, expected = part.pixels[index], images[[8, 2, 3, 0]][index]
        assert type(found) is np.ndarray  # a memory map is slow to take apart image by image
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.asarray(part.pixels), images[[8, 2, 3, 0]])
    with pytest.raises(IndexError):
        part.pixels[4]
    with pytest.raises(IndexError):
        whole.take([9])
    assert len(whole.take([]).pixels[:]) == 0


def test_digest_of_a_loaded_set_is_that_of_its_parts(folder):
    faces = load_faces(folder(ann=2, bob=1), size=16)
    assert PREPROCESSING
    names = [faces.identities[label] for label in faces.labels]
    rows = zip(faces.files, names, faces.splits, faces.groups, faces.hashes, strict=True)
    assert digest(rows, 16) == faces.digest == faces.take([2, 0, 1]).digest


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=12, max_size=30),
    seed=st.integers(0, 5),
    val=st.sampled_from([0.0, 0.1, 0.3]),
    test=st.sampled_from([0.0, 0.2, 0.4]),
)
def test_drawn_parts_share_nobody_and_lose_nothing(counts, seed, val, test):
    several = sum(count > 1 for count in counts)
    people = [f"person {i}" for i, count in enumerate(counts) for _ in range(count)]
    faces = made(people)
    # Both parts take at least 2 of those with several images; train keeps what is left.
    if several < 2 * bool(val) + 2 * bool(test):
        with pytest.raises(BadInput, match="made has"):
            split_identities(faces, seed=seed, val=val, test=test)
        return
    parts = split_identities(faces, seed=seed, val=val, test=test)
    sets = [people_of(part) for part in parts[:3]]
    assert sum(map(len, sets)) == len(sets[0] | sets[1] | sets[2]) == len(counts)
    assert sorted(f for part in parts[:3] for f in part.files) == sorted(faces.files)
    for part, asked in ((parts.val, val), (parts.test, test)):
        assert (np.bincount(part.labels, minlength=1) >= 2).sum() >= 2 if asked else len(part) == 0


def test_the_draw_follows_seed_and_names_only():
    faces = made([f"p{i}" for i in range(30) for _ in range(3)])
    first = split_identities(faces, seed=1)
    assert (len(first.test.identities), len(first.val.identities)) == (6, 3)
    again = split_identities(faces.take(np.arange(len(faces))[::-1]), seed=1)
    assert again.test.identities == first.test.identities
    assert split_identities(faces, seed=2).test.identities != first.test.identities


def test_spellings_of_a_name_stay_together():
    people = ["Ann_Lee", "ann lee", "ANN-LEE"] + [f"p{i}" for i in range(12)]
    faces = made([p for p in people for _ in range(2)])
    for seed in range(8):
        parts = split_identities(faces, seed=seed)
        assert sum("ann lee" in people_of(part) for part in parts[:3]) == 1
        assert sum(len(part) for part in parts[:3]) == len(faces)


def test_named_splits_are_followed_and_checked():
    people = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", "f", "f", "A ", "a", "g"]
    splits = ["train"] * 4 + ["test"] * 4 + ["val"] * 4 + ["test", "test_closed", "spare"]
    people[12] = "b_"  # b is also in test, under another spelling
    hashes = [f"{i}" for i in range(15)]
    faces = made(people, splits, hashes)
    with pytest.raises(BadInput, match=r"leaves 1 identities .* for train"):
        split_identities(faces, seed=0)
    people[12] = "c"
    hashes[9] = hashes[5]  # an image of e (val) is an image of c (test)
    faces = made([*people, "h", "h", "i", "i"], [*splits, "val", "val", "train", "train"], [*hashes, *"wxyz"])
    parts = split_identities(faces, seed=0)
    assert parts.train.identities == ("a", "b", "i")
    assert parts.val.identities == ("f", "h")
    assert parts.test.identities == ("c", "d")
    assert parts.test_closed is not None
    assert parts.test_closed.files == ("0013.png",)
    assert (parts.overlap_identities, parts.overlap_images, parts.left_out) == (1, 2, 1)


def test_a_part_the_source_does_not_name_is_drawn_from_train():
    people = [f"p{i}" for i in range(20) for _ in range(3)]
    faces = made(people, ["train", "train", "test_closed"] * 20)
    parts = split_identities(faces, seed=0, val=0.2, test=0)
    assert len(parts.val.identities) == 4
    assert len(parts.test) == 0
    assert parts.test_closed is not None
    assert people_of(parts.test_closed) == people_of(parts.train)
    assert len(parts.test_closed) == 16
    assert parts.left_out == 4


def test_closed_test_images_leave_train_but_their_people_stay():
    people = [p for p in "abcdefgh" for _ in range(3)]
    splits = ["train", "train", "test_closed"] * 4 + ["val"] * 6 + ["test"] * 6
    hashes = [f"{i}" for i in range(24)]
    hashes[0] = hashes[2]
    parts = split_identities(made(people, splits, hashes), seed=0)
    assert len(parts.train.identities) == 4
    assert "0000.png" not in parts.train.files
    assert parts.overlap_images == 1


@pytest.mark.parametrize("options", [{"val": 0.6, "test": 0.4}, {"val": -0.1}, {"test": 1.0}])
def test_impossible_fractions(options):
    with pytest.raises(BadInput, match="leave nothing to train on"):
        split_identities(made(["a", "b"] * 10), seed=0, **options)


def test_too_few_identities_say_the_numbers():
    with pytest.raises(BadInput, match=r"made has 9 images of 7 identities, 2 of them with at least 2 images"):
        split_identities(made(["a", "a", "b", "b", "c", "d", "e", "f", "g"]), seed=0)
    with pytest.raises(BadInput, match="names the splits extra, test but no train"):
        split_identities(made(["a", "b"], ["test", "extra"]), seed=0)


def test_the_ledger_of_refused_files_goes_to_the_parts():
    faces = made([f"p{i}" for i in range(20) for _ in range(2)])
    refused = tuple(Refused(f"{p}/x.png", "empty file", p) for p in (*faces.identities, "nobody left"))
    parts = split_identities(dataclasses.replace(faces, refused=refused), seed=0)
    assert sorted(r for part in parts[:3] for r in part.refused) == sorted(refused)
    assert {r.identity for r in parts.test.refused} == set(parts.test.identities)


@pytest.mark.faults
def test_planted_overlap_is_found():
    """5 renamed identities and 20 exact copies under other names: all found, nobody else removed."""
    train = made([f"T_{i}" for i in range(100) for _ in range(3)])
    names = [f"x{i}" for i in range(50)] + [f"t {i}" for i in range(5)]
    hashes = [f"new{i}" for i in range(30)] + [train.hashes[30 + 3 * i] for i in range(20)] + list("abcde")
    left, identities, images, _ = remove_overlap(train, made(names, hashes=hashes))
    assert (identities, images) == (25, 75)
    assert set(left.identities) == {f"T_{i}" for i in (*range(5, 10), *range(30, 100))}
    nothing = remove_overlap(train, made(["x", "y"], hashes=["p", "q"]))
    assert (nothing.left.files, *nothing[1:]) == (train.files, 0, 0, {})


def test_images_of_nobody_in_particular_are_not_one_person():
    train = made(["", "", "a"])
    left, identities, images, _ = remove_overlap(train, made(["", "b"], hashes=["0000", "zz"]))
    assert left.files == ("0001.png", "0002.png")
    assert (identities, images) == (0, 1)
