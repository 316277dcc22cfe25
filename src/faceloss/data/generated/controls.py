"""What can be turned: how pictures look, and who is in the set how often under which label.

The defaults are those of the built-in faces. Angles in radians, lengths in meters unless said otherwise.
"""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from faceloss.data.generated.head import ORIGINS
from faceloss.errors import BadInput

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How the pictures of a person differ."""

    yaw: Range = (0.24, 0.61)  # standard deviation and largest, to the side
    pitch: Range = (0.11, 0.27)  # the same, up and down
    light_side: float = 1.3  # the key light comes from up to this far to the side
    light: Range = (0.45, 1.25)  # its strength
    ambient: Range = (0.28, 0.6)  # strength of the light from everywhere
    expression: Range = (0.1, 0.75)  # strength of up to two expressions; 0 is a neutral face, 1 what the model can do
    age_gap: float = 0.0  # years between the youngest and the oldest picture of a person, at most
    occlusion: float = 0.08  # share of pictures with something in front of the face
    hats: float = 0.08  # share of pictures with a hat
    glasses: float = 0.08  # share of pictures with glasses
    noise: Range = (0.5, 5.0)  # standard deviation in gray levels of 255
    blur: Range = (0.0, 0.75)  # standard deviation in pixels

    def __post_init__(self) -> None:
        _ordered("yaw", "a standard deviation and the largest angle", self.yaw, 0, 1.2)
        _ordered("pitch", "a standard deviation and the largest angle", self.pitch, 0, 0.8)
        _within("light_side", self.light_side, 0, 3.1)
        _ordered("light", "least and most", self.light, 0, 5)
        _ordered("ambient", "least and most", self.ambient, 0, 3)
        _ordered("expression", "least and most", self.expression, 0, 1)
        _within("age_gap", self.age_gap, 0, 60, "years")
        for name in ("occlusion", "hats", "glasses"):
            _within(name, getattr(self, name), 0, 1)
        _ordered("noise", "least and most", self.noise, 0, 100)
        _ordered("blur", "least and most", self.blur, 0, 10)


@dataclass(frozen=True)
class Cast:
    """Who is in the set, how often, and under which label."""

    groups: dict[str, float] = field(default_factory=dict)  # share of identities by main origin; none: as drawn
    group_images: dict[str, float] = field(default_factory=dict)  # images of a group's identities, as a factor
    imbalance: float = 1.0  # the identity with the most images has this many times those of the one with the fewest
    tail: float = 0.0  # exponent a of a long tail: the identity of rank r has r^-a times the images of the first
    least: int = 1  # images that each identity has at least
    twins: float = 0.0  # share of identities that come as pairs of near-twins
    twin_distance: float = 0.25  # 0 the same head .. 1 somebody unrelated
    flip: float = 0.0  # share of images under the label of somebody else of the set
    outlier: float = 0.0  # share of images of somebody who is nobody of the set

    def __post_init__(self) -> None:
        for what, given in (("groups", self.groups), ("group_images", self.group_images)):
            for name, value in given.items():
                if name not in ORIGINS:
                    raise BadInput(f"{_option(what)} names '{name}'; the origins are {', '.join(ORIGINS)}.")
                _within(f"{what} {name}", value, 0, 1e6)
            if given and not sum(given.values()) > 0:
                raise BadInput(f"{_option(what)} gives every origin 0; give at least one of them more.")
        _within("imbalance", self.imbalance, 1, 1e6)
        _within("tail", self.tail, 0, 10)
        if self.imbalance > 1 and self.tail > 0:
            raise BadInput("--imbalance and --tail both say how images fall off; give one of them.")
        _within("least", self.least, 1, 1e6)
        _within("twins", self.twins, 0, 1)
        _within("twin_distance", self.twin_distance, 0, 1)
        _within("flip", self.flip, 0, 1)
        _within("outlier", self.outlier, 0, 1)
        if self.flip + self.outlier > 1:
            raise BadInput(
                f"--label-noise flip={self.flip:g},outlier={self.outlier:g} are shares of all images and together more "
                "than 1; give less."
            )


def plain(controls: Look | Cast) -> dict[str, Any]:
    """The settings as JSON has them."""
    found = {each.name: getattr(controls, each.name) for each in fields(controls)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def parse_range(option: str, text: str) -> Range:
    """``LOW:HIGH``, or one number for both.

    >>> parse_range("--noise", "0.5:5"), parse_range("--noise", "3")
    ((0.5, 5.0), (3.0, 3.0))
    """
    parts = text.split(":")
    try:
        low, high = float(parts[0]), float(parts[-1])
    except ValueError:
        low = high = math.nan
    if len(parts) > 2 or math.isnan(low) or math.isnan(high):
        raise BadInput(f"{option} was given '{text}'; it takes a number, or two as in 0.2:0.6.")
    return low, high


def parse_shares(option: str, text: str, allowed: tuple[str, ...]) -> dict[str, float]:
    """``NAME=NUMBER,NAME=NUMBER``.

    >>> parse_shares("--label-noise", "flip=0.1,outlier=0.05", ("flip", "outlier"))
    {'flip': 0.1, 'outlier': 0.05}
    """
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if name not in allowed or name in found or math.isnan(value):
            example = ",".join(f"{each}=0.1" for each in allowed[:2])
            raise BadInput(f"{option} was given '{part}'; it takes {', '.join(allowed)}, each once, as in {example}.")
        found[name] = value
    return found


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _within(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        unit = f" {unit}" if unit else ""
        raise BadInput(f"{_option(name)} {value:g} is not possible; give {low:g} to {high:g}{unit}.")


def _ordered(name: str, what: str, value: Range, low: float, high: float) -> None:
    if not low <= value[0] <= value[1] <= high:
        raise BadInput(
            f"{_option(name)} {value[0]:g}:{value[1]:g} is not possible; give {what} from {low:g} to {high:g}, the "
            "smaller one first."
        )
