"""What a face detector is to this room, and which ones there are.

    detector.detect(pictures, smallest) -> for each picture its faces, best score first

Coordinates are pixels of the picture, counted as OpenCV and most of the field do: (0, 0) is the center of the top left
pixel. "Left" and "right" are as seen in the picture. Adding a detector takes one file with such a ``detect`` and a
line in `open_detector`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from faceloss.errors import BadInput


class Face(NamedTuple):
    """One face in a picture."""

    box: tuple[float, float, float, float]  # left, top, right, bottom
    landmarks: npt.NDArray[np.float64]  # [5,2]: left eye, right eye, nose, left and right corner of the mouth
    score: float  # 0..1

    @property
    def side(self) -> float:
        """The size of a face: the geometric mean of width and height of its box."""
        left, top, right, bottom = self.box
        return float(np.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0)))


class Detector(Protocol):
    """Finds faces in several pictures at once."""

    def detect(self, pictures: Sequence[Image.Image], smallest: Sequence[float]) -> list[list[Face]]:
        """Faces of RGB pictures; ``smallest`` [len(pictures)] is the side of the smallest face sought, in pixels."""
        ...


class Chosen(NamedTuple):
    """A detector as data: what another process needs to open it, and what the ledger says of it."""

    name: str  # "mtcnn" or "yunet"
    models: dict[str, bytes]  # ONNX models by name
    facts: dict[str, Any]  # for the contract: versions and hashes of the weights


def choose_detector(which: str) -> Chosen:
    """``mtcnn``, or the path of a YuNet model as ONNX, for OpenCV's FaceDetectorYN.

    Raises:
        BadInput: the packages of the detector are not installed, its weights are not the known ones, no such file.
    """
    if which == "mtcnn":
        from faceloss.data.photographs.mtcnn_nets import FACTS, models

        return Chosen("mtcnn", models(), FACTS)
    path = Path(which)
    if path.suffix.lower() != ".onnx" or not path.is_file():
        raise BadInput(f"There is no detector '{which}'; give mtcnn, or the path of a YuNet model (.onnx).")
    try:
        import cv2
    except ImportError:
        raise BadInput("YuNet models need OpenCV; install it: pip install 'faceloss[yunet]'.") from None
    model = path.read_bytes()
    facts = {"name": "yunet", "opencv": cv2.__version__, "sha256": hashlib.sha256(model).hexdigest()}
    chosen = Chosen("yunet", {"yunet": model}, facts)
    open_detector(chosen)  # refused here, once, rather than in every process
    return chosen


def open_detector(chosen: Chosen) -> Detector:
    """The detector itself, on one thread of this process.

    Raises:
        BadInput: a model that its runtime cannot read.
    """
    if chosen.name == "yunet":
        from faceloss.data.photographs.yunet import Yunet

        return Yunet(chosen.models["yunet"])
    from faceloss.data.photographs.mtcnn import Mtcnn

    return Mtcnn(chosen.models)
