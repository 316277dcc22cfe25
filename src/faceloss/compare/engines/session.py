"""What the process that hands out runs and its workers tell each other: small files in the runs folder.

``session.json`` names the process that hands out the runs, by a token of its own. A worker stops, after saving, when
the file is gone or holds another token: that is how a stop reaches every machine, and how a process that continues a
study takes it over from workers that a dead one left behind. ``runs/RUN/progress.json`` says how far a run is, and
where; ``numerics.json``, what every run of the study computes on and in which precision.
"""

import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceloss import __version__
from faceloss.compare.prepare import Bench
from faceloss.compare.search_log import PLACE, read
from faceloss.compare.study import Run, Study
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.files import read_shared, write_atomically
from faceloss.train.state import State, resolve_device, resolve_precision

SESSION, PROGRESS, NUMERICS = "session.json", "progress.json", "numerics.json"
MANY = 10**12  # more than the steps of all candidates of an epoch


def versions() -> dict[str, str]:
    """Of the packages that decide the numbers."""
    return {"faceloss": __version__, "torch": torch.__version__, "numpy": np.__version__}


def open_session(out: Path, bench: Bench) -> str:
    """Say in ``out`` that this process hands out its runs from now on; returns the token for its workers."""
    token = secrets.token_hex(8)
    facts = {
        "token": token,
        "host": socket.gethostname(),
        "folder": os.getcwd(),
        "versions": versions(),
        "digests": list(bench.digests),
    }
    write_atomically(out / SESSION, json.dumps(facts, indent=1).encode())
    return token


def close_session(out: Path) -> None:
    """Tell the workers of whoever handed out the runs of ``out``, be it a process that died, to stop after saving."""
    (out / SESSION).unlink(missing_ok=True)


def session(out: Path) -> dict[str, Any]:
    """What :func:`open_session` wrote; empty where there is no session."""
    with suppress(OSError):
        os.listdir(out)  # a file system shared over the network then looks for what is new
    try:
        found = json.loads(read_shared(out / SESSION))
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}


def see(out: Path) -> None:
    """Refuse to go on where this machine does not see the runs folder ``out`` of others."""
    if not (out / "study.json").exists():
        raise BadInput(
            f"{socket.gethostname()} does not see {out / 'study.json'}; the runs folder must be on a disk that all "
            "machines share, under the same path: choose such an --out."
        )


def same_faces(bench: Bench, digests: Sequence[str], study: Study, whose: str) -> None:
    """Refuse to go on where the faces of this machine are not those with ``digests``, which are ``whose``."""
    if bench.digests != tuple(digests):
        raise BadInput(
            f"the faces of {study.data} on {socket.gethostname()} are not those {whose}; give every machine the same "
            "images."
        )


def facts_of(state: State, total: int, run: Run, study: Study, facts: dict[str, float]) -> dict[str, Any]:
    """What a board shows of a run: step, total number of steps, epoch, and the statistics ``facts`` of the step."""
    shown = ("accuracy", "target_angle", "images_per_second", "corrupted", "conditions")
    epoch = f"{state.epoch + 1}/{study.recipe.epochs * run.competitor.times}"
    return {"step": state.step, "total": total, "epoch": epoch, **{k: facts[k] for k in shown if k in facts}}


def write_progress(folder: Path, token: str, facts: dict[str, Any]) -> None:
    """Leave word of how far the run in ``folder`` is. Costs nothing when lost, so a failure is none."""
    facts = {"token": token, "host": socket.gethostname(), "process": os.getpid(), **facts}
    temporary = folder / f".{PROGRESS}.part"
    with suppress(OSError):
        temporary.write_text(json.dumps(facts))
        os.replace(temporary, folder / PROGRESS)


def read_progress(folder: Path, token: str) -> dict[str, Any] | None:
    """The latest word on the run in ``folder`` from a worker of ``token``; None where there is none."""
    try:
        facts = json.loads((folder / PROGRESS).read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get("token") == token else None


def steps_saved(folder: Path) -> int:
    """A number that grows with what is saved of the run in ``folder``: its steps, over all candidates of a search."""

    def steps(file: Path) -> int:
        try:
            return int(json.loads(file.read_bytes())["facts"]["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    files = [folder / "checkpoint.json", *folder.glob(f"{PLACE}/*/*/checkpoint.json")]
    return MANY * len(read(folder)["epochs"]) + sum(steps(file) for file in files)


def same_numerics(study: Study, out: Path) -> None:
    """See that this machine computes as those did that were the first to work on the study in ``out``.

    "auto" finds a GPU on one machine and none on the next, bfloat16 here and float32 there; losses trained so would be
    compared by their machines.

    Raises:
        CouldNotFinish: it does not.
    """
    device = resolve_device(study.recipe.device)
    mine = {"device": device.type, "precision": resolve_precision(study.recipe.precision, device)}
    file = out / NUMERICS
    with suppress(FileExistsError), open(file, "x") as new:  # one of those who come at the same time wins
        new.write(json.dumps(mine))
    for _ in range(50):
        if text := file.read_text():
            break
        time.sleep(0.1)  # the winner has not written yet
    else:  # it died before it could
        write_atomically(file, json.dumps(mine).encode())
        return
    theirs = json.loads(text)
    if theirs != mine:
        raise CouldNotFinish(
            f"this study computes in {theirs['precision']} on {theirs['device']}, but {socket.gethostname()} would in "
            f"{mine['precision']} on {mine['device']}; continue on a machine like the first, or start a study with "
            "--set device=... and --set precision=... that all machines can do."
        )


@contextmanager
def signals(stop: Callable[[], None], *numbers: signal.Signals) -> Iterator[None]:
    """Within it, the signals (SIGTERM and Ctrl-C if none are named) call ``stop`` instead of ending the process."""
    old = {number: signal.getsignal(number) for number in numbers or (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in old:
            signal.signal(number, lambda *_: stop())
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def stopped(out: Path) -> CouldNotFinish:
    """The error of a study that was asked to stop."""
    return CouldNotFinish(f"stopped after saving; continue with: faceloss resume {out}")
