"""The work on some photographs: read, decode, detect, select, align, write the crops, and say what became of each.

It depends on nothing but the files and the settings, not on time, processes or what was done before; so whatever is
done again after a kill comes out the same.
"""

import fcntl
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from faceloss.data.decode import Picture, Unusable, picture, strict_warnings
from faceloss.data.entries import Entry
from faceloss.data.photographs.align import outside, similarity, template, warp
from faceloss.data.photographs.detector import Chosen, Detector, Face, open_detector
from faceloss.data.photographs.ledger import Record, record
from faceloss.data.photographs.select import Selection, select, smallest_side
from faceloss.errors import BadInput

ASPECT = 20  # panoramas are photographs; slivers are not
TOGETHER = 6_000_000  # pixels of photographs that wait decoded to be searched together
LARGE = 12_000_000  # pixels from which a photograph is decoded by one process at a time
CRASHED = "the decoder crashed on it"


class Settings(NamedTuple):
    """What the crops depend on, and where they go."""

    out: Path
    size: str
    image: str  # "png" or "jpeg"
    selection: Selection
    detector: Chosen


class Job(NamedTuple):
    """Some files of the input, with the path of their crops below ``images/`` without ending."""

    number: int
    entries: tuple[Entry, ...]
    targets: tuple[str, ...]
    deaths: tuple[str, ...] = ()  # of processes that did this job: the file that each had opened, or ""


class Worker:
    """Does jobs in this process."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.detector: Detector = open_detector(settings.detector)
        self.template = template(settings.size)

    def do(self, job: Job, opens: Callable[[str], None] = lambda file: None) -> list[Record]:
        """The records of a job, in its order; its crops are written. ``opens`` is told each file before it is read.

        Raises:
            BadInput: a photograph that the selection says to stop at.
            OSError: a crop could not be written.
        """
        records = [record(entry.file, entry.identity, entry.split, entry.group) for entry in job.entries]
        waiting: list[tuple[int, Picture]] = []
        with strict_warnings():
            for number, entry in enumerate(job.entries):
                if job.deaths.count(entry.file) >= 2:
                    records[number]["reason"] = CRASHED
                    continue
                with room(self.settings.out) as enter_for:
                    opens(entry.file)
                    found = self._open(entry, records[number], enter_for)
                    opens("")
                    if found is None:
                        continue
                    waiting.append((number, found))
                    if sum(p.image.width * p.image.height for _, p in waiting) > TOGETHER:
                        self._crop(job, waiting, records)
                        waiting = []
                        del found
            self._crop(job, waiting, records)
        return records

    def _open(self, entry: Entry, row: Record, enter_for: Callable[[int], None]) -> Picture | None:
        try:
            data = entry.read()
        except FileNotFoundError:
            row["reason"] = "no such file"
            return None
        except (OSError, ValueError) as error:  # ValueError: a NUL character in a name
            row["reason"] = f"cannot be read ({getattr(error, 'strerror', None) or error})"
            return None
        row["sha256"], row["bytes"] = hashlib.sha256(data).hexdigest(), len(data)

        def before(width: int, height: int, shrinks: bool) -> int:
            # A face of the smallest size that counts still fills three quarters of its crop.
            side = smallest_side(self.settings.selection, width, height)
            fits = [d for d in (8, 4, 2) if shrinks and side / d >= 0.75 * self.template.height]
            divisor = fits[0] if fits else 1
            enter_for(width * height // divisor**2)
            return divisor

        try:
            found = picture(data, aspect=ASPECT, before=before)
        except Unusable as reason:
            row["reason"] = str(reason)
            return None
        row["kind"], row["width"], row["height"] = found.kind, found.width, found.height
        named = Image.registered_extensions().get(os.path.splitext(entry.file)[1].lower(), "something else")
        wrong = {named, found.kind} not in ({found.kind}, {"JPEG", "MPO"}, {"BMP", "DIB"})
        row["changes"] = [*found.changes, *([f"named as {named}, is {found.kind}"] if wrong else [])]
        return found

    def _crop(self, job: Job, waiting: Sequence[tuple[int, Picture]], records: list[Record]) -> None:
        selection = self.settings.selection
        least = [smallest_side(selection, p.width, p.height) * p.image.width / p.width for _, p in waiting]
        detected = self.detector.detect([p.image for _, p in waiting], least) if waiting else []
        for (number, p), small in zip(waiting, detected, strict=True):
            scale = p.width / p.image.width
            faces = [whole(face, scale) for face in small]
            chosen, reason = select(faces, selection, p.width, p.height)
            row, kept = records[number], 0
            for face in faces:
                row["faces"].append(
                    {
                        "box": [round(x, 2) for x in face.box],
                        "landmarks": [[round(float(x), 2) for x in point] for point in face.landmarks],
                        "score": round(face.score, 4),
                        "outside": None,
                        "crop": "",
                        "sha256": "",
                    }
                )
                if not any(face is one for one in chosen):
                    continue
                suffix = f"~{kept}" if selection.many == "all" else ""
                failed = self._align(p, face, scale, job.targets[number] + suffix, row["faces"][-1])
                reason = failed or reason
                kept += not failed
            row["reason"] = "" if kept else reason
            row["status"] = "dropped" if not kept else "changed" if row["changes"] else "kept"
            self._stop_at(row)

    def _stop_at(self, row: Record) -> None:
        several = row["reason"] == "several faces"
        if (
            row["status"] == "dropped"
            and (self.settings.selection.many if several else self.settings.selection.none) == "error"
        ):
            choose = "largest, central, all or drop for --faces" if several else "drop for --none"
            raise BadInput(f"{row['file']}: {row['reason']}; remove that photograph, or choose {choose}.")

    def _align(self, p: Picture, face: Face, scale: float, target: str, facts: Record) -> str:
        """Write one crop and complete its facts; "" or the reason why there is none."""
        size = (self.template.height, self.template.width)
        try:
            matrix = similarity((face.landmarks + 0.5) / scale - 0.5, self.template.landmarks)
        except ValueError as error:
            return str(error)
        facts["outside"] = round(outside(matrix, p.image.size, size), 4)
        if facts["outside"] > self.settings.selection.outside:
            return "cut by the border"
        data = encoded(warp(p.image, matrix, size), self.settings.image)
        facts["crop"] = f"images/{target}.{'jpg' if self.settings.image == 'jpeg' else 'png'}"
        facts["sha256"] = hashlib.sha256(data).hexdigest()
        put(self.settings.out / facts["crop"], data)
        return ""


@contextmanager
def room(out: Path) -> Iterator[Callable[[int], None]]:
    """A place to hold a photograph in: waits, when told that it is a large one, until no other process holds such."""
    with open(out / ".work" / "large", "wb") as file:
        # The kernel takes the lock from whoever dies.
        yield lambda pixels: fcntl.flock(file, fcntl.LOCK_EX) if pixels > LARGE else None


def whole(face: Face, scale: float) -> Face:
    """A face found in a smaller picture, in pixels of the whole one."""
    left, top, right, bottom = ((x + 0.5) * scale - 0.5 for x in face.box)
    return Face((left, top, right, bottom), (face.landmarks + 0.5) * scale - 0.5, face.score)


def encoded(crop: Image.Image, image: str) -> bytes:
    """A crop as PNG, or as JPEG of quality 95 with full color resolution."""
    file = io.BytesIO()
    if image == "jpeg":
        crop.save(file, "JPEG", quality=95, subsampling=0)
    else:
        crop.save(file, "PNG", compress_level=3)
    return file.getvalue()


def put(path: Path, data: bytes) -> None:
    """A whole file or none. Not synced: after a power failure its hash does not fit, and it is made again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, path)


def holds(job: Job, records: Sequence[Record], out: Path) -> bool:
    """Whether records found again still describe the files they were made from and the crops made."""
    if [row["file"] for row in records] != [entry.file for entry in job.entries]:
        return False
    for entry, row in zip(job.entries, records, strict=True):
        try:
            if row["sha256"] != hashlib.sha256(entry.read()).hexdigest():
                return False
        except (OSError, ValueError):
            if row["sha256"] is not None:
                return False
        for face in row["faces"]:
            try:
                if face["crop"] and hashlib.sha256((out / face["crop"]).read_bytes()).hexdigest() != face["sha256"]:
                    return False
            except OSError:
                return False
    return True
