"""The preprocessing contract of a folder of crops: what a network must be fed with to see what it saw in training.

The most frequent silent fault of real face systems is another color order, alignment or scaling at use than in
training. ``contract.json`` beside the crops says it all in plain JSON; `read_contract` gives it back, checked.
"""

import json
from pathlib import Path
from typing import Any

from faceloss.data.decode import PREPROCESSING
from faceloss.data.photographs.align import INTERPOLATION, TEMPLATE, TEMPLATE_VERSION, template
from faceloss.errors import BadInput

NAME = "contract.json"
VERSION = 1


def contract(size: str, image: str, detector: dict[str, Any], selection: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides about the pixels and the choice of crops; equal contracts, equal crops."""
    height, width, landmarks = template(size)
    return {
        "contract": VERSION,
        "size": {"height": height, "width": width},
        "channels": "RGB",
        "template": {
            "name": TEMPLATE,
            "version": TEMPLATE_VERSION,
            "landmarks": [[round(float(x), 4) for x in point] for point in landmarks],
            "order": "left eye, right eye, nose, left and right corner of the mouth, as seen in the picture",
            "coordinates": "x, y; (0, 0) is the center of the top left pixel",
        },
        "transform": "similarity without mirroring, least squares over the five landmarks",
        "interpolation": INTERPOLATION,
        "outside": "black",
        "decoding": PREPROCESSING.rsplit(", ", 2)[0],  # without the last two steps, which make crops
        "image": image,
        "normalization": {"mean": 127.5, "std": 127.5, "formula": "(value - mean) / std"},
        "flip": "crops are as in the picture; embeddings of a crop and of its mirror image may be added",
        "detector": detector,
        "selection": selection,
    }


def read_contract(folder: Path) -> dict[str, Any] | None:
    """The contract of a folder of crops; None if it has none.

    Raises:
        BadInput: a contract that cannot be read, of another version, or without a part that decides about pixels.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as a preprocessing contract ({error}).") from None
    if not isinstance(found, dict) or found.get("contract") != VERSION:
        raise BadInput(f"{path} is no preprocessing contract of version {VERSION}; prepare the photographs anew.")
    needed = ("size", "channels", "template", "transform", "interpolation", "outside", "normalization", "flip")
    missing = [name for name in needed if name not in found]
    if missing:
        raise BadInput(f"{path} does not say {', '.join(missing)}; prepare the photographs anew.")
    return found
