"""The preprocessing contract of crops that `prepare` makes; see `faceloss.data.contract`."""

from typing import Any

from faceloss.data.contract import VERSION
from faceloss.data.decode import PREPROCESSING
from faceloss.data.photographs.align import INTERPOLATION, TEMPLATE, TEMPLATE_VERSION, template


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
