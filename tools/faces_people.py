"""Who is drawn and how each picture is taken: random people and random shots, keyed by (seed, identity, image).

Skin, hair and eye colors come from a few overlapping tones, so that many people share almost the same ones, and the
light's color changes from picture to picture: color alone must not tell who someone is.
"""

from dataclasses import dataclass

import numpy as np
from faces_head import Head

from faceloss.data.keys import generator

# sRGB in [0,1]. Skin runs along one line from light to dark; people cluster around five places on it.
SKIN_LINE = np.array(
    [[0.93, 0.76, 0.67], [0.86, 0.65, 0.53], [0.72, 0.51, 0.39], [0.53, 0.36, 0.27], [0.36, 0.23, 0.17]]
)
HAIR = np.array([[0.07, 0.06, 0.06], [0.16, 0.11, 0.08], [0.27, 0.18, 0.12], [0.47, 0.34, 0.20], [0.62, 0.60, 0.58]])
IRIS = np.array([[0.20, 0.12, 0.07], [0.32, 0.21, 0.11], [0.36, 0.38, 0.24], [0.38, 0.50, 0.60]])
SHAPE_SPREAD = 0.38  # standard deviation of a local shape control, whose range is [-1,1]
SHAPE_LIMIT = 0.9
OTHER_HAIRCUT = 0.25  # the share of pictures in which a person wears another haircut
NECK_SHAPES = 0.4  # the neck is hardly seen; a long one only spoils the crop

# Expressions that go together, each drawn with its own strength.
EXPRESSIONS: tuple[tuple[str, ...], ...] = (
    ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft", "cheekSquintRight"),
    ("mouthSmileLeft", "mouthSmileRight", "mouthUpperUpLeft", "mouthUpperUpRight", "eyeSquintLeft", "eyeSquintRight"),
    ("jawOpen",),
    ("jawOpen", "browInnerUp", "eyeWideLeft", "eyeWideRight"),
    ("mouthFrownLeft", "mouthFrownRight", "browDownLeft", "browDownRight"),
    ("browDownLeft", "browDownRight", "noseSneerLeft", "noseSneerRight"),
    ("browOuterUpLeft", "browOuterUpRight", "browInnerUp"),
    ("eyeBlinkLeft", "eyeBlinkRight"),
    ("eyeSquintLeft", "eyeSquintRight"),
    ("mouthPucker",),
    ("mouthFunnel", "jawOpen"),
    ("mouthPressLeft", "mouthPressRight"),
    ("mouthStretchLeft", "mouthStretchRight"),
    ("mouthLeft", "jawLeft"),
    ("mouthRight", "jawRight"),
    ("cheekPuff",),
    ("mouthRollLower", "mouthRollUpper"),
    ("mouthShrugLower", "mouthShrugUpper"),
)


@dataclass(frozen=True)
class Person:
    """What stays the same from picture to picture. Lengths in meters, colors in sRGB."""

    phenotype: dict[str, float]
    shape: dict[str, float]
    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    ruddy: float  # redness of cheeks and nose
    lips: float  # redness of the lips
    brow: tuple[float, float, float, float]  # height, thickness, arch, density
    hairline: tuple[float, float, float, float]  # forehead, temples, widow's peak, fringe
    volume: float  # of the hair
    curl: float  # 0 straight .. 1 curly
    bald: bool
    beard: tuple[float, float]  # mustache and jaw, 0 none .. 1 full
    freckles: float
    moles: np.ndarray  # [M,3]: x, z, radius
    waves: np.ndarray  # [12,4]: wave vectors and phases of the skin's uneven tone


@dataclass(frozen=True)
class Shot:
    """What changes from picture to picture. Angles in radians."""

    yaw: float
    pitch: float
    roll: float
    distance: float  # m
    action: dict[str, float]
    light: np.ndarray  # [3] unit vector towards the key light
    key: np.ndarray  # [3] its color
    fill: np.ndarray  # [3]
    ambient: np.ndarray  # [3]
    shave: float  # scales the beard
    makeup: float  # scales the redness of the lips
    grooming: float  # scales the hair's volume
    hat: np.ndarray | None
    glasses: np.ndarray | None
    hairline: tuple[float, float, float, float]  # the person's own, or that of another haircut
    clothes: np.ndarray
    tan: float  # darker (> 0) or lighter than usual
    jitter: np.ndarray  # [4]: log scale, rotation, shift x, shift y in crop widths


def person(head: Head, seed: int, identity: int) -> Person:
    """The identity with this number."""
    rng = generator(seed, identity, "person")
    origin = rng.dirichlet([0.6, 0.6, 0.6])
    male = rng.random() < 0.5
    gender = float(rng.uniform(0.6, 1.0) if male else rng.uniform(0.0, 0.4))
    age = float(rng.uniform(0.58, 0.95))
    phenotype = {"gender": gender, "age": age, "muscle": float(rng.uniform(0.2, 0.8))}
    phenotype |= {"weight": float(rng.uniform(0.2, 0.9)), "height": 0.5, "proportions": float(rng.uniform(0.3, 0.8))}
    phenotype |= dict(zip(("african", "asian", "caucasian"), map(float, origin), strict=True))

    shape: dict[str, float] = {}
    for name in head.shapes:
        spread = SHAPE_SPREAD * (NECK_SHAPES if name.startswith(("neck", "head-trans", "head-angle")) else 1)
        value = float(np.clip(rng.normal(0, spread), -SHAPE_LIMIT, SHAPE_LIMIT))
        twin = "l" + name[1:]
        if name.startswith("r-") and twin in shape:  # faces are nearly symmetric
            value = 0.85 * shape[twin] + 0.15 * value
        shape[name] = value
    for name in ("head-trans-out", "neck-trans-out", "nose-trans-out", "mouth-trans-out", "head-angle-out"):
        shape[name] = shape.get(name, 0.0) * 0.25

    tone = origin @ (3.3, 1.2, 0.6) + rng.normal(0, 0.45)
    tone = np.clip(round(tone) + rng.normal(0, 0.12), 0, len(SKIN_LINE) - 1)
    dark = rng.choice(len(HAIR), p=[0.34, 0.26, 0.18, 0.12, 0.10] if age < 0.8 else [0.18, 0.16, 0.14, 0.10, 0.42])
    beard = (float(rng.random()), float(rng.random())) if male and rng.random() < 0.4 else (0.0, 0.0)
    return Person(
        phenotype,
        shape,
        skin=_along(SKIN_LINE, float(tone)) * (1 + rng.normal(0, 0.015, 3)),
        hair=np.clip(HAIR[dark] * (1 + rng.normal(0, 0.08)), 0, 1),
        iris=IRIS[rng.choice(len(IRIS), p=[0.45, 0.25, 0.12, 0.18])],
        ruddy=float(rng.uniform(0.0, 1.0)),
        lips=float(rng.uniform(0.2, 1.0)),
        brow=(
            float(rng.uniform(0.017, 0.024)),
            float(rng.uniform(0.0016, 0.0046) * (1.2 if male else 0.85)),
            float(rng.uniform(0.0, 0.009)),
            float(rng.uniform(0.45, 0.95)),
        ),
        hairline=_hairline(rng),
        volume=float(rng.uniform(0.004, 0.024)),
        curl=float(rng.random()),
        bald=bool(male and rng.random() < 0.18),
        beard=beard,
        freckles=float(rng.random() if rng.random() < 0.25 else 0.0),
        moles=np.stack(
            [rng.uniform(-0.055, 0.055, 3), rng.uniform(-0.10, 0.05, 3), rng.uniform(-0.003, 0.0026, 3)], axis=1
        ),
        waves=np.concatenate([rng.normal(0, 90, (12, 3)), rng.uniform(0, 2 * np.pi, (12, 1))], axis=1),
    )


def shot(head: Head, who: Person, seed: int, identity: int, image: int) -> Shot:
    """Picture number ``image`` of ``identity``."""
    rng = generator(seed, identity, "shot", image)
    azimuth, height = rng.uniform(-1.3, 1.3), rng.uniform(-0.2, 1.0)
    light = np.array([np.sin(azimuth) * np.cos(height), -np.cos(azimuth) * np.cos(height), np.sin(height)])
    strength = rng.uniform(0.45, 1.25)
    return Shot(
        yaw=float(np.clip(rng.normal(0, 0.24), -0.61, 0.61)),
        pitch=float(np.clip(rng.normal(0, 0.11), -0.27, 0.27)),
        roll=float(rng.normal(0, 0.05)),
        distance=float(rng.uniform(0.6, 1.6)),
        action=_expression(rng),
        light=light,
        key=strength * _tint(rng, 0.12),
        fill=rng.uniform(0.0, 0.35) * _tint(rng, 0.10),
        ambient=rng.uniform(0.28, 0.6) * _tint(rng, 0.10),
        shave=float(rng.uniform(0.35, 1.0)),
        makeup=float(rng.uniform(0.5, 2.2) if who.phenotype["gender"] < 0.5 else rng.uniform(0.6, 1.2)),
        grooming=float(rng.uniform(0.6, 1.5)),
        hat=_muted(rng) if rng.random() < 0.08 else None,
        glasses=rng.uniform(0.02, 0.35) * np.ones(3) + rng.uniform(0, 0.1, 3) if rng.random() < 0.08 else None,
        hairline=_hairline(rng) if rng.random() < OTHER_HAIRCUT else who.hairline,
        clothes=_muted(rng),
        tan=float(rng.normal(0, 0.25)),
        jitter=rng.normal(0, [0.03, 0.03, 0.014, 0.014]),
    )


def _hairline(rng: np.random.Generator) -> tuple[float, float, float, float]:
    fringe = rng.uniform(0.012, 0.035) if rng.random() < 0.25 else 0.0
    front, temples, peak = rng.uniform((0.058, 0.0, -0.008), (0.084, 0.03, 0.008))
    return float(front), float(temples), float(peak), float(fringe)


def _expression(rng: np.random.Generator) -> dict[str, float]:
    """Up to two expressions at once, slightly lopsided, and a gaze."""
    action: dict[str, float] = {}
    for which in rng.choice(len(EXPRESSIONS), size=rng.integers(0, 3), replace=False):
        strength = rng.uniform(0.1, 0.75)
        for name in EXPRESSIONS[which]:
            action[name] = float(np.clip(max(action.get(name, 0), strength * rng.uniform(0.75, 1.1)), 0, 0.9))
    side, up = rng.normal(0, 0.4), rng.normal(0, 0.3)
    left, right = ("eyeLookOutLeft", "eyeLookInRight") if side > 0 else ("eyeLookInLeft", "eyeLookOutRight")
    action |= {left: float(min(abs(side), 1)), right: float(min(abs(side), 1))}
    action |= {f"eyeLook{'Up' if up > 0 else 'Down'}{eye}": float(min(abs(up), 0.8)) for eye in ("Left", "Right")}
    return action


def _tint(rng: np.random.Generator, spread: float) -> np.ndarray:
    """A light's color between warm and cool, with mean 1."""
    warm, green = rng.normal(0, spread), rng.normal(0, spread / 3)
    color = np.array([1 + warm, 1 + green, 1 - warm])
    return color / color.mean()


def _muted(rng: np.random.Generator) -> np.ndarray:
    """The color of cloth: any hue, little saturation."""
    color = rng.uniform(0.03, 0.75, 3)
    return color.mean() + (color - color.mean()) * rng.uniform(0.1, 0.7)


def _along(line: np.ndarray, at: float) -> np.ndarray:
    low = min(int(at), len(line) - 2)
    return line[low] + (at - low) * (line[low + 1] - line[low])
