"""Jobs in worker processes; a file that kills a process is found and named, the rest goes on.

Image libraries are written in C, and a broken file can take a whole process with it. Each worker says over its wire
which file it opens, so that it is known what it died on. Whoever kills two processes is left out and noted in the
ledger; one death may have been anybody's doing.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

from faceloss.data.photographs.ledger import Record, line
from faceloss.data.photographs.work import Job, Settings, Worker, holds
from faceloss.errors import CouldNotFinish, FacelossError
from faceloss.files import could_not_write, write_atomically
from faceloss.progress import Callback

DEATHS = 5  # on one job, of no file that could be found


class Hand:
    """A worker process, seen from here."""

    def __init__(self, settings: Settings):
        # Not forked: the threads of the runtime of the detector would not come along.
        context = multiprocessing.get_context("spawn")
        self.wire, end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(end, settings), daemon=True)
        self.process.start()
        end.close()  # so that the death of the process ends the wire
        self.started = False
        self.job: Job | None = None
        self.file = ""  # that it has opened

    def give(self, job: Job) -> None:
        self.job, self.file = job, ""
        with suppress(OSError):  # a process that is dead is found so when listened to
            self.wire.send(job)


def run(jobs: Sequence[Job], settings: Settings, processes: int, progress: Callback) -> None:
    """Do all jobs; afterwards `records` finds those of each.

    Raises:
        BadInput: a photograph that the selection says to stop at.
        CouldNotFinish: the disk is full, or processes die without any one file being the reason.
    """
    total = sum(len(job.entries) for job in jobs)
    todo, done = list(reversed(jobs)), 0
    hands: list[Hand] = []
    progress("preparing photographs", 0, total)
    try:
        while todo or any(hand.job for hand in hands):
            for hand in hands:
                if hand.job is None and todo:
                    hand.give(todo.pop())
            while todo and len(hands) < processes:
                hands.append(Hand(settings))
                hands[-1].give(todo.pop())
            ready = wait([hand.wire for hand in hands if hand.job])
            for hand in [hand for hand in hands if hand.wire in ready]:
                try:
                    what, value = hand.wire.recv()
                except (EOFError, OSError):
                    hands.remove(hand)
                    todo.append(_after_death(hand))
                    continue
                if what == "failed":
                    raise value
                if what == "opens":
                    hand.file = value
                hand.started = True
                if what == "done" and hand.job:
                    done += len(hand.job.entries)
                    hand.job = None
                    progress("preparing photographs", done, total)
        for hand in hands:
            hand.wire.close()  # it ends when there is nobody to serve
        for hand in hands:
            hand.process.join()
    finally:
        for hand in hands:
            hand.process.kill()
            hand.process.join()


def records(out: Path, number: int) -> list[Record]:
    """The records of a finished job."""
    found: list[Record] = [json.loads(text) for text in _path(out, number).read_text(encoding="utf-8").splitlines()]
    return found


def _path(out: Path, number: int) -> Path:
    return out / ".work" / f"{number // 1000:05d}" / f"{number % 1000:03d}.jsonl"


def _after_death(hand: Hand) -> Job:
    """The job that a process died on, with the death noted."""
    hand.process.join()
    job = hand.job
    assert job is not None
    if not hand.started:
        raise CouldNotFinish(
            "Worker processes cannot start here; their own message is above. A script that calls prepare must do so "
            "under `if __name__ == '__main__':`."
        )
    job = job._replace(deaths=(*job.deaths, hand.file))
    if job.deaths.count("") >= DEATHS:
        raise CouldNotFinish(
            f"{DEATHS} processes died on the files from {job.entries[0].file} to {job.entries[-1].file}, but not while "
            "reading any; is there enough memory? What was done is kept: start again with fewer --processes."
        )
    return job


def _serve(wire: Connection, settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed cannot say so: without this, its workers would go on beside those of the next call.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    worker = Worker(settings)
    wire.send(("ready", None))
    while True:
        try:
            job: Job = wire.recv()
        except EOFError:
            return
        try:
            _do(worker, job, wire)
            wire.send(("done", None))
        except FacelossError as error:
            wire.send(("failed", error))


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(3)


def _do(worker: Worker, job: Job, wire: Connection) -> None:
    out = worker.settings.out
    path = _path(out, job.number)
    try:
        if holds(job, _found(out, job.number), out):
            return
        rows = worker.do(job, lambda file: wire.send(("opens", file)))
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise could_not_write(Path(error.filename or path), error) from None
    write_atomically(path, "".join(map(line, rows)).encode())


def _found(out: Path, number: int) -> list[Record]:
    """The records of a job that was done before; none if there are none that can be read."""
    try:
        return records(out, number)
    except (OSError, ValueError):
        return []
