"""YuNet through OpenCV's FaceDetectorYN, with a model file of the user's; none comes with OpenCV or with this package.

Source: Wu, Peng, Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20, 2023.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from faceloss.data.photographs.detector import Face
from faceloss.errors import BadInput

WORKING = 24  # the side of the smallest face sought, in the picture that is searched; the network finds 10 to 300
SCORE, OVERLAP, CANDIDATES = 0.5, 0.3, 1000


class Yunet:
    """The detector; ``model`` is the content of an ONNX file."""

    def __init__(self, model: bytes) -> None:
        import cv2

        cv2.setNumThreads(1)
        try:
            self.net: Any = cv2.FaceDetectorYN.create(
                "onnx",
                np.frombuffer(model, np.uint8),
                np.zeros(0, np.uint8),
                (320, 320),
                score_threshold=SCORE,
                nms_threshold=OVERLAP,
                top_k=CANDIDATES,
            )
            self.net.detect(np.zeros((320, 320, 3), np.uint8))
        except cv2.error as error:
            raise BadInput(f"OpenCV cannot use the model as a YuNet ({' '.join(str(error).split())}).") from None

    def detect(self, pictures: Sequence[Image.Image], smallest: Sequence[float]) -> list[list[Face]]:
        """As in `Detector`."""
        return [self._one(picture, side) for picture, side in zip(pictures, smallest, strict=True)]

    def _one(self, picture: Image.Image, smallest: float) -> list[Face]:
        scale = min(1.0, WORKING / smallest)
        size = (max(32, round(picture.width * scale)), max(32, round(picture.height * scale)))
        small = picture if size == picture.size else picture.resize(size, Image.Resampling.BOX, reducing_gap=3.0)
        self.net.setInputSize(size)
        _, found = self.net.detect(np.ascontiguousarray(np.asarray(small)[:, :, ::-1]))  # BGR
        back = np.array([picture.width / size[0], picture.height / size[1]])
        faces = []
        for row in np.zeros((0, 15)) if found is None else found.astype(np.float64):
            corners = (np.stack([row[:2], row[:2] + row[2:4]]) + 0.5) * back - 0.5
            points = (row[4:14].reshape(5, 2) + 0.5) * back - 0.5  # the person's right eye first: left as seen
            left, top, right, bottom = corners.reshape(-1).tolist()
            faces.append(Face((left, top, right, bottom), points, float(row[14])))
        return sorted(faces, key=lambda face: -face.score)
