"""The way of a picture into a network, walked with a known one: does every number come out as it always did?

A built-in face, enlarged to be a photograph, goes through all that a photograph goes through: it is decoded, aligned by
five landmarks, cropped, written as PNG, decoded again at the size of a network and made a tensor. Averaged down to
32 x 32, it must be what was written down here when the way was right. What differs is named: channels, mirrored,
scaling, place, template. That each of these faults would be noticed, and by its name, is part of the test.
"""

import base64
import io
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from faceloss.data.appearance import SIDE, Image32, compare, smaller
from faceloss.data.decode import decode, picture
from faceloss.data.load import open_named
from faceloss.data.photographs.align import similarity, template, warp
from faceloss.train.loop import to_input

TOLERANCE = 1.5
"""Levels that a place may be off: half a one is rounding, and decoders of JPEG differ by less than a level."""

SIZE = 64  # of the input
_ENLARGED = 4
_LANDMARKS = np.array([[20.0, 28.9], [45.4, 29.3], [33.6, 45.0], [24.3, 50.3], [40.7, 50.7]])

Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # of the landmarks in the crop
Change = Callable[[Tensor], Tensor]  # of the input


class Checked(NamedTuple):
    """How the way went."""

    off: float  # levels, of the place that is most off
    fault: str  # what is wrong; "" where nothing is
    noticed: dict[str, float]  # each known fault, and by how many levels it would show


def self_test() -> Checked:
    """Walk the way, name what is wrong with it, and see that no known fault would go unnoticed."""
    seen = walk()
    off = float(np.abs(seen - _reference()).max())
    noticed, blind = {}, []
    for name, fault in FAULTS.items():
        faulty = walk(fault)
        noticed[name] = float(np.abs(faulty - _reference()).max())
        if off <= TOLERANCE and (noticed[name] <= 3 * TOLERANCE or not named(faulty).startswith(fault.told)):
            blind.append(name)
    if off > TOLERANCE:
        return Checked(off, named(seen), noticed)
    return Checked(off, f"the self-test is blind to: {', '.join(blind)}" if blind else "", noticed)


def walk(fault: "Fault | None" = None) -> Image32:
    """What comes out, as levels [32,32,3], with a ``fault`` planted or without."""
    fault = fault or Fault("")
    found = picture(_file()).image
    photograph = found.resize((_ENLARGED * found.width, _ENLARGED * found.height), Image.Resampling.BICUBIC)
    height, width, target = template("112")
    matrix = similarity((_LANDMARKS + 0.5) * _ENLARGED - 0.5, fault.move(target))
    file = io.BytesIO()
    warp(photograph, matrix, (height, width)).save(file, "PNG")
    images = fault.change(to_input(decode(file.getvalue(), SIZE)[None], torch.device("cpu")))
    levels = images[0].permute(1, 2, 0).double().numpy() * 127.5 + 127.5  # [64,64,3]
    return smaller(levels)


def named(seen: Image32) -> str:
    """The fault that tells ``seen`` from what should have come out."""
    there = _reference()
    d, mirrored = compare(seen[None], there), compare(seen[None, :, ::-1], there)
    if not (0.8 < d.contrast < 1.25 and abs(d.brighter) < 20):
        return f"scaled otherwise: {d.contrast:.3g} times the contrast, {d.brighter:+.0f} levels"
    if mirrored.correlation > max(d.correlation, 0.99):
        return "mirrored"
    if d.red.value * d.red_there < 0:
        return "channels swapped"
    if d.correlation < 0.99:
        return "another picture: the numbers are others than they were, for no reason that this test knows"
    away = max(abs(d.right.value), abs(d.down.value))
    if away > 2 or abs(d.larger.value) > 0.01 or abs(d.turned.value) > 0.5:
        return (
            f"aligned to another template: {d.right.value:+.1f} pixels to the right, {d.down.value:+.1f} down in a "
            f"crop of 112, {1 + d.larger.value:.2f} times as large, turned by {d.turned.value:+.1f} degrees"
        )
    if away > 0.15:
        return f"shifted by {d.right.value:+.1f} pixels to the right and {d.down.value:+.1f} down in a crop of 112"
    return "other numbers: interpolation or decoding changed"


class Fault(NamedTuple):
    """A fault to plant: ``move`` the landmarks in the crop, ``change`` the input, and how `named` begins then."""

    told: str
    move: Move = lambda landmarks: landmarks
    change: Change = lambda images: images


HALF = np.array([0.5, 0.5])
FAULTS = {
    "swapped channels": Fault("channels swapped", change=lambda images: images.flip(1)),
    "a mirrored crop": Fault("mirrored", change=lambda images: images.flip(3)),
    "half a pixel to the right": Fault("shifted by +0.", move=lambda at: at + HALF * [1, 0]),
    "half a pixel up and to the left": Fault("shifted by -0.", move=lambda at: at - HALF),
    "values in 0..1": Fault("scaled otherwise: 0.", change=lambda images: (images + 1) / 2),
    "values in 0..255": Fault("scaled otherwise: 1", change=lambda images: images * 127.5 + 127.5),
    "the template of 112 x 96": Fault("aligned to another template: -8", move=lambda at: at - HALF * [16, 0]),
    "a template a tenth smaller": Fault("aligned to another template: ", move=lambda at: (at - 56) * 0.9 + 56),
}


@cache
def _file() -> bytes:
    return open_named("builtin").entries[0].read()


def _reference() -> Image32:
    return np.frombuffer(base64.b64decode(REFERENCE), np.uint8).reshape(SIDE, SIDE, 3).astype(np.float64)


REFERENCE = """
AAAAAAAAAAAAAAAAAAAAAQAAAQAAAQAAAAAAAQEAAQEBAQEAAQAAAQEAAQEBAQAAAAAAAAAAAAAAAAAADAkFDQoGDQsGDQoFCgYDDAgHBQMGAgIIAQIJ
AAIIAAACAAAALCURMyoWMygTNysVPjEcTj8jUUQrT0QsT0UuVk43cGlSYVtFV046aVpIbl1NUkMuRzkiSjskTD0kSzohW0cpYUstYkwrYk0mXD8jWj43
Lh0yEhE7CRBFBA1BAgUSAAAAWkwqVEUjV0QgXUkkYk4sWEcoXU4yYlY8ZltCcWhQe3RbcWpSZ11Gb19LbFpGVUQtUEAnX082WEcrUj4jWkYoVUAjVEAf
U0AYZUssVjkvMyExEhE4CxFDBg1CAgQSAAAAU0YkVkclZlMwZ1QwX0spZFM0YVI2X1I5cGVOeW9YaWFKfXVccWdOaVpDX003YlE4X081ZlY8VkUpWUUq
WkgqV0IlVUEhUT4VVj0bVDgoOykyGBU3Cg5ACAtDAwMTAAAASz4eV0gnY1AuYU0rW0cnZlQ3aFg/ZVdBbWFNcmhSYVlCfndfcmhPZVY/YVA4c2JJa1tB
YlI4VUQoXUovV0QmWUQoVkIjWkggVDsVTTMaRzY1IB03DRA8DA1DBAQTAAAAQDMVUkMjYE0tZFAvWUUmWEYqXk41aFlEYVVCXlVBY1tFc2xUc2lPaVtB
b15EdmZMYFA2V0YsVkYqX0swVUIkWkQnV0MlW0knWkEdTTMWSTgvJCAwEhM3ERBABwYYAAAAQzUYUEEjYE0uYUwtYk0vXEovWEcvYlRAVUk4XFJAZV1I
ZF1EdWtRcGFHdmVLaFg/WEguU0MpWUgtV0MpUj8hVkEkVEAjTz4jVTwbWT4gQTAgKCMpFhYyFRE5DgojAAAATT8kUEEjUz8hVUAiW0YpW0kvWEgxW006
VEc3a2FPZl5JYVpCdGtPd2pNcF9CVUUrVkYsWEguWUgsUT0iVUIlUTwfUDwhRzQgUjkcXUMiRTQeKSQjFhUqHBg5DQkfAAAASTsgTT4hTDocX0wtXkot
VUMpW0szXU46XVE/eW9bXVQ+X1Q9a19GcmRKW0wxTz8mYFE4Xk81VEQpTz4iWkgqSjgZUT0gSTMdSzMaUDoeRzgjKyQeHBgjHxsxEA0cAAAASTseUkMk
RjYXW0svZFQ4VUUrWUkvZ1g/b2JIcWNKVkcwUUMrYFA5WUgzSzsmSjokXU42XU00UUEmWEcrXUstSzkaVUMjVT0gTDYaPy0URzknMCcfIRsgIBsrExEc
AAAAQDMcSjkbTz0fVUMnWUgsYVA3ZFI4blxEbFtAUkEnUD4kSzgeWkYtVD8nUzwlVkEpWkctXUovW0cqYEwuXkoqV0MjXkopWEQhUD0dQzMYRDclMCUf
IhggIhkqFQ8cAAAAQjMdRzMWXEgqTDgdVUAlaFM7aFM7ZlI6ZlE2V0InaFA1clg+fGBHgmVNimxSgmhNcVg6aVEzX0goYkorXUYmYEoqXUgnWEUfUkEf
TDwhPy4eLx0ZKBYeKRgpGA0ZAAAATTwmW0YpVD4iSTMYTzofXEUtYEoyYks0aFA3eGFIiG5UooVrpYZsspJ2uJZ6uJl8pIdpi29Rclc6Y0oqYUcoYEgo
VkEhV0QfVUMhUT0lPygcNRwbMhYeNRgmHw4XAAAAV0QwiXFVemFFX0YtVz4lXkUuYUgwaFA6bVpCfGlRkXphm4For5J4tJV6wqCExaWIuJl8oIJkiGxP
a1IzYEorWkQnVUAiV0MhUj0gUDYkSiwkQR0ePRUdQBYfJgwTAAAAZFA7l3xioIVqnIJom4BnoodwnoNsaFE8bmJOXVA6Tj4ndGBIkHdetJl+xqmNzK2Q
w6SHr5F1l31hb1g8VUEmUD0jUkEnUDoeTTQcVzcqTigjRxocTx0iUx0iLw8RAAAAemVRpIhttpl/v6KKxqmRw6WQx6mUm4Rve3RhZl5LVUs2gHFZnIlv
xrGWz7ab1LicyqyRsZZ7mYBlbFY8TjsiSTYfRjUdbFM8j3FedFBGTyMhVCIkVx8hXSIiNxUTAAAAjXhjrJJ2uZ+DwaeKya+UzLKYz7eczbidt6mQppiA
opJ5rZuAxrOY0Lue1b+j2cCi2LqdxKeKtph8sZJ2lnZbhWZLi2xSoYRppodweVZGTSccVSkiVyUgWiQeNhURAAAAj3xlr5d4tp6Av6eJybGTy7WWzrmZ
0LqbzbaaybCUxq2RzLOX07qe0bmd1Lug2b+h2ryey6yPupp9vp2Av5yAu5d7t5R4sZB0r4xzfltHTCgYTSMZUSEYUiAVMRMMAAAAkHtlsZZ5s5d6v6OG
yKyPy7CSz7SX0bWZ0bWa0rWb1bie17ug07abzK+V0LOZ1beb1bea0LCUupl8upd7wZ+DwZ2CwJuAwZt9tZJ1fl1FRyYTQiAPRSAQRhwMKxIIAAAAk31n
sZJ3tJZ5uJp9wqKHx6aKzKuQz62S0bCXz66V17ad2Leezq2Uzq2U1bSb1raa17ea3LqexaKGtpN3wZ2Bwp2Bwp2Bwpt7sY5wdFg8NyEINyMMOiUNOSAI
JBQGAAAAcltGn4Flr5B0tZR4wZ6Dx6OJyaSLyqWLyaeOzqyT0a+WzqyTuph/vpyDzqyS27me2Laa1rSYxKGFqYVpuJN3wpqAw5qAuJFyo4RlXEkqMCgL
Ly4RMC8RMy8RJSIMAAAAY044lntfq45ysJF1vJuAwp6Ewp2DxZ+GxqSLyKaNy6mRzq2TvJuCqolwtJN60q6U2LWZz6yQsYxxon1itIxyvpZ8vJJ4rIts
i3ZWPDYUJC8NIzYUKD0aLUAcKzoaAAAAZlU9n4dorZN1q49yuJh8v5yCwZyCwp2DwaKIw6WLyKqQzK2U0LKY0rSavqCGt5d7yaeLvZl9o35kqYJntY5z
wpl/upF4pYprcGREKS8NHTUTHUEdJEomK1AqKEglAAAAVUYunYhprpd4rJJ0tJV5vp6CwJ2DvJp/vKKGw6mMyK2RyK2Sy66Tz7KYzrCWvJuAq4lsqYVp
p31krYJquIxzv5R7sIhumYRlWFY1KDwWHkUcGEsgHVUoJFksI1AnAAEATkAol4NiqpJzrZB1tJV5t5l9up2AuqF/uqV/wKmEvqSCt5l6u5l+yKGJyqCK
yKCItY51qX1nqHZioG5ar4Fqt491qolrhXtcS1UyMlIoJFooHF0oG2ApHl8qHVQlAAEALSUYjnhYq5FzrZF0s5R4tpl6t5t9tp59uZ59u519w6OFsotv
pHhfp3VenWdSoGZSn2FOmV9LlWFLmGxTqoVprI9wmoJicm9NTVw2QGQ3NGk2I2YvH2UsHWEqG1clAAEAIhoPe2VKoYdtrI9zsJF1s5V4tZl7tZx9vZ+E
yaiNz6qQz6OLwY93u4VtvoNsxYFux3trtHNeom5Uonpcqotro4tqkHlaZmlFSmE3RGk6Nmw3J2gxH2UrG2MpGVsmAAEAGBAHXEUtlHlhp4puqYptr5Jz
tJl7t55/wKaNxKiQyaqRzaiOyZ+GtYdspnVarHVcrW1Yn2dNo3ZXqodjqYloooRmi21SVlw4PlowO2I0MWQyKWUxH2MsHGQsFlglAAEAGxIMRi4chWpU
qYxwpIZnrI5tsJR1t56BuaSKvqqQwauQxauPxKmLw6WHuJh6q4lsrIZrrohqr4tprIhmpIJimHtheWBLRlAwNFIqMVUrKlYpJVorGVglF10pFFcmAAEA
HhURSDAjdltIspV5n4Fhn4Fgp4xtrJJ2s52AvaiLwq6PxLGTx7SWybaYzLmcyLeawa6Pu6CCtZFxrIVlnH5hf3FYVVlBOlAyME4rLUsoJ0snIk4oHlYr
GVstElMoAAEAHxUTSjEphGhYtJd9rY9vknVTjHFTnYRorpJ1waSGyK2PybGVzrmc2Mar18arzLyiybiexaeLvpJ3roJni3VXVmBDMFU2LlEyK0oqKkco
KEcnJkwqIlcwGFgtElMqAAAAGBAPOygieGNXjHdijHZdhm9WbVhBZlI+gGZQVUU4UUQ4UkY7VUtAVU1DVU1DUkxBUUk+UUM4SzctQi8kMSkdGiEVECQX
EyMWBgsGBgkFBgoFBQoGBAsGAwsFAgsFAAAA
"""
