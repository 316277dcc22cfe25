"""Jobs in worker processes; a file that kills a process is found and named, the rest goes on.

Image libraries are written in C, and a broken file can take a whole process with it. Then the jobs under way are looked
at file by file in a process of their own, the culprit is noted in the ledger, and they are done without it.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Lock
from pathlib import Path

from faceloss.data.entries import Entry
from faceloss.data.photographs.ledger import Record, line
from faceloss.data.photographs.work import Job, Settings, Worker, holds
from faceloss.errors import CouldNotFinish
from faceloss.files import could_not_write, write_atomically
from faceloss.progress import Callback

TRIES = 5  # of a job whose processes die for no file that could be found

_worker: Worker | None = None


def run(jobs: Sequence[Job], settings: Settings, processes: int, progress: Callback) -> None:
    """Do all jobs; afterwards `records` finds those of each.

    Raises:
        BadInput: a photograph that the selection says to stop at.
        CouldNotFinish: the disk is full, or processes die without any one file being the reason.
    """
    total = sum(len(job.entries) for job in jobs)
    todo, done = list(reversed(jobs)), 0
    progress("preparing photographs", 0, total)
    while todo:
        lost: list[Job] = []
        running: dict[Future[int], Job] = {}
        with _pool(settings, min(processes, len(todo))) as workers:
            try:
                while running or (todo and not lost):
                    while todo and not lost and len(running) < 2 * processes:
                        job = todo.pop()
                        try:
                            running[workers.submit(_do, job)] = job
                        except BrokenProcessPool:
                            lost.append(job)
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job = running.pop(future)
                        try:
                            done += future.result()
                        except BrokenProcessPool:
                            lost.append(job)
                        progress("preparing photographs", done, total)
            except BaseException:
                workers.shutdown(wait=False, cancel_futures=True)
                raise
        todo += [_without_crashing(job, settings) for job in lost]


def records(out: Path, number: int) -> list[Record]:
    """The records of a finished job."""
    found: list[Record] = [json.loads(text) for text in _path(out, number).read_text(encoding="utf-8").splitlines()]
    return found


def _path(out: Path, number: int) -> Path:
    return out / ".work" / f"{number // 1000:05d}" / f"{number % 1000:03d}.jsonl"


def _pool(settings: Settings, processes: int) -> ProcessPoolExecutor:
    # Not forked: the threads of the runtime of the detector would not come along.
    context = multiprocessing.get_context("spawn")
    large = context.Lock()
    return ProcessPoolExecutor(processes, context, _start, (settings, large))


def _start(settings: Settings, large: Lock) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the pool
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A parent that is killed cannot say so: without this, its workers would go on beside those of the next call.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker = Worker(settings, large)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(3)


def _do(job: Job) -> int:
    assert _worker is not None
    path = _path(_worker.settings.out, job.number)
    try:
        if _found(job, _worker.settings.out):
            return len(job.entries)
        rows = _worker.do(job)
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise could_not_write(Path(error.filename or path), error) from None
    write_atomically(path, "".join(map(line, rows)).encode())
    return len(job.entries)


def _found(job: Job, out: Path) -> bool:
    """Whether the job was done before, and still holds."""
    try:
        return holds(job, records(out, job.number), out)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _ready() -> None:
    """Nothing: a process that answers has started."""


def _try(entry: Entry) -> None:
    assert _worker is not None
    _worker.try_decoding(entry)


def _without_crashing(job: Job, settings: Settings) -> Job:
    """The job, with those of its files marked that a process dies on."""
    if job.tries >= TRIES:
        raise CouldNotFinish(
            f"Processes died {TRIES} times on the files from {job.entries[0].file} to {job.entries[-1].file}, but on "
            "none of them alone; is there enough memory? What was done is kept: start again with fewer --processes."
        )
    crashing = set(job.crashing)
    rest = [entry for entry in job.entries if entry.file not in crashing]
    while rest:
        with _pool(settings, 1) as alone:
            try:
                alone.submit(_ready).result()
            except BrokenProcessPool:
                raise CouldNotFinish(
                    "Worker processes cannot start here; their own message is above. A script that calls prepare must "
                    "do so under `if __name__ == '__main__':`."
                ) from None
            while rest:
                try:
                    alone.submit(_try, rest[0]).result()
                except BrokenProcessPool:
                    crashing.add(rest.pop(0).file)
                    break
                rest.pop(0)
    return job._replace(crashing=frozenset(crashing), tries=job.tries + 1)
