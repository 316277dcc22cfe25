"""Which of the faces found in a picture become crops, and why not."""

import re
from typing import Literal, NamedTuple, get_args

from faceloss.data.photographs.detector import Face
from faceloss.errors import BadInput, unknown

Many = Literal["largest", "central", "all", "drop", "error"]
Missing = Literal["drop", "error"]
MANY, MISSING = get_args(Many), get_args(Missing)


class Selection(NamedTuple):
    """The policy; plain values, so that it can be stored."""

    many: Many = "largest"  # of several faces: the largest, the most central, all, drop the picture, or stop
    none: Missing = "drop"  # no usable face: drop the picture, or stop
    smallest: float = 20.0  # side of a face's box in pixels of the picture, at least
    share: float = 0.05  # ... and at least this share of the shorter side of the picture
    score: float = 0.9  # of the detector, at least
    outside: float = 0.25  # share of a crop outside the picture, at most


def smallest_side(selection: Selection, width: int, height: int) -> float:
    """The side of the smallest face that counts, in pixels of a picture."""
    return max(selection.smallest, selection.share * min(width, height))


def parse_smallest(text: str) -> tuple[float, float]:
    """(pixels, share) of ``40``, ``5%`` or ``40,5%``; what is not named is 20 pixels, and no share.

    >>> parse_smallest("40"), parse_smallest("5%"), parse_smallest("32, 10%")
    ((40.0, 0.0), (20.0, 0.05), (32.0, 0.1))
    """
    pixels, share = 20.0, 0.0
    for part in text.replace(" ", "").split(","):
        if not re.fullmatch(r"\d+(\.\d+)?%?", part):
            raise BadInput(
                f"'{text}' is no size of a face; give pixels (40), a share of the shorter side (5%) or both."
            )
        if part.endswith("%"):
            share = float(part[:-1]) / 100
        else:
            pixels = float(part)
    if not 12 <= pixels <= 10_000 or share > 1:
        raise BadInput(f"Faces of {text} cannot be sought; give at least 12 pixels and at most 100%.")
    return pixels, share


def select(faces: list[Face], selection: Selection, width: int, height: int) -> tuple[list[Face], str]:
    """The faces of a picture to crop, and "" or the reason why there are none.

    ``faces`` are in pixels of the picture of ``width`` x ``height``.
    """
    if not faces:
        return [], "no face found"
    sure = [face for face in faces if face.score >= selection.score]
    if not sure:
        return [], "only doubtful faces"
    large = [face for face in sure if face.side >= smallest_side(selection, width, height)]
    if not large:
        return [], "only small faces"
    if len(large) == 1 or selection.many == "all":
        return large, ""
    if selection.many == "largest":
        return [max(large, key=lambda face: face.side)], ""
    if selection.many == "central":
        return [min(large, key=lambda face: _off_center(face, width, height))], ""
    return [], "several faces"


def _off_center(face: Face, width: int, height: int) -> float:
    left, top, right, bottom = face.box
    return ((left + right - width) / 2) ** 2 + ((top + bottom - height) / 2) ** 2


def policy(many: str, none: str, smallest: str, score: float, outside: float) -> Selection:
    """A selection from words and numbers as people give them.

    Raises:
        BadInput: a word or number that is not possible.
    """
    if many not in MANY:
        raise BadInput(unknown("way to choose among several faces", many, MANY))
    if none not in MISSING:
        raise BadInput(unknown("way to treat photographs without a face", none, MISSING))
    for name, value in (("score of a face", score), ("share of a crop outside the picture", outside)):
        if not 0 <= value <= 1:
            raise BadInput(f"A {name} of {value:g} is not possible; give a number from 0 to 1.")
    pixels, share = parse_smallest(smallest)
    return Selection(many, none, pixels, share, score, outside)  # type: ignore[arg-type]
