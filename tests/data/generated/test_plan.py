"""How many pictures of whom under which label."""

from collections import Counter

import numpy as np
import pytest

from faceloss.data.generated.controls import Cast
from faceloss.data.generated.plan import OUTSIDE, Plan, Who, draw_person, plan
from faceloss.errors import BadInput

SHAPES = ("l-cheek-volume-incr", "nose-trans-out")


def planned(identities: int = 40, images: int = 12, seed: int = 7, **cast: object) -> Plan:
    return plan(Cast(**cast), identities=identities, images=images, seed=seed)


def test_as_it_comes_every_identity_has_all_images_under_its_name():
    made = planned(3, 2)
    assert made.names == ("p000", "p001", "p002")
    assert [slot.file for slot in made.slots] == [f"p00{i}/0000{k}.jpg" for i in range(3) for k in range(2)]
    assert all(slot.kind == "" and slot.label == slot.keys[0] == slot.who.number for slot in made.slots)
    assert planned(1001, 1).names[7] == "p0007"


def test_a_larger_set_begins_with_the_smaller_one():
    cast = {"groups": {"asian": 1.0, "african": 2.0}, "twins": 0.4, "outlier": 0.2}
    small, large = planned(20, **cast), planned(60, **cast)
    assert large.people[:20] == small.people
    assert large.counts[:20] == small.counts
    count = len(small.slots)
    assert [slot._replace(file="") for slot in large.slots[:count]] == [slot._replace(file="") for slot in small.slots]


@pytest.mark.parametrize("identities", [10, 57, 400])
def test_shares_of_groups_are_exact_in_every_part(identities):
    shares = {"african": 0.5, "asian": 0.3, "caucasian": 0.2}
    found = Counter(who.group for who in planned(identities, 1, groups=shares).people)
    for name, share in shares.items():
        assert abs(found[name] - share * identities) < 2.5
    assert set(Counter(who.group for who in planned(identities, 1).people)) == set(shares)  # as drawn


def test_images_of_groups():
    made = planned(60, 10, groups={"african": 1.0, "asian": 1.0}, group_images={"african": 0.5})
    images = {who.group: count for who, count in zip(made.people, made.counts, strict=True)}
    assert images == {"african": 5, "asian": 10}
    assert planned(60, 10, group_images={"african": 0.1, "asian": 2.0}, least=3).counts.count(3) > 5


def test_imbalance_runs_from_all_images_to_their_ratio():
    counts = np.array(planned(200, 100, imbalance=20.0).counts)
    assert counts.max() == 100
    assert counts.min() == 5
    assert np.median(counts) == pytest.approx(100 / 20**0.5, rel=0.05)
    assert counts[0] != counts.max()  # not in the order of identities


def test_a_long_tail_falls_as_zipf_says():
    counts = np.sort(planned(200, 1000, tail=0.8).counts)[::-1]
    np.testing.assert_array_equal(counts, np.floor(1000 * np.arange(1, 201) ** -0.8 + 0.5))
    assert min(planned(200, 1000, tail=2.0).counts) == 1
    assert min(planned(200, 1000, tail=2.0, least=4).counts) == 4


def test_near_twins_come_in_pairs():
    made = planned(200, 1, twins=0.3, twin_distance=0.1)
    twins = [who for who in made.people if who.twin_of >= 0]
    assert abs(len(twins) - 30) <= 1  # 30 pairs are 30 % of 200 identities
    assert all(who.number % 2 and who.twin_of == who.number - 1 and who.distance == 0.1 for who in twins)
    assert all(who.group == made.people[who.twin_of].group for who in twins)
    none = planned(200, 1, twins=0.0).people
    assert [who for who in made.people if who.twin_of < 0] == [none[w.number] for w in made.people if w.twin_of < 0]
    assert sum(who.twin_of >= 0 for who in planned(200, 1, twins=1.0).people) == 100


def test_groups_twins_and_images_are_independent_of_each_other():
    made = planned(900, 100, groups={"asian": 1.0, "african": 1.0}, imbalance=10.0, twins=0.25)
    counts = np.array(made.counts)
    asian = np.array([who.group == "asian" for who in made.people])
    pair = np.array([who.twin_of >= 0 for who in made.people])
    pair[:-1] |= pair[1:]
    assert counts[asian].mean() == pytest.approx(counts.mean(), rel=0.04)
    assert counts[pair].mean() == pytest.approx(counts.mean(), rel=0.08)
    assert asian[pair].mean() == pytest.approx(0.5, abs=0.04)
    assert asian.mean() == pytest.approx(0.5, abs=0.02)


def test_a_twin_at_no_distance_is_the_same_and_far_away_is_somebody():
    first = Who(4, "asian")
    assert repr(draw_person(SHAPES, 0, Who(5, "asian", 4, 0.0))) == repr(draw_person(SHAPES, 0, first))
    far = draw_person(SHAPES, 0, Who(5, "asian", 4, 1.0))
    assert far.ruddy == pytest.approx(draw_person(SHAPES, 0, Who(5, "asian")).ruddy)


def test_wrong_labels_have_their_rates_and_are_told():
    made = planned(40, 50, flip=0.1, outlier=0.05)
    kinds = Counter(slot.kind for slot in made.slots)
    assert kinds["flip"] == pytest.approx(200, abs=45)  # three standard deviations
    assert kinds["outlier"] == pytest.approx(100, abs=30)
    flips = [slot for slot in made.slots if slot.kind == "flip"]
    assert all(slot.label != slot.keys[0] == slot.who.number for slot in flips)
    assert len({slot.label for slot in flips}) > 35
    outliers = [slot for slot in made.slots if slot.kind == "outlier"]
    assert all(slot.label == slot.keys[0] and slot.who.number >= OUTSIDE for slot in outliers)
    assert len({slot.who.number for slot in outliers}) == len(outliers)
    assert all(slot.who.group == made.people[slot.label].group for slot in outliers)
    assert all(slot.file.split("/")[0] == made.names[slot.label] for slot in made.slots)
    assert len({slot.file for slot in made.slots}) == len(made.slots)


def test_noise_of_one_kind_leaves_the_other_and_the_pictures_as_they_were():
    def kind(made: Plan, name: str) -> set[tuple[int, int]]:
        return {slot.keys for slot in made.slots if slot.kind == name}

    both, flips, outliers = planned(flip=0.2, outlier=0.1), planned(flip=0.2), planned(outlier=0.1)
    assert kind(both, "flip") == kind(flips, "flip") != set()
    assert kind(both, "outlier") == kind(outliers, "outlier") != set()
    assert kind(planned(flip=0.1), "flip") < kind(flips, "flip")
    assert [slot.keys for slot in both.slots] == [slot.keys for slot in planned().slots]


@pytest.mark.parametrize("wrong", [{"identities": 0}, {"images": 0}, {"identities": 1, "flip": 0.1}])
def test_a_set_of_nobody_is_refused(wrong):
    with pytest.raises(BadInput, match="at least"):
        planned(**wrong)
