"""`prepare`: a set of photographs becomes a folder of aligned crops with a ledger.

    OUT/images/...        the crops, in the folders of the photographs
    OUT/index.csv         file, identity, split, group of each crop: `load_faces` reads the folder by it
    OUT/contract.json     the preprocessing contract and the settings
    OUT/ledger.jsonl      what became of every input file; also as ledger.csv
    OUT/.work/            while unfinished: the records so far

Photographs are done in jobs of 32 files, each a function of its files and the settings alone. A job is finished when
its records lie in ``.work``, written in one step; whoever is killed loses the jobs under way, and the next call does
those again. Records found are believed only where the files and the crops still have the hashes they name.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faceloss.data.contract import NAME as CONTRACT
from faceloss.data.entries import Source, is_image, silent
from faceloss.data.photographs import pool
from faceloss.data.photographs.contract import contract
from faceloss.data.photographs.detector import choose_detector
from faceloss.data.photographs.ledger import COLUMNS, Record, csv_rows, csv_text, index_rows, line, record
from faceloss.data.photographs.select import Selection
from faceloss.data.photographs.work import Job, Settings
from faceloss.data.sources import open_source
from faceloss.errors import BadInput
from faceloss.files import could_not_write, write_atomically
from faceloss.lock import locked
from faceloss.progress import Callback

FILES = 32  # in a job
IMAGES = ("png", "jpeg")


class Prepared(NamedTuple):
    """What came of it; files, but for ``crops``."""

    files: int
    kept: int
    changed: int
    dropped: int
    crops: int
    identities: int  # that have crops
    reasons: dict[str, int]  # of the dropped ones


def prepare(
    photos: Path,
    out: Path,
    *,
    size: str = "112",
    image: str = "png",
    selection: Selection | None = None,
    detector: str = "mtcnn",
    processes: int = 1,
    progress: Callback = silent,
) -> Prepared:
    """Find, align and crop the faces of ``photos`` (folder, tar, CSV) into the new folder ``out``, or continue there.

    Nothing is ever written into ``photos``. The result does not depend on ``processes`` nor on interruptions.

    Raises:
        BadInput: nothing to read, an ``out`` that is something else, a detector that is not there, or a photograph that
            ``selection`` says to stop at.
        CouldNotFinish: ``out`` cannot be written, or is in use.
    """
    if image not in IMAGES:
        raise BadInput(f"Crops cannot be stored as {image}; choose png (without loss) or jpeg (quality 95).")
    _refuse_inside(photos, out)
    source = open_source(photos, flat=True, every=True)
    chosen = choose_detector(detector)
    settings = Settings(out, size, image, selection or Selection(), chosen)
    described = contract(size, image, chosen.facts, settings.selection._asdict())
    jobs = list(_jobs(source))
    _begin(out, described, source)
    with locked(out / ".work"):
        if not (out / "ledger.jsonl").exists():
            pool.run(jobs, settings, max(1, processes), progress)
            _finish(out, jobs, source)
        shutil.rmtree(out / ".work", ignore_errors=True)
    return summary(out)


def summary(out: Path) -> Prepared:
    """The counts of a folder that `prepare` has finished."""
    status: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    crops, identities = 0, set()
    for row in read_ledger(out / "ledger.jsonl"):
        status[row["status"]] += 1
        made = sum(bool(face["crop"]) for face in row["faces"])
        crops += made
        if made and row["identity"]:
            identities.add(row["identity"])
        if row["reason"]:
            reasons[row["reason"]] += 1
    counted = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return Prepared(
        status.total(), status["kept"], status["changed"], status["dropped"], crops, len(identities), counted
    )


def read_ledger(path: Path) -> Iterator[Record]:
    """The records of a ``ledger.jsonl``, one at a time."""
    with open(path, encoding="utf-8") as file:
        for text in file:
            row: Record = json.loads(text)
            yield row


def _refuse_inside(photos: Path, out: Path) -> None:
    given, made = Path(os.path.realpath(photos)), Path(os.path.realpath(out))
    if made.is_relative_to(given) or (given.is_relative_to(made) and photos.exists()):
        raise BadInput(
            f"{out} and {photos} lie one in the other; photographs are never written to: choose another folder."
        )


def _jobs(source: Source) -> Iterator[Job]:
    targets = crop_names([entry.file for entry in source.entries])
    for number, start in enumerate(range(0, len(source.entries), FILES)):
        stop = start + FILES
        yield Job(number, source.entries[start:stop], tuple(targets[start:stop]))


def crop_names(files: Sequence[str]) -> list[str]:
    """The path of each file's crop without ending: its own where that is possible, else with a piece of its hash.

    No two are alike, even where case does not count, and each can be written on any file system.

    >>> crop_names(["ann/1.jpg", "ann/1.PNG", "../bob/2"])[0::2]
    ['ann/1', '_/bob/2']
    """
    taken: set[str] = set()
    names = []
    for file in files:
        stem = os.path.splitext(file)[0] if is_image(file) else file
        name = "/".join(_plain(part) for part in stem.split("/") if part not in ("", "."))
        if name.casefold() in taken or not name:
            name = f"{name}~{hashlib.sha256(file.encode()).hexdigest()[:12]}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _plain(part: str) -> str:
    if part == "..":
        return "_"
    clean = "".join("_" if not c.isprintable() or c in '<>:"|?*' else c for c in part)
    if clean != part or len(clean.encode()) > 180:
        clean = clean.encode()[:160].decode(errors="ignore") + "~" + hashlib.sha256(part.encode()).hexdigest()[:12]
    return clean


def _begin(out: Path, described: dict[str, Any], source: Source) -> None:
    """Make ``out``, or see that it is the beginning of the same work."""
    text = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
    listed = hashlib.sha256("\x1e".join(entry.file for entry in source.entries).encode())
    for refused in source.refused:
        listed.update("\x1f".join(refused).encode())
    state = json.dumps({"contract": hashlib.sha256(text.encode()).hexdigest(), "files": listed.hexdigest()})
    try:
        if out.is_dir() and any(out.iterdir()):
            _same(out, text, state)
        (out / ".work").mkdir(parents=True, exist_ok=True)
        if not (out / CONTRACT).exists():
            write_atomically(out / ".work" / "state.json", state.encode())
            write_atomically(out / CONTRACT, text.encode())
    except OSError as error:
        raise BadInput(f"{out} cannot be written to ({error.strerror}); choose another folder.") from None


def _same(out: Path, text: str, state: str) -> None:
    finished = (out / "ledger.jsonl").exists()
    if not finished and not (out / ".work").is_dir():
        raise BadInput(f"{out} exists and holds something else; nothing in it was touched: choose another folder.")
    if (out / CONTRACT).exists() and (out / CONTRACT).read_text(encoding="utf-8") != text:
        raise BadInput(f"{out} was prepared with other settings, as its {CONTRACT} says; choose another folder.")
    begun = out / ".work" / "state.json"
    if not finished and begun.exists() and begun.read_text(encoding="utf-8") != state:
        raise BadInput(f"The photographs are not those that {out} was begun with; choose another folder.")


def _finish(out: Path, jobs: Sequence[Job], source: Source) -> None:
    """The ledger in its three forms from the records of all jobs and of what was refused unread; jsonl last."""
    unread = []
    for refused in sorted(source.refused):
        unread.append({**record(refused.file, refused.identity, refused.split, ""), "reason": refused.reason})

    def rows() -> Iterator[Record]:
        for job in jobs:
            yield from pool.records(out, job.number)
        yield from unread

    _stream(out / "index.csv", (csv_text(index_rows(row)) for row in rows()), "file,identity,split,group\n")
    _stream(out / "ledger.csv", (csv_text(csv_rows(row)) for row in rows()), csv_text([COLUMNS]))
    _stream(out / "ledger.jsonl", map(line, rows()))


def _stream(path: Path, texts: Iterator[str], head: str = "") -> None:
    """As `write_atomically`, for what is too long to hold."""
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "w", encoding="utf-8", newline="") as file:
            file.write(head)
            file.writelines(texts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise could_not_write(path, error) from error
