"""How many pictures of whom, under which label: groups, long tails, near-twins, label noise.

Everything is keyed by identity, so a larger set begins with the smaller one: identity 7 is the same person, with the
same pictures, among ten as among ten thousand. Only how images fall off, and whom a wrong label names, depend on how
many there are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from faceloss.data.generated.controls import Cast
from faceloss.data.generated.head import ORIGINS
from faceloss.data.generated.people import Person, main_origin, near_twin, person
from faceloss.data.keys import generator
from faceloss.errors import BadInput

STEPS = {"groups": (5**0.5 - 1) / 2, "twins": 2**0.5 - 1, "images": 3**0.5 - 1}  # of the even sequences
OUTSIDE = 1 << 40  # numbers of people from here on are nobody of any set


class Who(NamedTuple):
    """All that is needed to make a person: number and main origin, and of whom it is a near-twin."""

    number: int
    group: str
    twin_of: int = -1
    distance: float = 0.0


class Slot(NamedTuple):
    """One picture of a set."""

    who: Who  # who is shown
    keys: tuple[int, int]  # identity and image that its shot and camera are keyed by
    file: str
    label: int  # the identity it is said to show
    kind: str  # "" where that is right, else "flip" or "outlier"


class Plan(NamedTuple):
    """A set before it is drawn: N identities."""

    names: tuple[str, ...]
    people: tuple[Who, ...]
    counts: tuple[int, ...]  # pictures of each
    slots: tuple[Slot, ...]  # all pictures, by identity and image


def plan(cast: Cast, *, identities: int, images: int, seed: int) -> Plan:
    """The plan of a set of ``identities`` people with up to ``images`` pictures each."""
    if identities < 1 or images < 1:
        raise BadInput(f"{identities} identities with {images} images are no set; give at least 1 of each.")
    if identities >= OUTSIDE or images >= 1 << 20:
        raise BadInput(f"{identities} identities with {images} images are more than can be told apart.")
    if cast.flip and identities < 2:
        raise BadInput("--label-noise flip needs somebody else to name: give at least 2 --identities.")
    width = max(3, len(str(identities - 1)))
    names = tuple(f"p{number:0{width}d}" for number in range(identities))
    people = _people(cast, identities, seed)
    counts = _counts(cast, [who.group for who in people], images, seed)
    return Plan(names, people, counts, tuple(_slots(cast, names, people, counts, seed)))


def draw_person(shapes: tuple[str, ...], seed: int, who: Who) -> Person:
    """The person that a plan names; ``shapes`` are the local shape controls of the head."""
    one = person(shapes, seed, who.number, who.group)
    if who.twin_of < 0:
        return one
    return near_twin(person(shapes, seed, who.twin_of, who.group), one, who.distance)


def _even(seed: int, purpose: str, count: int) -> np.ndarray:
    """``count`` numbers in [0,1), of which any first n lie evenly, so that shares hold within one or two people.

    Multiples of an irrational number from a random start; another one for each purpose, all independent over the
    rationals: with one for all, the people of a group would be those with many images.
    """
    return (generator(seed, purpose).random() + STEPS[purpose] * np.arange(count)) % 1.0


def _people(cast: Cast, identities: int, seed: int) -> tuple[Who, ...]:
    shares = np.cumsum([cast.groups.get(name, 0.0) for name in ORIGINS])
    places = _even(seed, "groups", identities)
    twin = _even(seed, "twins", (identities + 1) // 2) < cast.twins
    people: list[Who] = []
    for number in range(identities):
        if number % 2 and twin[number // 2]:
            people.append(Who(number, people[-1].group, number - 1, cast.twin_distance))
        elif cast.groups:
            place = int(np.searchsorted(shares, places[number] * shares[-1], side="right"))
            people.append(Who(number, ORIGINS[place]))
        else:
            people.append(Who(number, main_origin(seed, number)))
    return tuple(people)


def _counts(cast: Cast, groups: list[str], images: int, seed: int) -> tuple[int, ...]:
    rank = np.argsort(np.argsort(_even(seed, "images", len(groups))))  # 0 for the one with the most images
    share = (rank + 1.0) ** -cast.tail if cast.tail else cast.imbalance ** -(rank / max(1, len(groups) - 1))
    factor = np.array([cast.group_images.get(group, 1.0) if cast.group_images else 1.0 for group in groups])
    wanted = np.floor(images * share * factor + 0.5).astype(np.int64)
    return tuple(np.maximum(wanted, cast.least).tolist())


def _slots(
    cast: Cast, names: tuple[str, ...], people: tuple[Who, ...], counts: tuple[int, ...], seed: int
) -> Iterator[Slot]:
    filed = [0] * len(names)
    for number, count in enumerate(counts):
        kinds = generator(seed, number, "labels").random(count) if cast.flip or cast.outlier else np.full(count, 0.5)
        others = generator(seed, number, "flips").random(count) if cast.flip else kinds
        for image in range(count):
            who, label, kind = people[number], number, ""
            if kinds[image] < cast.flip:
                other = int(others[image] * (len(names) - 1))
                label, kind = other + (other >= number), "flip"
            elif kinds[image] >= 1 - cast.outlier:
                who, kind = Who(OUTSIDE + (number << 20) + image, who.group), "outlier"
            file = f"{names[label]}/{filed[label]:05d}.jpg"
            filed[label] += 1
            yield Slot(who, (number, image), file, label, kind)
