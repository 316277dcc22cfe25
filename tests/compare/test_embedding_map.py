"""Who is on the map: drawn before any result, the same for every loss; and what its record says."""

import json

import numpy as np
import pytest

from faceloss.compare.embedding_map import FEWEST, IDENTITIES, MOST, drawn, eligible, map_record
from faceloss.data.faces import Faces


def faces(counts: list[int], digest: str = "d", unnamed: tuple[int, ...] = ()) -> Faces:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    own = tuple(str(i) for i in range(len(labels)))
    names = tuple("" if i in unnamed else f"p{i}" for i in range(len(counts)))
    pixels = np.zeros((len(labels), 2, 2, 3), np.uint8)
    return Faces("toy", pixels, labels, names, own, ("",) * len(own), ("",) * len(own), own, (), digest)


def people(some: Faces) -> set[int]:
    return {int(some.labels[index[0]]) for index in drawn(some)}


def test_only_named_identities_with_images_enough_are_drawn() -> None:
    some = faces([2, 3, 4, 5, 30, 4, 6], unnamed=(5,))
    assert eligible(some).tolist() == [2, 3, 4, 6]
    found = drawn(some)
    assert [len(index) for index in found] == [FEWEST, 5, MOST, 6]
    for index in found:
        assert len({int(some.labels[i]) for i in index}) == 1
        assert len(set(index.tolist())) == len(index)
        assert index.tolist() == sorted(index.tolist())


def test_the_draw_is_one_of_the_test_and_leaves_nobody_out() -> None:
    """Not the first of a list, not the largest: over many tests everybody is drawn, and each image."""
    counts = [20 if i < 5 else 4 + i % 3 for i in range(40)]
    assert people(faces(counts)) == people(faces(counts))
    assert people(faces(counts)) != people(faces(counts, "another"))
    often = np.zeros(40)
    for i in range(300):
        chosen = people(faces(counts, f"test {i}"))
        assert len(chosen) == IDENTITIES
        often[list(chosen)] += 1
    assert often.min() > 60 * 0.5
    assert often.max() < 60 * 1.5  # binomial: 60 ± 7
    one = [set(next(index for index in drawn(faces([20, 4], f"test {i}")) if len(index) == MOST)) for i in range(40)]
    assert len(set().union(*one)) == 20


def embeddings(some: Faces) -> np.ndarray:
    """A direction for each identity, and noise."""
    rng = np.random.default_rng(1)
    center = rng.normal(size=(len(some.identities), 16))
    return np.asarray((center[some.labels] + 0.2 * rng.normal(size=(len(some), 16))) * 30, dtype=np.float32)


def test_a_record_has_the_places_of_each_identity_in_turn() -> None:
    some = faces([6] * 12)
    rows = embeddings(some)
    record = map_record("t", some, rows)
    assert record is not None
    assert (record["kind"], record["test"], record["of"], record["fewest"]) == ("map", "t", 12, FEWEST)
    index = np.concatenate(drawn(some))
    names = np.repeat(record["identities"], record["counts"])
    assert names.tolist() == [some.identities[label] for label in some.labels[index]]
    places = np.array([record["x"], record["y"]]).T
    e = rows[index] / np.linalg.norm(rows[index].astype(np.float64), axis=1, keepdims=True)
    total = e.var(axis=0).sum()
    assert record["share"] == pytest.approx((places.var(axis=0) / total).tolist(), abs=2e-3)
    assert 0.3 < sum(record["share"]) < 0.95
    for name in record["identities"]:
        here = places[names == name]
        assert here.std(axis=0).max() < 0.5 * places.std(axis=0).max(), "an identity is a cloud of its own"
    assert np.array_equal(places, places.round(3))
    assert len(json.dumps(record)) < 2000


def test_no_place_is_minus_zero() -> None:
    """Two points, each but for noise below what is kept: along the second direction all is 0."""
    some = faces([4, 4])
    rows = np.eye(2, 6)[some.labels] + 1e-5 * np.random.default_rng(0).normal(size=(8, 6))
    record = map_record("t", some, rows.astype(np.float32))
    assert record is not None
    assert record["y"] == [0.0] * 8
    assert "-0.0" not in json.dumps(record["y"])


def test_another_network_has_the_same_people_on_its_map() -> None:
    some = faces([6] * 12)
    one, other = (map_record("t", some, rows) for rows in (embeddings(some), embeddings(some)[:, ::-1] ** 3))
    assert one is not None
    assert other is not None
    assert (one["identities"], one["counts"]) == (other["identities"], other["counts"])
    assert one["x"] != other["x"]


@pytest.mark.parametrize("some", [faces([3] * 9), faces([8, 3, 2]), faces([5] * 4, unnamed=(0, 1, 2, 3))])
def test_without_two_people_to_draw_there_is_no_map(some: Faces) -> None:
    assert map_record("t", some, embeddings(some)) is None
