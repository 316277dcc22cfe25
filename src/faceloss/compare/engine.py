"""All runs of a study: in this process, or one after another in worker processes. Records are the same either way."""

import json
import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from faceloss.compare import outside
from faceloss.compare.lock import locked
from faceloss.compare.memory import refuse_what_cannot_fit
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.records import assemble
from faceloss.compare.run import execute, steps
from faceloss.compare.study import Run, Study, competitors, plan
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.files import write_atomically
from faceloss.progress import Progress, clock
from faceloss.threads import single_threaded_numpy
from faceloss.train.loop import Stopped
from faceloss.train.state import State

Facts = dict[str, float]


def compare(study: Study, out: Path, *, workers: int = 1, progress: Progress | None = None) -> Path:
    """Run ``study`` into the folder ``out``, or continue what is there, and write ``out/records.jsonl``.

    Nothing in ``out`` is ever overwritten by another study: a folder that holds one with other settings is refused.

    Raises:
        BadInput: data, losses or settings cannot be used, or ``out`` belongs to another study.
        CouldNotFinish: stopped, killed worker, full disk, folder in use; says how to continue.
    """
    progress = progress or Progress()
    study = outside.settle(study)
    _claim(study, out)
    with locked(out):
        outside.use(study, out)
        bench = prepare(study, progress)
        refuse_what_cannot_fit(study, len(bench.train.identities))
        rows = competitors(study, len(bench.train.identities), lambda batches: steps(study, bench, batches))
        runs = plan(study, rows, bench.digests)
        document = {"data": bench.records, "runs": [_planned(run) for run in runs]}
        write_atomically(out / "plan.json", json.dumps(document, indent=1).encode())
        outside.keep(study, out)
        write_atomically(out / "study.json", study.model_dump_json(indent=1).encode())
        todo = [run for run in runs if not (out / "runs" / run.folder / "result.json").exists()]
        progress.say(
            f"{len(rows)} losses x {study.seeds} seeds = {len(runs)} runs ({len(todo)} to do) on "
            f"{len(bench.train.labels)} images of {len(bench.train.identities)} identities"
        )
        for row in rows:
            for remark in row.remarks:
                progress.say(f"note on {row.label}: {remark}")
        board = Board(progress, len(runs), len(todo))
        if todo and min(workers, len(todo)) == 1:
            _here(todo, study, bench, out, board)
        elif todo:
            _in_workers(todo, study, out, min(workers, len(todo)), board)
        return assemble(out)


def default_workers() -> int:
    """One single-threaded run per core."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_study(out: Path) -> Study:
    """The study that the folder ``out`` holds.

    Raises:
        BadInput: there is none, or its file was changed into something else.
    """
    file = out / "study.json"
    if not file.exists():
        raise BadInput(f"{out} holds no study (no study.json); start one with: faceloss compare --out {out}")
    try:
        return Study.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise BadInput(f"{file}: {first_error(error)}") from error


def first_error(error: ValidationError) -> str:
    """All that pydantic found, in one sentence."""
    parts = [f"{'.'.join(str(p) for p in e['loc']) or 'settings'}: {e['msg']}" for e in error.errors()]
    return "; ".join(parts) + "."


def _claim(study: Study, out: Path) -> None:
    if (out / "study.json").exists():
        held = read_study(out)
        if held != study:
            was = held.loss_files
            files = [f"{name}.py" for name, sha256 in study.loss_files.items() if was.get(name, sha256) != sha256]
            why = f" (the file {', '.join(files)} was another then)" if files else ""
            raise BadInput(
                f"{out} holds another study{why}; choose another --out, or continue that one: faceloss resume {out}"
            )
        return
    if out.exists() and (not out.is_dir() or any(entry.name != ".lock" for entry in out.iterdir())):
        raise BadInput(f"{out} exists and is not a runs folder; nothing in it was touched: choose another --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out} cannot be made ({error.strerror}); choose another --out.") from error
    if not os.access(out, os.W_OK):
        raise BadInput(f"{out} cannot be written to; choose another --out.")


def _planned(run: Run) -> dict[str, Any]:
    row = run.competitor
    return {"run": run.id, "folder": run.folder, "label": row.label, "loss": row.loss, "seed": run.seed}


class Board:
    """Shows how far all runs are."""

    def __init__(self, progress: Progress, runs: int, todo: int):
        self.progress, self.runs, self.todo = progress, runs, todo
        self.finished = 0
        self.share: dict[str, float] = {}  # of each run, 0 to 1
        self.first: tuple[float, float] | None = None  # time and share of all work at the first report

    def show(self, name: str, step: int, total: int, epoch: str, facts: Facts) -> None:
        """A step of the run ``name`` was taken."""
        self.share[name] = step / total
        done = sum(self.share.values())
        self.first = self.first or (time.monotonic(), done)
        elapsed, gained = time.monotonic() - self.first[0], done - self.first[1]
        left = f"{clock(elapsed * (self.todo - done) / gained)} left" if gained > 0.002 else "estimating"
        text = (
            f"{name}: epoch {epoch}, accuracy {facts.get('accuracy', 0):.3f}, "
            f"target angle {facts.get('target_angle', 0):.0f}\N{DEGREE SIGN}, "
            f"{facts.get('images_per_second', 0):.0f} images/s | {self.finished}/{self.todo} runs done, {left}"
        )
        self.progress(text, round(1000 * done), 1000 * self.todo)

    def done(self, name: str, ended: str) -> None:
        """The run ``name`` is complete; ``ended`` as :func:`execute` says."""
        self.finished += 1
        self.share[name] = 1.0
        status, _, reason = ended.partition(": ")
        head = "done" if status == "finished" else status
        count = f"({self.runs - self.todo + self.finished}/{self.runs})"
        self.progress.say(f"{head}: {name} {count}" + (f": {reason}" if reason else ""))


def _name(run: Run) -> str:
    return f"{run.competitor.label} seed {run.seed}"


def _reporter(run: Run, study: Study, put: Callable[[str, int, int, str, Facts], None]) -> Callable[..., None]:
    def show(state: State, total: int, facts: Facts) -> None:
        put(_name(run), state.step, total, f"{state.epoch + 1}/{study.recipe.epochs}", facts)

    return show


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C ask the runs to finish their step and save, instead of tearing them down."""
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in old:
            signal.signal(number, lambda *_: stop())
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _stopped(out: Path) -> CouldNotFinish:
    return CouldNotFinish(f"stopped after saving; continue with: faceloss resume {out}")


def _here(todo: list[Run], study: Study, bench: Bench, out: Path, board: Board) -> None:
    asked: list[bool] = []
    with _signals(lambda: asked.append(True)):
        for run in todo:
            try:
                show = _reporter(run, study, board.show)
                ended = execute(run, study, bench, out / "runs" / run.folder, stop=lambda: bool(asked), show=show)
            except Stopped as error:
                raise _stopped(out) from error
            board.done(_name(run), ended)
            if asked and run is not todo[-1]:
                raise _stopped(out)


# What a worker process keeps between its runs.
_worker: dict[str, Any] = {}


def _start_worker(study: Study, out: Path, stop: Any, messages: Any, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
    outside.use(study, out)
    _worker.update(study=study, out=out, stop=stop, messages=messages, parent=parent, bench=prepare(study))


def _work(run: Run) -> str:
    study, messages = _worker["study"], _worker["messages"]
    last = 0.0

    def put(*facts: Any) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            messages.put(facts)

    def stop() -> bool:
        return bool(_worker["stop"].is_set()) or os.getppid() != _worker["parent"]

    if stop():
        return "stopped"
    try:
        folder = _worker["out"] / "runs" / run.folder
        return execute(run, study, _worker["bench"], folder, stop=stop, show=_reporter(run, study, put))
    except Stopped:
        return "stopped"


def _in_workers(todo: list[Run], study: Study, out: Path, workers: int, board: Board) -> None:
    single_threaded_numpy()
    context = multiprocessing.get_context("spawn")  # a forked torch can hang in its thread pool
    stop, messages = context.Event(), context.Queue()
    arguments = (study, out, stop, messages, os.getpid())
    with (
        ProcessPoolExecutor(workers, context, _start_worker, arguments) as pool,
        _signals(stop.set),
    ):
        pending: dict[Future[str], Run] = {pool.submit(_work, run): run for run in todo}
        complete = True
        try:
            while pending:
                done, _ = wait(pending, timeout=0.3, return_when=FIRST_COMPLETED)
                _drain(messages, board)
                for future in done:
                    run = pending.pop(future)
                    ended = future.result()
                    if ended == "stopped":
                        complete = False
                    else:
                        board.done(_name(run), ended)
        except BrokenProcessPool as error:
            raise CouldNotFinish(
                "a worker process died (killed, or out of memory); what was done is saved. "
                f"Continue with: faceloss resume {out} (perhaps with fewer --workers)"
            ) from error
        except BaseException:
            stop.set()
            for future in pending:
                future.cancel()
            raise
    if not complete:
        raise _stopped(out)


def _drain(messages: Any, board: Board) -> None:
    while True:
        try:
            board.show(*messages.get_nowait())
        except queue.Empty:
            return
