"""Solid textures: the color and gloss of every seen point of the skin, brows, beard, hair, eyes and clothes.

All are functions of the reference head's coordinates (x left, y back, z up, in meters, origin between the eyes), so no
texture image and no photograph is used. Colors are [3,P], channels first: loops over P points are the fast ones.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from faceloss.data.generated.head import (
    EARS,
    EYE,
    LASH,
    LIDS,
    LIPS,
    MOUTH,
    SKIN,
    TEETH,
    TONGUE,
    Floats,
    Integers,
    Singles,
)
from faceloss.data.generated.people import Person
from faceloss.data.generated.shots import Shot

EYE_X = 0.0313  # of the front pole of the eyeball


def ramp(x: npt.NDArray[np.floating], low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t: Floats = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def over(below: Floats, above: Floats, alpha: Floats) -> Floats:
    """``above`` laid over ``below`` [3,P] where ``alpha`` [P] says so; one color [3] may lie over all."""
    return below + ((above[:, None] if above.ndim == 1 else above) - below) * alpha


def hair_mask(place: Singles, who: Person, how: Shot) -> Floats:
    """1 where hair (or a hat) grows, 0 on the face, from the azimuth around the head and the height.  # [P]

    place:  [3,P] on the reference head
    """
    x, y, z = place
    around = np.abs(np.arctan2(x, -(y - 0.075)))  # 0 in front, pi at the back
    if how.hat is not None:
        return ramp(z, 0.040, 0.046)
    front, temple, peak, fringe = how.hairline
    line = front + temple * ramp(around, 0.25, 0.7) - peak * np.exp(-((x / 0.012) ** 2))
    if fringe:
        line = np.minimum(line, fringe + 0.012 * np.cos(x * 60 + who.curl * 6))
    line = line - (line + 0.01) * ramp(around, 0.95, 1.35) - 0.09 * ramp(around, 1.55, 2.0)
    if who.bald:
        line = np.where(around < 1.7, 1.0, line)
    return ramp(z - line, -0.003, 0.005)


def paint(
    place: Floats, masks: Floats, hairy: Floats, parts: Integers, who: Person, how: Shot, flow: Floats
) -> tuple[Floats, Floats]:
    """Linear albedo [3,P] and gloss [P] of P points.

    place:  [3,P] on the reference head
    masks:  [4,P] lips, eyelids, ears, inside of the mouth
    hairy:  [P] how much hair (or hat) there is
    parts:  [P] SKIN, EYE, ...
    flow:   [12,3] random wave vectors of the strands of hair
    """
    x, y, z = place
    side, front = np.abs(x), ramp(-y, -0.05, -0.01)
    skin = _bare(place, side, front, masks, hairy < 1, who, how)
    skin = _brows_and_beard(skin, z, side, front, masks, who, how)

    strand = np.full(len(x), 0.80)
    if how.hat is None:
        some = np.flatnonzero(hairy)
        strands = flow * (500, 250, 90 + 400 * who.curl)  # strands fall; curls go everywhere
        strand[some] += 0.13 * _waves(place[:, some], np.column_stack([strands, who.waves[:, 3]]), 1.0)
        skin = over(skin, who.hair[:, None] * strand, hairy)
        shine = 0.10 * (1 - hairy) + 0.12 * hairy * strand
    else:
        skin = over(skin, how.hat, hairy)
        shine = 0.10 * (1 - hairy)
    if how.glasses is not None:
        ring = np.abs(np.hypot(np.maximum(side - EYE_X, 0) * 0.9 + np.maximum(EYE_X - side, 0), z * 1.1) - 0.021)
        frame = np.maximum(1 - ramp(ring, 0.0012, 0.0024), (side < 0.012) * (np.abs(z - 0.004) < 0.0015))
        frame = np.maximum(frame, (side > 0.052) * (np.abs(z - 0.002) < 0.0018)) * (y < 0.06)
        skin = over(skin, how.glasses, frame)
    skin = over(skin, how.clothes, 1 - ramp(z + 0.3 * np.minimum(y, 0), -0.175, -0.165))

    color, eyes = skin, parts == EYE
    lash = 0.7 * np.minimum(who.hair * 0.6, 0.2) + 0.3 * who.skin * 0.6
    color[:, eyes] = _eyes(place[:, eyes], who)
    for part, one in ((TEETH, (0.86, 0.82, 0.74)), (TONGUE, (0.62, 0.30, 0.30)), (LASH, lash)):
        color[:, parts == part] = np.asarray(one)[:, None]
    color = over(color, np.array((0.30, 0.10, 0.10)), (parts == SKIN) * masks[MOUTH])
    gloss = np.where(eyes, 0.6, np.where(parts == TEETH, 0.25, shine + 0.10 * masks[LIPS]))
    return np.clip(color, 0, 1) ** 2.2, gloss


def _bare(
    place: Floats, side: Floats, front: Floats, masks: Floats, seen: npt.NDArray[np.bool_], who: Person, how: Shot
) -> Floats:
    """Skin without hair; its uneven tone only where it is ``seen`` [P].  # [3,P]"""
    x, _, z = place
    skin = np.tile((who.skin * np.exp(-0.12 * how.tan * np.array([0.7, 1.0, 1.2])))[:, None], len(x))
    tone = np.zeros(len(x))
    tone[seen] = _waves(place[:, seen], who.waves, 1.0)
    skin *= _darker(-0.022 * tone, (0.6, 1.0, 1.1))
    red = np.exp(-(((side - 0.038) / 0.016) ** 2) - ((z + 0.038) / 0.016) ** 2)
    red += 0.8 * np.exp(-((x / 0.014) ** 2) - ((z + 0.040) / 0.014) ** 2) + 0.6 * masks[EARS]
    skin *= _darker(0.13 * who.ruddy * red * front, (-0.25, 1.0, 0.9))
    under = np.exp(-(((side - 0.030) / 0.013) ** 2) - ((z + 0.016) / 0.006) ** 2)
    skin *= _darker(0.16 * (who.phenotype["age"] - 0.4) * under * front, (1, 1, 1))
    if who.freckles:
        dots = ramp(_waves(place, who.waves, 9.0), 0.9, 1.5) * np.exp(-(((z + 0.03) / 0.025) ** 2)) * front
        skin *= _darker(0.30 * who.freckles * dots, (0.6, 1.0, 1.2))
    for mole_x, mole_z, radius in who.moles:
        if radius > 0.0012:
            near = np.exp(-((x - mole_x) ** 2 + (z - mole_z) ** 2) / (radius**2 + 1e-7)) * front
            skin *= _darker(0.6 * near, (1, 1, 1))
    lips = np.clip(masks[LIPS] * 1.2, 0, 1) * min(1.0, 0.35 + 0.45 * who.lips * how.makeup)
    skin = over(skin, skin * np.array([0.92, 0.58, 0.60])[:, None], lips)
    return over(skin, skin * 0.80, 0.6 * masks[LIDS])


def _brows_and_beard(
    skin: Floats, z: Floats, side: Floats, front: Floats, masks: Floats, who: Person, how: Shot
) -> Floats:
    brow_z, thickness, arch, density = who.brow
    run = (side - 0.011) / 0.038
    middle = brow_z + arch * np.sin(np.clip(run, 0, 1) * 2.2) - 0.004 * np.clip(run - 0.55, 0, 1)
    body = ramp(run, -0.08, 0.12) * (1 - ramp(run, 0.8, 1.05))
    brow = np.exp(-(((z - middle) / (thickness * (1.15 - 0.5 * np.clip(run, 0, 1)))) ** 2)) * body * front
    skin = over(skin, np.minimum(who.hair * 0.75, 0.36), density * brow)

    mustache, jaw = (how.shave * amount for amount in who.beard)
    if not (mustache or jaw):
        return skin
    upper = ramp(z, -0.070, -0.063) * (1 - ramp(z, -0.053, -0.048)) * (1 - ramp(side, 0.022, 0.032))
    lower = 1 - ramp(z + 0.9 * np.maximum(side - 0.03, 0) * -1.0, -0.090, -0.075)
    lower = np.maximum(lower, ramp(side, 0.052, 0.066) * (1 - ramp(z, -0.03, 0.0)) * (1 - front * 0.4))
    beard = np.maximum(mustache * upper * front, jaw * lower) * (1 - masks[LIPS]) * (1 - masks[EARS])
    return over(skin, who.hair * 0.8 + 0.04, 0.85 * beard * (z > -0.14))


def _darker(amount: Floats, channels: Sequence[float]) -> Floats:
    """The factor that takes ``amount`` [P] away from each channel, weighted.  # [3,P]"""
    factor: Floats = 1 - amount * np.asarray(channels)[:, None]
    return factor


def _waves(place: Floats, waves: Floats, scale: float) -> Floats:
    """Smooth random values around 0 with standard deviation 1.  # [P]"""
    phases = (waves[:, :3] * scale) @ place + waves[:, 3:]  # [12,P]
    found: Floats = np.cos(phases, out=phases).sum(axis=0) / np.sqrt(len(waves) / 2)
    return found


def _eyes(place: Floats, who: Person) -> Floats:
    """White, iris and pupil by the distance from the front pole of the eyeball.  # [3,P]"""
    x, y, z = place
    off = np.hypot(np.abs(x) - EYE_X, z - 0.001) + np.where(y > 0, 1.0, 0.0)
    color = np.tile(np.array([0.88, 0.86, 0.84])[:, None], len(x))
    color = over(color, who.iris, 1 - ramp(off, 0.0064, 0.0072))
    return over(color, np.full(3, 0.03), 1 - ramp(off, 0.0024, 0.0031))
