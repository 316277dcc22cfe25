"""Turning a control changes what it names, and nothing else of a picture."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from faceloss.data.generated.camera import camera
from faceloss.data.generated.controls import Cast, Look, parse_range, parse_shares
from faceloss.data.generated.people import aged, near_twin, person, years
from faceloss.data.generated.shots import shot
from faceloss.errors import BadInput

SHAPES = ("l-cheek-volume-incr", "nose-trans-out")
IMAGES = range(60)
# What each control may change of a shot or camera.
TURNED = [
    (Look(yaw=(0.5, 1.0)), {"yaw"}),
    (Look(pitch=(0.0, 0.0)), {"pitch"}),
    (Look(light_side=3.0), {"light", "light_angles"}),
    (Look(light=(2.0, 3.0)), {"key"}),
    (Look(ambient=(0.0, 0.0)), {"ambient"}),
    (Look(expression=(0.9, 1.0)), {"expression", "action"}),
    (Look(age_gap=30.0), {"years"}),
    (Look(hats=0.9), {"hat"}),
    (Look(hats=0.0), {"hat"}),
    (Look(glasses=0.9), {"glasses"}),
    (Look(occlusion=0.9), {"disk"}),
    (Look(occlusion=0.0), {"disk"}),
    (Look(noise=(10.0, 20.0)), {"noise", "grain"}),
    (Look(blur=(2.0, 3.0)), {"blur"}),
]


@cache
def taken(look: Look) -> list[dict[str, str]]:
    """Every number of some shots and cameras, as text."""
    who = person(SHAPES, 3, 4)
    found = []
    for image in IMAGES:
        one = dataclasses.asdict(shot(who, 3, 4, image, look)) | camera(3, 4, image, 8, look)._asdict()
        found.append({name: repr(value) for name, value in one.items()})
    return found


@pytest.mark.parametrize(
    ("look", "names"), TURNED, ids=[str(sorted(names)) + str(n) for n, (_, names) in enumerate(TURNED)]
)
def test_a_control_changes_what_it_names(look, names):
    before, after = taken(Look()), taken(look)
    changed = {name for one, two in zip(before, after, strict=True) for name in one if one[name] != two[name]}
    assert changed == names


@pytest.mark.parametrize("name", ["hats", "glasses", "occlusion"])
def test_a_higher_rate_keeps_what_was_there(name):
    column = {"hats": "hat", "glasses": "glasses", "occlusion": "disk"}[name]
    some, more = (taken(Look(**{name: rate})) for rate in (0.3, 0.6))
    there = [one[column] for one in some if one[column] != "None"]
    assert 8 < len(there) < 30
    assert [two[column] for one, two in zip(some, more, strict=True) if one[column] != "None"] == there
    assert 26 < sum(two[column] != "None" for two in more) < 48
    assert len(set(there)) == len(there)


def test_shots_differ_between_images_identities_and_seeds():
    who = person(SHAPES, 0, 0)
    yaws = {shot(who, seed, identity, image).yaw for seed in (0, 1) for identity in (0, 1) for image in range(3)}
    assert len(yaws) == 12
    assert len({person(SHAPES, seed, identity).ruddy for seed in (0, 1) for identity in range(3)}) == 6


def test_the_gap_in_years_is_kept_and_turns_hair_gray():
    for identity in range(12):
        who = person(SHAPES, 1, identity)
        old = [shot(who, 1, identity, image, Look(age_gap=40.0)).years for image in range(50)]
        assert 34 < max(old) - min(old) <= 40
        assert 16 <= min(old) <= years(who) <= max(old) <= 85
    who = dataclasses.replace(person(SHAPES, 1, 0), hair=np.array([0.1, 0.1, 0.1]))
    assert years(aged(who, 80.0)) == pytest.approx(80)
    assert aged(who, 80.0).hair.min() > 0.4
    assert aged(who, years(who)).hair.tolist() == who.hair.tolist()


def test_a_near_twin_lies_between_two_people():
    one, two = person(SHAPES, 0, 0), person(SHAPES, 0, 1)
    assert repr(near_twin(one, two, 0.0)) == repr(one)
    quarter = near_twin(one, two, 0.25)
    assert quarter.ruddy == pytest.approx(0.75 * one.ruddy + 0.25 * two.ruddy)
    assert quarter.shape[SHAPES[0]] == pytest.approx(0.75 * one.shape[SHAPES[0]] + 0.25 * two.shape[SHAPES[0]])
    assert quarter.brow[2] == pytest.approx(0.75 * one.brow[2] + 0.25 * two.brow[2])
    np.testing.assert_allclose(quarter.skin, 0.75 * one.skin + 0.25 * two.skin)
    assert near_twin(one, two, 1.0).phenotype["age"] == pytest.approx(two.phenotype["age"])


def test_a_group_changes_origin_and_skin_only():
    origins = ("african", "asian", "caucasian")
    for identity in range(6):
        drawn = person(SHAPES, 0, identity)
        for group in origins:
            made = person(SHAPES, 0, identity, group)
            assert max(origins, key=lambda name: made.phenotype[name]) == group
            assert sorted(made.phenotype[name] for name in origins) == sorted(drawn.phenotype[name] for name in origins)
            same = dataclasses.replace(made, skin=drawn.skin, phenotype=drawn.phenotype)
            assert repr(same) == repr(drawn)


BAD = [
    (lambda: Look(yaw=(0.7, 0.2)), "--yaw 0.7:0.2 is not possible"),
    (lambda: Look(expression=(0.0, 1.5)), "--expression 0:1.5"),
    (lambda: Look(age_gap=70.0), "--age-gap 70 is not possible; give 0 to 60 years"),
    (lambda: Look(occlusion=float("nan")), "--occlusion nan"),
    (lambda: Cast(groups={"martian": 1.0}), "names 'martian'"),
    (lambda: Cast(groups={"asian": 0.0}), "gives every origin 0"),
    (lambda: Cast(imbalance=4.0, tail=1.0), "give one of them"),
    (lambda: Cast(twins=1.5), "--twins 1.5"),
    (lambda: Cast(flip=0.7, outlier=0.7), "together more than 1"),
    (lambda: parse_range("--noise", "a:b"), "--noise was given 'a:b'"),
    (lambda: parse_range("--noise", "1:2:3"), "'1:2:3'"),
    (lambda: parse_shares("--label-noise", "flop=0.1", ("flip", "outlier")), "takes flip, outlier"),
    (lambda: parse_shares("--label-noise", "flip=0.1,flip=0.2", ("flip", "outlier")), "each once"),
    (lambda: parse_shares("--label-noise", "flip", ("flip", "outlier")), "'flip'"),
]


@pytest.mark.parametrize(("call", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_what_is_not_possible_is_told_in_a_sentence(call, sentence):
    with pytest.raises(BadInput) as error:
        call()
    assert sentence in str(error.value)
    assert str(error.value).endswith(".")
