"""MTCNN: a pyramid searched by a tiny network, candidates sifted by a small and a middle one; boxes and five landmarks.

The cascade is the published one. What was done for speed:

* a picture is first reduced so that the smallest face sought has 36 pixels (the last network sees 48), and each level
  of the pyramid is made from one at least twice its size instead of from the picture;
* levels of pictures of one size go through the first network together, candidates of all pictures through the others;
* within a level only peaks of the score over 3 x 3 cells are kept: for boxes of one size these are the neighbors that
  suppression at IoU 0.5 looks at, and it takes one comparison of shifted maps instead of a sort;
* candidates that overlap by IoU 0.6 are one before the last network, the slowest per candidate.

Outside the picture is black, as in training. Source: see ``mtcnn_nets``.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from faceloss.data.photographs.detector import Face

CELL = 12  # the side of what the first network looks at
FACTOR = 0.709  # from one level of the pyramid to the next: half the area
WORKING = 36  # the side of the smallest face sought, in the picture that is searched
LOGITS = (0.405, 0.847, 0.847)  # thresholds of the three networks: probabilities 0.6, 0.7, 0.7
OVERLAPS = (0.7, 0.6, 0.7)  # IoU from which two candidates are one; the last one over the smaller area, not the union
CANDIDATES = 1000  # at most, per picture and network
BATCH_PIXELS = 200_000  # of levels that are made to be searched together
BAND_PIXELS = 24_000  # of them that go through the first network at a time: its maps stay in the cache of a core
BATCH = 64  # candidates that go through a network together: few enough for the cache of a core

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class Mtcnn:
    """The detector; ``models`` as `faceloss.data.photographs.mtcnn_nets.models` gives them."""

    def __init__(self, models: dict[str, bytes]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.nets = {
            name: onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            for name, model in models.items()
        }

    def _run(self, name: str, pictures: Pixels) -> Array:
        output: Array = self.nets[name].run(None, {"picture": pictures})[0]
        return output

    def maps(self, levels: Pixels) -> Array:
        """The first network over levels [N,H,W,3] of at least 12 pixels a side: [N,h,w,5], in bands of rows."""
        rows = math.ceil(levels.shape[1] / 2) - 5
        band = max(8, BAND_PIXELS // (2 * levels.shape[0] * levels.shape[2]))
        # Row k of the maps sees the rows 2k to 2k + 11; band ends overlap by ten.
        parts = [self._run("p", levels[:, 2 * k : 2 * (k + band) + CELL - 2]) for k in range(0, rows, band)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)

    def detect(self, pictures: Sequence[Image.Image], smallest: Sequence[float]) -> list[list[Face]]:
        """As in `Detector`."""
        if not pictures:
            return []
        sides = [max(float(side), CELL) for side in smallest]
        working = [reduced(picture, min(1.0, WORKING / side)) for picture, side in zip(pictures, sides, strict=True)]
        scales = [small.width / picture.width for small, picture in zip(working, pictures, strict=True)]
        boxes = self._propose(working, [side * scale for side, scale in zip(sides, scales, strict=True)])
        boxes, _ = self._sift("r", 1, working, boxes)
        _, output = self._sift("o", 2, working, boxes)
        faces = []
        for picture, small, (box, row) in zip(pictures, working, output, strict=True):
            scale = np.array([picture.width / small.width, picture.height / small.height])
            corners, sizes = box[:, :2], box[:, 2:] - box[:, :2]
            points = corners[:, None] + sizes[:, None] * row[:, 4:14].reshape(-1, 2, 5).transpose(0, 2, 1)  # [n,5,2]
            tight = corrected(box, row[:, :4])
            scores = 1 / (1 + np.exp(-row[:, -1].astype(np.float64)))
            order = np.argsort(-scores, kind="stable")
            order = order[keep(tight[order], OVERLAPS[2], smaller=True)]
            # From edges of pixels, where the corner of the picture is (0, 0), to centers of pixels.
            tight = tight.astype(np.float64) * np.tile(scale, 2) - 0.5
            points = points.astype(np.float64) * scale - 0.5
            faces.append(
                [Face((*map(float, tight[i]),), points[i], float(scores[i])) for i in order.tolist()]  # type: ignore[arg-type]
            )
        return faces

    def _propose(self, pictures: list[Image.Image], smallest: list[float]) -> list[Array]:
        """First network: boxes [n,4] of each picture, best first, already corrected and square."""
        found: list[list[Array]] = [[] for _ in pictures]
        same: dict[tuple[Any, ...], list[int]] = {}
        for number, (picture, side) in enumerate(zip(pictures, smallest, strict=True)):
            same.setdefault((picture.size, side), []).append(number)
        for (size, side), numbers in same.items():
            levels = pyramid(size, side)
            together = max(1, BATCH_PIXELS // max(1, levels[0][0] * levels[0][1])) if levels else 1
            for start in range(0, len(numbers), together):
                some = numbers[start : start + together]
                made = [[pictures[number]] for number in some]
                for level in levels:
                    for images in made:
                        images.append(level_of(images, level))
                    batch = np.stack([np.asarray(images[-1]) for images in made])
                    scale = np.array([level[0] / size[0], level[1] / size[1]], np.float32)
                    for number, boxes in zip(some, peaks(self.maps(batch), scale), strict=True):
                        found[number].append(boxes)
        return [proposals(np.concatenate(boxes) if boxes else np.zeros((0, 9), np.float32)) for boxes in found]

    def _sift(
        self, name: str, stage: int, pictures: list[Image.Image], boxes: list[Array]
    ) -> tuple[list[Array], list[tuple[Array, Array]]]:
        """Second or third network: what is left of the boxes, (corrected and square, or as they were with output)."""
        side = 24 if name == "r" else 48
        crops = [crop for picture, box in zip(pictures, boxes, strict=True) for crop in cut(picture, box, side)]
        outputs = [self._run(name, np.stack(crops[i : i + BATCH])) for i in range(0, len(crops), BATCH)]
        rows = np.concatenate(outputs) if outputs else np.zeros((0, 15), np.float32)
        ends = np.cumsum([len(box) for box in boxes])[:-1]
        left, with_output = [], []
        for box, row in zip(boxes, np.split(rows, ends), strict=True):
            good = np.flatnonzero(row[:, -1] > LOGITS[stage])
            good = good[np.argsort(-row[good, -1], kind="stable")]
            with_output.append((box[good], row[good]))
            if name == "r":
                good = good[keep(box[good], OVERLAPS[1])]
                left.append(square(corrected(box[good], row[good, :4])))
        return left, with_output


def reduced(picture: Image.Image, scale: float) -> Image.Image:
    """The picture at a scale of at most 1."""
    if scale >= 1:
        return picture
    size = (max(CELL, round(picture.width * scale)), max(CELL, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BOX, reducing_gap=3.0)


def pyramid(size: tuple[int, int], smallest: float) -> list[tuple[int, int]]:
    """(width, height) of the levels, the largest first: faces of side ``smallest`` have 12 pixels there."""
    levels = []
    scale = CELL / smallest
    while min(size) * scale >= CELL:
        levels.append((math.ceil(size[0] * scale), math.ceil(size[1] * scale)))
        scale *= FACTOR
    return levels


def level_of(made: list[Image.Image], size: tuple[int, int]) -> Image.Image:
    """A level, from the smallest picture made so far that is at least twice as large (else from the first)."""
    enough = [picture for picture in made if picture.width >= 2 * size[0] and picture.height >= 2 * size[1]]
    return (enough or made[:1])[-1].resize(size, Image.Resampling.BOX)


def peaks(maps: Array, scale: Array) -> list[Array]:
    """Of maps [N,h,w,5] the cells that look like a face, per picture: rows of box (4), correction (4) and logit.

    The boxes are in pixels of the picture; ``scale`` [2] is the size of the level over that of the picture.
    """
    logits = maps[..., 4]
    padded = np.pad(logits, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    best = np.maximum(np.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
    n, y, x = np.nonzero((logits >= best) & (logits > LOGITS[0]))
    corner = np.stack([2 * x, 2 * y], 1).astype(np.float32)
    boxes = np.concatenate([corner / scale, (corner + CELL) / scale, maps[n, y, x]], 1)
    return np.split(boxes, np.searchsorted(n, np.arange(1, len(maps))))


def proposals(found: Array) -> Array:
    """The boxes of all levels of one picture: the best ones without those that repeat them, corrected and square."""
    found = found[np.argsort(-found[:, 8], kind="stable")[:CANDIDATES]]
    found = found[keep(found[:, :4], OVERLAPS[0])]
    return square(corrected(found[:, :4], found[:, 4:8]))


def corrected(boxes: Array, corrections: Array) -> Array:
    """Boxes [n,4] moved by corrections [n,4] in units of their sides."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes + corrections * np.tile(sizes, 2)


def square(boxes: Array) -> Array:
    """Boxes around the same centers, as wide as high: the longer side."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True, initial=0) / 2
    return np.concatenate([center - half, center + half], 1)


def keep(boxes: Array, overlap: float, smaller: bool = False) -> npt.NDArray[np.int64]:
    """Greedy suppression of boxes [n,4], best first: the indices of those that overlap no better one by more.

    Overlap is intersection over union, or with ``smaller`` over the area of the smaller box.
    """
    if len(boxes) == 0:
        return np.zeros(0, np.int64)
    left_top = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    sizes = np.maximum(np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - left_top, 0)
    shared = sizes[..., 0] * sizes[..., 1]
    area = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    whole = np.minimum(area[:, None], area[None]) if smaller else area[:, None] + area[None] - shared
    clash = shared > overlap * whole  # [n,n]
    alive = np.ones(len(boxes), bool)
    for number in range(len(boxes)):
        if alive[number]:
            alive[number + 1 :] &= ~clash[number, number + 1 :]
    return np.flatnonzero(alive)


def cut(picture: Image.Image, boxes: Array, side: int) -> list[Pixels]:
    """The square ``boxes`` [n,4] of a picture at ``side`` x ``side`` pixels, black where they leave it."""
    width, height = picture.size
    crops = []
    for left, top, right, bottom in boxes.tolist():
        inner = (max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height))
        if inner == (left, top, right, bottom):
            crops.append(np.asarray(picture.resize((side, side), Image.Resampling.BOX, box=inner)))
            continue
        crop = np.zeros((side, side, 3), np.uint8)
        unit = side / max(right - left, 1e-6)
        x0, x1 = (round((x - left) * unit) for x in (inner[0], inner[2]))
        y0, y1 = (round((y - top) * unit) for y in (inner[1], inner[3]))
        if x1 > x0 and y1 > y0 and inner[2] > inner[0] and inner[3] > inner[1]:
            part = picture.resize((x1 - x0, y1 - y0), Image.Resampling.BOX, box=inner)
            crop[y0:y1, x0:x1] = np.asarray(part)
        crops.append(crop)
    return crops
