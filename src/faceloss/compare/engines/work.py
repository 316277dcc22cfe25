"""One run on a worker, whichever engine handed it over."""

import contextlib
import os
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from faceloss.compare import outside
from faceloss.compare.engines.session import (
    PROGRESS,
    facts_of,
    same_faces,
    same_numerics,
    see,
    session,
    versions,
    write_progress,
)
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.run import execute, help_with
from faceloss.compare.study import Run, Study
from faceloss.errors import BadInput, CouldNotFinish, FacelossError
from faceloss.files import read_shared
from faceloss.lock import InUse
from faceloss.train.loop import Stopped
from faceloss.train.state import State

EVERY = 1.0  # seconds between two looks at, and words in, the runs folder


class Outcome(NamedTuple):
    """How a worker's part in a run ended.

    "done": ``text`` as :func:`execute` says. "stopped": it was asked to, and saved. "lost": the worker died or could
    not get hold of the run; another may take it over. Otherwise ``text`` is a sentence about what is wrong, or the
    traceback of an error in faceloss.
    """

    kind: Literal["done", "stopped", "lost", "bad input", "could not finish", "error"]
    text: str = ""


_faces: dict[tuple[str, tuple[str, ...]], Bench] = {}  # what a worker keeps for its next run: the latest study's


def work(run: Run, out: Path, token: str, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Bring ``run`` of the study in ``out`` to its end, or until the session ``token`` is over or ``stop`` says so."""
    host = socket.gethostname()
    try:
        return _work(run, out, token, stop)
    except InUse as error:
        return Outcome("lost", str(error))
    except FacelossError as error:
        where = "" if session(out).get("host") in (None, host) else f"{host}: "
        return Outcome("bad input" if isinstance(error, BadInput) else "could not finish", f"{where}{error}")
    except OSError as error:
        if error.filename is None:
            return Outcome("error", traceback.format_exc())
        return Outcome("could not finish", f"{host}: {error.filename}: {error.strerror}")
    except Exception:
        return Outcome("error", traceback.format_exc())


def _work(run: Run, out: Path, token: str, stop: Callable[[], bool]) -> Outcome:
    held = _await_session(out, token)
    if held is None:
        return Outcome("stopped")
    if held["versions"] != versions():
        raise CouldNotFinish(
            f"{socket.gethostname()} has {_in_words(versions())}, but the study is run by {_in_words(held['versions'])}"
            "; install the same on every machine."
        )
    with contextlib.suppress(OSError):
        os.chdir(held["folder"])  # what the study's relative paths are relative to
    study = Study.model_validate_json(read_shared(out / "study.json"))
    same_numerics(study, out)
    outside.use(study, out)
    bench = _bench(study, tuple(held["digests"]))
    folder = out / "runs" / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    told = looked = 0.0
    over = False

    def show(state: State, total: int, facts: dict[str, float]) -> None:
        nonlocal told
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            write_progress(folder, token, facts_of(state, total, run, study, facts))

    def ask() -> bool:
        nonlocal looked, over
        if not over and time.monotonic() - looked > EVERY:
            looked = time.monotonic()
            with contextlib.suppress(OSError, ValueError):  # a shared disk may be away for a moment
                over = session(out).get("token") != token
        return over or stop()

    if ask():
        return Outcome("stopped")
    if run.helper:
        try:
            return Outcome("done", help_with(run, study, bench, folder, stop=ask))
        except Stopped:
            return Outcome("stopped")
    try:
        ended = execute(run, study, bench, folder, stop=ask, show=show)
    except Stopped:
        return Outcome("stopped")
    (folder / PROGRESS).unlink(missing_ok=True)
    return Outcome("done", ended)


def _await_session(out: Path, token: str) -> dict[str, Any] | None:
    """The session ``token``; None where it is over. What was just written may take a moment to reach this machine.

    Raises:
        BadInput: this machine does not see the runs folder.
    """
    for _ in range(5):
        held = session(out)
        if held.get("token") == token:
            return held
        time.sleep(EVERY)
    see(out)
    return None


def _bench(study: Study, digests: tuple[str, ...]) -> Bench:
    key = (study.model_dump_json(), digests)
    if key not in _faces:
        _faces.clear()
        bench = prepare(study)
        same_faces(bench, digests, study, "on the machine that hands out the runs")
        _faces[key] = bench
    return _faces[key]


def _in_words(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
