"""How each picture is taken: random shots, keyed by (seed, identity, image).

The numbers of a shot are drawn one after the other, as many whatever the controls say; so a control changes its own
numbers only. What a raised rate adds (a hat, glasses) has a key of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from faceloss.data.generated.controls import Look
from faceloss.data.generated.head import Floats
from faceloss.data.generated.people import OLDEST, YOUNGEST, Person, hairline, years
from faceloss.data.keys import generator

OTHER_HAIRCUT = 0.25  # the share of pictures in which a person wears another haircut
BUILT_IN = Look()
Drawn = TypeVar("Drawn")

# Expressions that go together, each drawn with its own strength.
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "smile": ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight"),
    "grin": (
        *("mouthSmileLeft", "mouthSmileRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
        *("eyeSquintLeft", "eyeSquintRight"),
    ),
    "open mouth": ("jawOpen",),
    "surprise": ("jawOpen", "browInnerUp", "eyeWideLeft", "eyeWideRight"),
    "frown": ("mouthFrownLeft", "mouthFrownRight", "browDownLeft", "browDownRight"),
    "sneer": ("browDownLeft", "browDownRight", "noseSneerLeft", "noseSneerRight"),
    "raised brows": ("browOuterUpLeft", "browOuterUpRight", "browInnerUp"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "squint": ("eyeSquintLeft", "eyeSquintRight"),
    "pucker": ("mouthPucker",),
    "funnel": ("mouthFunnel", "jawOpen"),
    "pressed lips": ("mouthPressLeft", "mouthPressRight"),
    "stretched mouth": ("mouthStretchLeft", "mouthStretchRight"),
    "mouth to the left": ("mouthLeft", "jawLeft"),
    "mouth to the right": ("mouthRight", "jawRight"),
    "puffed cheeks": ("cheekPuff",),
    "rolled lips": ("mouthRollLower", "mouthRollUpper"),
    "shrug": ("mouthShrugLower", "mouthShrugUpper"),
}
STRONGEST = 0.9  # part of an expression


@dataclass(frozen=True)
class Shot:
    """What changes from picture to picture. Angles in radians."""

    yaw: float
    pitch: float
    roll: float
    distance: float  # m
    expression: tuple[tuple[str, float], ...]  # name and strength
    action: dict[str, float]
    light: Floats  # [3] unit vector towards the key light
    light_angles: tuple[float, float]  # to the side and up
    key: Floats  # [3] its color
    fill: Floats  # [3]
    ambient: Floats  # [3]
    shave: float  # scales the beard
    makeup: float  # scales the redness of the lips
    grooming: float  # scales the hair's volume
    hat: Floats | None
    glasses: Floats | None
    hairline: tuple[float, float, float, float]  # the person's own, or that of another haircut
    clothes: Floats
    tan: float  # darker (> 0) or lighter than usual
    jitter: Floats  # [4]: log scale, rotation, shift x, shift y in crop widths
    years: float  # how old the person is here


def shot(who: Person, seed: int, identity: int, image: int, look: Look = BUILT_IN) -> Shot:
    """Picture number ``image`` of ``identity``."""
    rng = generator(seed, identity, "shot", image)
    azimuth, height = rng.uniform(-look.light_side, look.light_side), rng.uniform(-0.2, 1.0)
    light = np.array([np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height)])
    strength = rng.uniform(*look.light)
    yaw = float(np.clip(rng.normal(0, look.yaw[0]), -look.yaw[1], look.yaw[1]))
    pitch = float(np.clip(rng.normal(0, look.pitch[0]), -look.pitch[1], look.pitch[1]))
    roll, distance = float(rng.normal(0, 0.05)), float(rng.uniform(0.6, 1.6))
    expression, action = _expression(rng, look)
    return Shot(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        distance=distance,
        expression=expression,
        action=action,
        light=light,
        light_angles=(float(azimuth), float(height)),
        key=strength * _tint(rng, 0.12),
        fill=rng.uniform(0.0, 0.35) * _tint(rng, 0.10),
        ambient=rng.uniform(*look.ambient) * _tint(rng, 0.10),
        shave=float(rng.uniform(0.35, 1.0)),
        makeup=float(rng.uniform(0.5, 2.2) if who.phenotype["gender"] < 0.5 else rng.uniform(0.6, 1.2)),
        grooming=float(rng.uniform(0.6, 1.5)),
        hat=sometimes(rng, _muted, BUILT_IN.hats, look.hats, seed, identity, "hat", image),
        glasses=sometimes(rng, _frame, BUILT_IN.glasses, look.glasses, seed, identity, "glasses", image),
        hairline=hairline(rng) if rng.random() < OTHER_HAIRCUT else who.hairline,
        clothes=_muted(rng),
        tan=float(rng.normal(0, 0.25)),
        jitter=rng.normal(0, [0.03, 0.03, 0.014, 0.014]),
        years=_years(who, seed, identity, image, look.age_gap),
    )


def sometimes(
    rng: np.random.Generator,
    draw: Callable[[np.random.Generator], Drawn],
    usual: float,
    rate: float,
    *key: int | str,
) -> Drawn | None:
    """``draw`` in a share ``rate`` of cases, else None; takes the same numbers from ``rng`` as at the ``usual`` rate.

    Of two rates the higher one has all cases of the lower one, drawn alike.
    """
    chance = rng.random()
    here = draw(rng) if chance < usual else None
    if chance >= rate:
        return None
    return draw(generator(*key)) if here is None else here


def _years(who: Person, seed: int, identity: int, image: int, gap: float) -> float:
    """Uniform over ``gap`` years around the person's age, moved so that all of them are possible."""
    if not gap:
        return years(who)
    middle = np.clip(years(who), YOUNGEST + gap / 2, OLDEST - gap / 2)
    return float(middle + gap * (generator(seed, identity, "age", image).random() - 0.5))


def _expression(rng: np.random.Generator, look: Look) -> tuple[tuple[tuple[str, float], ...], dict[str, float]]:
    """Up to two expressions at once, slightly lopsided, and a gaze."""
    names, most = tuple(EXPRESSIONS), max(STRONGEST, look.expression[1])
    chosen: list[tuple[str, float]] = []
    action: dict[str, float] = {}
    for which in rng.choice(len(names), size=rng.integers(0, 3), replace=False):
        strength = float(rng.uniform(*look.expression))
        chosen.append((names[which], strength))
        for name in EXPRESSIONS[names[which]]:
            action[name] = float(np.clip(max(action.get(name, 0), strength * rng.uniform(0.75, 1.1)), 0, most))
    side, up = rng.normal(0, 0.4), rng.normal(0, 0.3)
    left, right = ("eyeLookOutLeft", "eyeLookInRight") if side > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    action |= {left: float(min(abs(side), 1)), right: float(min(abs(side), 1))}
    action |= {f"eyeLook{'Up' if up > 0 else 'Down'}{eye}": float(min(abs(up), 0.8)) for eye in ("Left", "Right")}
    return tuple(chosen), action


def _tint(rng: np.random.Generator, spread: float) -> Floats:
    """A light's color between warm and cool, with mean 1."""
    warm, green = rng.normal(0, spread), rng.normal(0, spread / 3)
    color = np.array([1 + warm, 1 + green, 1 - warm])
    tint: Floats = color / color.mean()
    return tint


def _muted(rng: np.random.Generator) -> Floats:
    """The color of cloth: any hue, little saturation."""
    color = rng.uniform(0.03, 0.75, 3)
    muted: Floats = color.mean() + (color - color.mean()) * rng.uniform(0.1, 0.7)
    return muted


def _frame(rng: np.random.Generator) -> Floats:
    """The color of the frame of glasses."""
    return rng.uniform(0.02, 0.35) * np.ones(3) + rng.uniform(0, 0.1, 3)
