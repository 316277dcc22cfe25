"""Who is drawn: random people, keyed by (seed, identity).

Skin, hair and eye colors come from a few overlapping tones, so that many people share almost the same ones: color alone
must not tell who someone is.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from faceloss.data.generated.head import ORIGINS, Floats
from faceloss.data.keys import generator

# sRGB in [0,1]. Skin runs along one line from light to dark; people cluster around five places on it.
SKIN_LINE = np.array(
    [[0.93, 0.76, 0.67], [0.86, 0.65, 0.53], [0.72, 0.51, 0.39], [0.53, 0.36, 0.27], [0.36, 0.23, 0.17]]
)
HAIR = np.array([[0.07, 0.06, 0.06], [0.16, 0.11, 0.08], [0.27, 0.18, 0.12], [0.47, 0.34, 0.20], [0.62, 0.60, 0.58]])
IRIS = np.array([[0.20, 0.12, 0.07], [0.32, 0.21, 0.11], [0.36, 0.38, 0.24], [0.38, 0.50, 0.60]])
SHAPE_SPREAD = 0.38  # standard deviation of a local shape control, whose range is [-1,1]
SHAPE_LIMIT = 0.9
NECK_SHAPES = 0.4  # the neck is hardly seen; a long one only spoils the crop

# Age of the model (0 baby, 1/3 child, 2/3 young, 1 old) and the years that MakeHuman, whose body data it has, gives it.
AGES, YEARS = (0.0, 1 / 3, 2 / 3, 1.0), (1.0, 10.0, 25.0, 90.0)
YOUNGEST, OLDEST = 16.0, 85.0  # years, of somebody who ages from picture to picture


@dataclass(frozen=True)
class Person:
    """What stays the same from picture to picture. Lengths in meters, colors in sRGB."""

    phenotype: dict[str, float]
    shape: dict[str, float]
    skin: Floats
    hair: Floats
    iris: Floats
    ruddy: float  # redness of cheeks and nose
    lips: float  # redness of the lips
    brow: tuple[float, float, float, float]  # height, thickness, arch, density
    hairline: tuple[float, float, float, float]  # forehead, temples, widow's peak, fringe
    volume: float  # of the hair
    curl: float  # 0 straight .. 1 curly
    bald: bool
    beard: tuple[float, float]  # mustache and jaw, 0 none .. 1 full
    freckles: float
    moles: Floats  # [M,3]: x, z, radius
    waves: Floats  # [12,4]: wave vectors and phases of the skin's uneven tone


def person(shapes: tuple[str, ...], seed: int, identity: int, group: str = "") -> Person:
    """The identity with this number. With ``group`` the largest of its shares of origin changes places with that one.

    ``shapes`` are the local shape controls of the head.
    """
    rng = generator(seed, identity, "person")
    origin = _origin(rng)
    if group:
        main, wanted = int(origin.argmax()), ORIGINS.index(group)
        origin[[main, wanted]] = origin[[wanted, main]]
    beards = rng.random() < 0.5
    # The model counts gender from 0, male, to 1, female. That beards and bald heads go with the upper half was a slip
    # when the built-in faces were drawn; it is kept because they are.
    gender = float(rng.uniform(0.6, 1.0) if beards else rng.uniform(0.0, 0.4))
    age = float(rng.uniform(0.58, 0.95))
    phenotype = {"gender": gender, "age": age, "muscle": float(rng.uniform(0.2, 0.8))}
    phenotype |= {"weight": float(rng.uniform(0.2, 0.9)), "height": 0.5, "proportions": float(rng.uniform(0.3, 0.8))}
    phenotype |= dict(zip(ORIGINS, map(float, origin), strict=True))

    shape: dict[str, float] = {}
    for name in shapes:
        spread = SHAPE_SPREAD * (NECK_SHAPES if name.startswith(("neck", "head-trans", "head-angle")) else 1)
        value = float(np.clip(rng.normal(0, spread), -SHAPE_LIMIT, SHAPE_LIMIT))
        other_side = "l" + name[1:]
        if name.startswith("r-") and other_side in shape:  # faces are nearly symmetric
            value = 0.85 * shape[other_side] + 0.15 * value
        shape[name] = value
    for name in ("head-trans-out", "neck-trans-out", "nose-trans-out", "mouth-trans-out", "head-angle-out"):
        shape[name] = shape.get(name, 0.0) * 0.25

    tone = float(origin @ (3.3, 1.2, 0.6) + rng.normal(0, 0.45))
    tone = float(np.clip(round(tone) + rng.normal(0, 0.12), 0, len(SKIN_LINE) - 1))
    dark = rng.choice(len(HAIR), p=[0.34, 0.26, 0.18, 0.12, 0.10] if age < 0.8 else [0.18, 0.16, 0.14, 0.10, 0.42])
    beard = (float(rng.random()), float(rng.random())) if beards and rng.random() < 0.4 else (0.0, 0.0)
    return Person(
        phenotype,
        shape,
        skin=_along(SKIN_LINE, tone) * (1 + rng.normal(0, 0.015, 3)),
        hair=np.clip(HAIR[dark] * (1 + rng.normal(0, 0.08)), 0, 1),
        iris=IRIS[rng.choice(len(IRIS), p=[0.45, 0.25, 0.12, 0.18])],
        ruddy=float(rng.uniform(0.0, 1.0)),
        lips=float(rng.uniform(0.2, 1.0)),
        brow=(
            float(rng.uniform(0.017, 0.024)),
            float(rng.uniform(0.0016, 0.0046) * (1.2 if beards else 0.85)),
            float(rng.uniform(0.0, 0.009)),
            float(rng.uniform(0.45, 0.95)),
        ),
        hairline=hairline(rng),
        volume=float(rng.uniform(0.004, 0.024)),
        curl=float(rng.random()),
        bald=bool(beards and rng.random() < 0.18),
        beard=beard,
        freckles=float(rng.random() if rng.random() < 0.25 else 0.0),
        moles=np.stack(
            [rng.uniform(-0.055, 0.055, 3), rng.uniform(-0.10, 0.05, 3), rng.uniform(-0.003, 0.0026, 3)], axis=1
        ),
        waves=np.concatenate([rng.normal(0, 90, (12, 3)), rng.uniform(0, 2 * np.pi, (12, 1))], axis=1),
    )


def main_origin(seed: int, identity: int) -> str:
    """The largest share of origin of the identity with this number, as drawn."""
    return ORIGINS[int(_origin(generator(seed, identity, "person")).argmax())]


def _origin(rng: np.random.Generator) -> Floats:
    return rng.dirichlet([0.6, 0.6, 0.6])


def hairline(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A haircut: forehead, temples, widow's peak and fringe."""
    fringe = rng.uniform(0.012, 0.035) if rng.random() < 0.25 else 0.0
    front, temples, peak = rng.uniform((0.058, 0.0, -0.008), (0.084, 0.03, 0.008))
    return float(front), float(temples), float(peak), float(fringe)


def near_twin(one: Person, stranger: Person, distance: float) -> Person:
    """Somebody ``distance`` of the way from ``one`` (0) to ``stranger`` (1), in everything that is a number."""
    names = [each.name for each in fields(one)]
    return Person(**{name: _between(getattr(one, name), getattr(stranger, name), distance) for name in names})


def _between(a: Any, b: Any, t: float) -> Any:
    if isinstance(a, bool):
        return a if t < 0.5 else b
    if isinstance(a, dict):
        return {name: _between(a[name], b[name], t) for name in a}
    if isinstance(a, tuple):
        return tuple(_between(x, y, t) for x, y in zip(a, b, strict=True))
    return a + (b - a) * t


def years(who: Person) -> float:
    """How old a person is."""
    return float(np.interp(who.phenotype["age"], AGES, YEARS))


def aged(who: Person, old: float) -> Person:
    """The person at the age of ``old`` years: another head, and hair that has turned gray between 45 and 75."""
    gray = max(0.0, _gray(old) - _gray(years(who)))
    phenotype = {**who.phenotype, "age": float(np.interp(old, YEARS, AGES))}
    return replace(who, phenotype=phenotype, hair=who.hair + (HAIR[-1] - who.hair) * gray)


def _gray(old: float) -> float:
    return float(np.clip((old - 45) / 30, 0, 1))


def _along(line: Floats, at: float) -> Floats:
    low = min(int(at), len(line) - 2)
    along: Floats = line[low] + (at - low) * (line[low + 1] - line[low])
    return along
