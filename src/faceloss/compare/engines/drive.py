"""Handing out runs to workers: what every engine does but the one that is this process."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from faceloss.compare.engines.board import Board, name_of
from faceloss.compare.engines.session import (
    PROGRESS,
    close_session,
    open_session,
    read_progress,
    signals,
    steps_saved,
    stopped,
)
from faceloss.compare.engines.work import Outcome
from faceloss.compare.prepare import Bench
from faceloss.compare.run import policy_of
from faceloss.compare.study import Run
from faceloss.errors import BadInput, CouldNotFinish

LOSSES = 3  # workers that a run may cost in a row without getting further
GRACE = 120.0  # seconds in which workers that were asked to stop may save
LATER = 30.0  # seconds until jobs are submitted again that could not be

Job = TypeVar("Job")


class NotNow(Exception):
    """No job can be submitted at present; what keeps them from it, in words."""


class Losses(NamedTuple):
    """What a run has cost: the steps it had saved at the last loss of a worker, and losses in a row since."""

    saved: int
    times: int


def drive(
    todo: list[Run],
    bench: Bench,
    out: Path,
    board: Board,
    *,
    submit: Callable[[list[Run], str], Sequence[Job]],
    ask: Callable[[Job], Outcome | None],
    cancel: Callable[[Sequence[Job]], None],
    at_once: int,
    pause: float = 0.3,
    why: Callable[[], str] = lambda: "",
) -> None:
    """Have all of ``todo`` done by jobs that call :func:`faceloss.compare.engines.work.work`.

    A run whose worker is lost is submitted again and continues from its checkpoint, until it has cost ``LOSSES``
    workers without getting further; the others go on even then. Where more jobs may be submitted than runs are left,
    they help with the candidates of runs that search.

    Args:
        submit: starts a job for each of some runs, given the token of the session; or raises ``NotNow``, to be asked
            again ``LATER``.
        ask: how a job ended; None while it has not. Asked every ``pause`` seconds.
        cancel: ends jobs at once.
        at_once: jobs that may be submitted and not ended.
        why: what keeps jobs from beginning, in a few words for people; asked while none is at work.

    Raises:
        BadInput: something is wrong with what a worker was given (the first such thing; the others were stopped).
        CouldNotFinish: stopped, full disk, a run given up; all is saved.
    """
    waiting, running = deque(todo), dict[tuple[str, int], tuple[Run, Job]]()
    losses: dict[str, Losses] = {}
    widths = {run.id: policy_of(run).width for run in todo}  # once: it reads the file of the loss
    given_up: list[str] = []
    asked: list[float] = []  # when a signal asked to stop
    wrong: Outcome | None = None
    complete = True
    until = later = 0.0
    token = open_session(out, bench)

    def folder(run: Run) -> Path:
        return out / "runs" / run.folder

    try:
        with signals(lambda: asked.append(time.monotonic())):
            while running or waiting:
                if (asked or wrong) and not until:  # from now on only waiting for those at work to save
                    until = time.monotonic() + GRACE
                    close_session(out)
                    complete = not waiting and complete
                    waiting.clear()
                    idle = [key for key, (run, _) in running.items() if read_progress(folder(run), token) is None]
                    cancel([running.pop(key)[1] for key in idle])
                    complete = not idle and complete
                if until and (len(asked) > 1 or time.monotonic() > until):
                    complete = False
                    break
                room = at_once - len(running)
                if room > 0 and not until and time.monotonic() > later:
                    runs = [waiting.popleft() for _ in range(min(len(waiting), room))]
                    for run in runs:
                        (folder(run) / PROGRESS).unlink(missing_ok=True)
                    some = runs or _helpers([run for run, _ in running.values()], room, losses, widths)
                    try:
                        jobs = submit(some, token) if some else ()
                        running |= {_key(run): (run, job) for run, job in zip(some, jobs, strict=True)}
                    except NotNow as error:
                        waiting.extendleft(reversed(runs))
                        later = time.monotonic() + LATER
                        board.say(f"{error}; trying again in {LATER:.0f} s")
                begun = False
                for run, job in list(running.values()):
                    outcome = ask(job)
                    if outcome is None:
                        if not run.helper and (facts := read_progress(folder(run), token)):
                            begun = True
                            board.show(run, facts)
                        continue
                    del running[_key(run)]
                    if run.helper and (outcome.kind in ("done", "stopped", "lost") or until):
                        if outcome.kind == "lost":
                            losses[f"help {run.id}"] = _count(losses.get(f"help {run.id}"), 0)
                        continue
                    if outcome.kind == "done" and not _arrived(folder(run)):
                        wrong = wrong or Outcome(
                            "could not finish",
                            f"{name_of(run)} is done, but {folder(run) / 'result.json'} cannot be seen from here; the "
                            "runs folder must be on a disk that all machines share",
                        )
                    elif outcome.kind == "done":
                        board.done(run, outcome.text)
                    elif outcome.kind not in ("lost", "stopped"):
                        wrong = wrong or outcome
                    elif until:
                        complete = False
                    else:
                        losses[run.id] = _count(losses.get(run.id), steps_saved(folder(run)))
                        if losses[run.id].times < LOSSES:
                            board.say(f"taken over: {name_of(run)} ({outcome.text or 'its worker had to stop'})")
                            waiting.append(run)
                        else:
                            given_up.append(f"{name_of(run)} ({outcome.text or 'its worker had to stop'})")
                if running or waiting:
                    runs = [*waiting, *(run for run, _ in running.values() if not run.helper)]
                    if runs and not begun:
                        board.wait(len(runs), why())
                    time.sleep(pause)
    finally:
        close_session(out)
        cancel([job for _, job in running.values()])
    if wrong is not None:
        if wrong.kind == "error":
            raise RuntimeError(f"a worker failed:\n{wrong.text}")
        raise (BadInput if wrong.kind == "bad input" else CouldNotFinish)(wrong.text)
    if not complete:
        raise stopped(out)
    if given_up:
        raise CouldNotFinish(
            f"lost {LOSSES} workers in a row without getting further: {', '.join(given_up)}; perhaps memory ran out "
            f"(fewer --workers, or more memory for each). All else is done; continue with: faceloss resume {out}"
        )


def _key(run: Run) -> tuple[str, int]:
    return run.id, run.helper


def _helpers(running: list[Run], room: int, losses: dict[str, Losses], widths: dict[str, int]) -> list[Run]:
    """Up to ``room`` helpers for runs that search, as many to a run as leave each one of its ``widths`` candidates."""
    found: list[Run] = []
    taken = {_key(run) for run in running}
    for number in range(1, room + 1):
        for run in running:
            lost = losses.get(f"help {run.id}")
            useful = not run.helper and number < widths[run.id] and (lost is None or lost.times < LOSSES)
            if useful and (run.id, number) not in taken and len(found) < room:
                found.append(run._replace(helper=number))
    return found


def _arrived(folder: Path) -> bool:
    """Whether the result is there. What another machine wrote may take a minute to be seen over the network."""
    for _ in range(90):
        os.listdir(folder)
        if (folder / "result.json").exists():
            return True
        time.sleep(1.0)
    return False


def _count(before: Losses | None, saved: int) -> Losses:
    return Losses(saved, before.times + 1 if before is not None and saved <= before.saved else 1)
