"""Photographs a second: finding faces with landmarks beside facenet-pytorch's MTCNN, and from files to aligned crops.

    make bench-prepare        (a minute and a half of CPU time; installs the peer as told below)

The same weights, one thread, CPU seconds, the same smallest face, the same pictures: built-in faces on smooth noisy
backgrounds, 250 x 250 with one face, 640 x 480 and 1024 x 768 with four. Both are given several pictures at once, the
peer also one by one, and the better of the two counts. facenet-pytorch 2.6.0 pins versions that no longer go together
and needs torchvision only for one suppression of boxes:

    python -m pip install --no-deps --target .peer facenet-pytorch==2.6.0
    PYTHONPATH=.peer python benchmarks/prepare.py

That suppression is replaced here, and the time of the replacement is not counted, so the peer has it for nothing.
"found" is how many of the pasted faces each finds; "apart" how far the landmarks of both are, over the distance of the
eyes.
"""

import io
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measure import header, interleaved, peak_mib
from PIL import Image

from faceloss.data.builtin import builtin_path
from faceloss.data.photographs.detector import Face, choose_detector, open_detector
from faceloss.data.photographs.prepare import crop_names
from faceloss.data.photographs.select import Selection
from faceloss.data.photographs.work import Job, Settings, Worker
from faceloss.data.sources import open_source

SCENES = {
    "250 x 250, 1 face": (250, 250, 1),
    "640 x 480, 4 faces": (640, 480, 4),
    "1024 x 768, 4 faces": (1024, 768, 4),
}
SMALLEST = (20, 60)
PICTURES = 16
ROUNDS = 3


class Scene(NamedTuple):
    """Pictures of one size and where faces were pasted: [n,4] left, top, right, bottom each."""

    pictures: list[Image.Image]
    places: list[np.ndarray]


def scene(width: int, height: int, faces: int) -> Scene:
    """Pictures with built-in faces of 70 to 130 pixels on backgrounds of color and noise."""
    random = np.random.default_rng(width)
    entries = open_source(builtin_path()).entries
    pictures, places = [], []
    for _ in range(PICTURES):
        coarse = random.integers(40, 200, (9, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
        noisy = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        picture, boxes = Image.fromarray(noisy), []
        for face in range(faces):
            side = int(random.integers(70, 131))
            left = face * width // faces + int(random.integers(0, max(1, width // faces - side)))
            top = int(random.integers(0, height - side))
            data = io.BytesIO(entries[int(random.integers(len(entries)))].read())
            picture.paste(Image.open(data).resize((side, side), Image.Resampling.BICUBIC), (left, top))
            boxes.append((left, top, left + side, top + side))
        pictures.append(picture)
        places.append(np.array(boxes, float))
    return Scene(pictures, places)


class Suppression:
    """torchvision.ops.boxes.batched_nms, and the CPU seconds that it has taken."""

    seconds = 0.0

    def __call__(self, boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, overlap: float) -> torch.Tensor:
        """As torchvision documents it: indices kept, best first."""
        start = time.process_time()
        apart = (boxes + (groups.to(boxes) * (boxes.max() + 1 if len(boxes) else 0))[:, None]).double().numpy()
        order = np.argsort(-scores.numpy(), kind="stable")
        area = (apart[:, 2] - apart[:, 0]) * (apart[:, 3] - apart[:, 1])
        kept = []
        while len(order):
            best, order = order[0], order[1:]
            kept.append(int(best))
            low, high = np.maximum(apart[best, :2], apart[order, :2]), np.minimum(apart[best, 2:], apart[order, 2:])
            shared = np.maximum(high - low, 0).prod(1)
            order = order[shared <= overlap * (area[best] + area[order] - shared)]
        self.seconds += time.process_time() - start
        return torch.tensor(kept, dtype=torch.long)


def peer(suppression: Suppression) -> Any:
    """The class MTCNN of facenet-pytorch, without torchvision."""
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops")
    for name in (*names, "torchvision.ops.boxes", "requests", "requests.adapters"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]  # type: ignore[attr-defined]
    to_tensor = lambda picture: torch.from_numpy(np.array(picture, np.uint8)).permute(2, 0, 1)  # noqa: E731
    sys.modules["torchvision.transforms.functional"].to_tensor = to_tensor  # type: ignore[attr-defined]
    sys.modules["torchvision.ops.boxes"].batched_nms = suppression  # type: ignore[attr-defined]
    sys.modules["requests.adapters"].HTTPAdapter = object  # type: ignore[attr-defined]
    from facenet_pytorch import MTCNN

    return MTCNN


def agreement(found: list[list[Face]], theirs: list[Any], places: list[np.ndarray]) -> tuple[int, int, float]:
    """Faces found by us and by the peer, and the median distance of landmarks over the distance of the eyes."""
    ours_hit, peer_hit, apart = 0, 0, []
    for faces, (boxes, points), pasted in zip(found, theirs, places, strict=True):
        for place in pasted:
            center = (place[:2] + place[2:]) / 2
            half = (place[2] - place[0]) / 2
            mine = [face for face in faces if np.abs(face.landmarks[2] - center).max() < half]
            his = [np.asarray(p, float) for p in (points if boxes is not None else [])]
            his = [p for p in his if np.abs(p[2] - center).max() < half]
            ours_hit, peer_hit = ours_hit + bool(mine), peer_hit + bool(his)
            if mine and his:
                eyes = np.linalg.norm(his[0][0] - his[0][1])
                apart.append(np.linalg.norm(mine[0].landmarks - his[0], axis=1).mean() / eyes)
    return ours_hit, peer_hit, float(np.median(apart))


def detection() -> None:
    """The first table."""
    ours, suppression = open_detector(choose_detector("mtcnn")), Suppression()
    print(f"{'pictures a CPU second':<22}{'smallest':>9}{'faceloss':>10}{'peer':>8}{'ratio':>7}   found       apart")
    for name, size in SCENES.items():
        pictures, places = scene(*size)
        for smallest in SMALLEST:
            theirs = peer(suppression)(min_face_size=smallest, keep_all=True, device="cpu")
            spent: dict[str, list[float]] = {"batch": [], "single": []}

            def batch(net: Any = theirs, pictures: list[Image.Image] = pictures, spent: Any = spent) -> Any:
                before = suppression.seconds
                found = net.detect(pictures, landmarks=True)
                spent["batch"].append(suppression.seconds - before)
                return found

            def single(net: Any = theirs, pictures: list[Image.Image] = pictures, spent: Any = spent) -> None:
                before = suppression.seconds
                for picture in pictures:
                    net.detect(picture, landmarks=True)
                spent["single"].append(suppression.seconds - before)

            def mine(pictures: list[Image.Image] = pictures, smallest: int = smallest) -> list[list[Face]]:
                return ours.detect(pictures, [float(smallest)] * len(pictures))

            seconds = interleaved({"ours": mine, "batch": batch, "single": single}, ROUNDS)
            best = min(seconds[way] - float(np.median(spent[way][1:])) for way in ("batch", "single"))
            boxes, _, points = batch()  # arrays of objects
            hit, their_hit, apart = agreement(mine(), list(zip(boxes, points, strict=True)), places)
            faces = size[2] * PICTURES
            print(
                f"{name:<22}{smallest:>9}{PICTURES / seconds['ours']:>10.1f}{PICTURES / best:>8.1f}"
                f"{best / seconds['ours']:>7.1f}   {hit:>2}, {their_hit:>2} of {faces:<3} {apart:.3f}",
                flush=True,
            )


def crops() -> None:
    """The second table: from JPEG files to crops on the disk, 20 pixels and 5 % of the shorter side at least."""
    suppression = Suppression()
    print(f"\n{'files a CPU second':<22}{'faceloss':>10}{'peer':>8}{'ratio':>7}   MiB more at the peak")
    for name, size in SCENES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            (root / "in").mkdir()
            for number, picture in enumerate(scene(*size).pictures):
                picture.save(root / "in" / f"{number:02d}.jpg", quality=92)
            source = open_source(root / "in", flat=True, every=True)
            chosen = choose_detector("mtcnn")
            settings = Settings(root / "out", "112", "png", Selection(), chosen)
            (root / "out" / ".work").mkdir(parents=True)
            worker = Worker(settings)
            job = Job(0, source.entries, tuple(crop_names([entry.file for entry in source.entries])))
            theirs = peer(suppression)(image_size=112, min_face_size=max(20, round(min(size[:2]) * 0.05)), device="cpu")
            spent: list[float] = []

            def save(root: Path = root, net: Any = theirs, spent: list[float] = spent) -> None:
                before = suppression.seconds
                for path in sorted((root / "in").iterdir()):
                    net(Image.open(path).convert("RGB"), save_path=str(root / "theirs" / f"{path.stem}.png"))
                spent.append(suppression.seconds - before)

            def mine(worker: Worker = worker, job: Job = job) -> None:
                worker.do(job)

            seconds = interleaved({"ours": mine, "peer": save}, ROUNDS)
            best = seconds["peer"] - float(np.median(spent[1:]))
            print(
                f"{name:<22}{PICTURES / seconds['ours']:>10.1f}{PICTURES / best:>8.1f}{best / seconds['ours']:>7.1f}   "
                f"{peak_mib(mine):.0f}, {peak_mib(save):.0f}",
                flush=True,
            )


if __name__ == "__main__":
    header("onnxruntime", "facenet-pytorch")
    with torch.no_grad():
        detection()
        crops()
