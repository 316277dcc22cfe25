"""The engine of one machine: worker processes that keep the faces in memory from run to run."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

from faceloss.compare.engines.board import Board
from faceloss.compare.engines.drive import drive
from faceloss.compare.engines.session import signals
from faceloss.compare.engines.work import Outcome, work
from faceloss.compare.prepare import Bench
from faceloss.compare.study import Run, Study
from faceloss.threads import single_threaded_numpy


class Worker(NamedTuple):
    """A process that is sent runs and answers with outcomes."""

    process: SpawnProcess
    wire: Connection


def processes(todo: list[Run], study: Study, bench: Bench, out: Path, board: Board, *, workers: int) -> None:
    """Do ``todo`` in up to ``workers`` processes; raises as :func:`faceloss.compare.engines.drive.drive`."""
    single_threaded_numpy()
    context = multiprocessing.get_context("spawn")  # a forked torch can hang in its thread pool
    idle: list[Worker] = []

    def submit(runs: list[Run], token: str) -> list[Worker]:
        busy = []
        for run in runs:
            if idle:
                worker = idle.pop()
            else:
                wire, end = context.Pipe()
                worker = Worker(context.Process(target=_serve, args=(end, out, token, os.getpid())), wire)
                worker.process.start()
                end.close()  # so that the death of the process ends the wire
            with suppress(OSError):  # a worker that died while it was idle is found lost when asked
                worker.wire.send(run)
            busy.append(worker)
        return busy

    def ask(worker: Worker) -> Outcome | None:
        if not worker.wire.poll():
            return None
        try:
            outcome: Outcome = worker.wire.recv()
        except (EOFError, OSError):
            worker.process.join()
            return Outcome("lost", f"worker process {_end(worker.process.exitcode)}")
        idle.append(worker)
        return outcome

    def cancel(those: Sequence[Worker]) -> None:
        for worker in those:
            worker.process.kill()

    try:
        drive(todo, bench, out, board, submit=submit, ask=ask, cancel=cancel, at_once=workers)
    finally:
        for worker in idle:
            worker.wire.close()  # it ends when there is nobody to serve
        for worker in idle:
            worker.process.join()


def _end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _serve(wire: Connection, out: Path, token: str, parent: int) -> None:
    asked: list[bool] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
    with signals(lambda: asked.append(True), signal.SIGTERM):
        while not asked:
            try:
                run = wire.recv()
            except EOFError:
                return
            outcome = work(run, out, token, stop=lambda: bool(asked) or os.getppid() != parent)
            try:
                wire.send(outcome)
            except OSError:  # the parent is gone
                return
