"""One run of a loss that is searched for: in each epoch several candidates from the same weights, the best goes on.

Everything is in files of the run's folder, so a run that was killed continues where each candidate was, and any number
of processes can work on the candidates of an epoch: each takes one that nobody holds the lock of. What is decided is a
pure function of what the files say, and each candidate is trained by one process, so the result is the same to the bit
however many work on it and whichever of them die.

    search.json                 what was decided in the epochs that are over, and the state of the policy
    search/EPOCH/scores.json    what the candidates of EPOCH are worth to first order
    search/EPOCH/CANDIDATE/     its checkpoint, and its reward at each rung that it has reached
"""

import errno
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faceloss.compare.judge import embedder, observe
from faceloss.compare.prepare import Bench
from faceloss.compare.reward import images, reward
from faceloss.compare.search_log import LOG, PLACE, damaged, read
from faceloss.compare.study import Run, Study
from faceloss.data.keys import key
from faceloss.files import write_atomically
from faceloss.lock import InUse, locked
from faceloss.search.courses import Course
from faceloss.search.policy import Policy, Rungs
from faceloss.train import checkpoint
from faceloss.train.epochs import FaceEpochs
from faceloss.train.first_order import scores
from faceloss.train.loop import Diverged, LossFailed, Stopped, embed, train
from faceloss.train.state import State

NAME = "checkpoint"
SPARED = 2  # of so many validation images one is enough for a gradient
PAUSE = 0.05  # seconds between two looks at what others have done
Show = Callable[[State, int, dict[str, float]], None]


class Rung(NamedTuple):
    """A point of the epoch at which candidates are compared."""

    number: int
    share: float


class Job(NamedTuple):
    """Something that one process does, and the file that says it is done."""

    file: Path
    do: Callable[[], None]


@dataclass(frozen=True)
class Search:
    """A run that is searched for: what stays the same while it goes on. ``build`` makes the state of its start."""

    run: Run
    study: Study
    bench: Bench
    folder: Path
    policy: Policy
    build: Callable[[], State]
    stop: Callable[[], bool] = lambda: False
    show: Show = lambda state, total, now: None

    @cached_property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return len(self.epochs(0).batches(0))

    @cached_property
    def looked_at(self) -> tuple[Any, Any]:
        """Crops and identity numbers of the validation images that reward."""
        assert self.bench.val is not None
        chosen = images(self.bench.val)
        return self.bench.val.pixels[chosen], self.bench.val.labels[chosen]

    def seed(self, candidate: int) -> int:
        """Of the batches of a candidate."""
        return key(self.run.seed, candidate, "candidate") % 2**62 if self.policy.own_batches else self.run.seed

    def epochs(self, candidate: int) -> FaceEpochs:
        """The batches of a candidate."""
        return FaceEpochs(self.bench.train, self.study.recipe, self.seed(candidate), self.run.competitor.batches)

    def place(self, epoch: int, candidate: int) -> Path:
        """The folder of a candidate."""
        return self.folder / PLACE / str(epoch) / str(candidate)


def search(about: Search, alone: Callable[[], bool] | None = None) -> State:
    """Bring the search to its end and return the state of the model that went on.

    Of several processes one decides, and is the only one to write ``search.json``; the others call this with ``alone``,
    which tells whether that one has ended, and help until then. What they return has not been trained.

    Raises:
        Stopped: ``about.stop`` said so; everything is saved.
        Diverged, LossFailed: all candidates of an epoch ended in this.
    """
    while True:
        log = read(about.folder)
        epoch = len(log["epochs"])
        if epoch == about.study.recipe.epochs or (alone is not None and alone()):
            break
        if log["policy"] is not None:
            about.policy.restore(log["policy"])
        try:
            entry = _epoch(about, epoch, log, alone)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            if alone is None:
                raise damaged(about.folder, "a candidate's checkpoint is gone") from error
            continue  # what a helper was about to read was decided on and deleted meanwhile
        if entry is None:
            continue
        if alone is None:
            log = {"epochs": [*log["epochs"], entry], "policy": about.policy.state()}
            entry["observed"] = observe(embedder(_start(about, log), about.study), about.bench.val)
            write_atomically(about.folder / LOG, json.dumps(log).encode())
            shutil.rmtree(about.folder / PLACE / str(epoch - 1), ignore_errors=True)
        while alone is not None and len(read(about.folder)["epochs"]) == epoch and not alone():
            _rest(about)
    if alone is not None:
        return about.build()
    log = read(about.folder)
    state = _start(about, log)
    for past, entry in zip(state.history, log["epochs"], strict=True):
        past.update(entry["observed"])
    return state


def _epoch(about: Search, epoch: int, log: dict[str, Any], alone: Callable[[], bool] | None) -> dict[str, Any] | None:
    """Have the candidates of ``epoch`` tried and decide between them; None where a helper is no longer needed."""
    policy = about.policy
    courses = policy.ask(epoch)
    values = [course(epoch / about.study.recipe.epochs) for course in courses]
    past = log["epochs"][-1] if log["epochs"] else {"seen": 0, "lived": 0.0}
    entry: dict[str, Any] = {"epoch": epoch + 1, "policy": policy.facts(), "images": 0, "seconds": 0.0}
    worth: list[float | None] = []
    left = list(range(len(courses)))
    if policy.scored and len(courses) > 1:
        file = about.folder / PLACE / str(epoch) / "scores.json"
        if not _together(about, [Job(file, lambda: _score(about, log, values, file))], alone):
            return None
        found = json.loads(file.read_text())
        worth, entry["seconds"] = found["scores"], found["seconds"]
    if len(courses) > 1:
        left = policy.keep(epoch, [math.nan if x is None else x for x in worth])
    rungs = policy.rungs if len(courses) > 1 else policy.rungs[-1:]
    tried: list[dict[int, float | None]] = []
    known = dict.fromkeys(left, past)  # what each had seen, and how long it had lived, at the rung before
    done, total = 0.0, _work(rungs, len(left))
    share = 0.0
    for number, (end, kept) in enumerate(rungs):
        each, share = (end - share) / total, end
        jobs = []
        for i in left:
            jobs.append(_advance(about, log, epoch, i, courses[i], Rung(number, end), (done, each)))
            done += each
        if not _together(about, jobs, alone):
            return None
        ends = {i: json.loads(job.file.read_text()) for i, job in zip(left, jobs, strict=True)}
        for i, now in ends.items():
            entry["images"] += now["seen"] - known[i]["seen"]
            entry["seconds"] += now["lived"] - known[i]["lived"]
        known = ends
        tried.append({i: now["reward"] for i, now in ends.items()})
        good = [i for i in left if ends[i]["reward"] is not None]
        if not good:
            words = "; ".join(sorted({now["failed"] for now in ends.values()}))
            nothing = np.array([], dtype=np.int64)
            raise Diverged(words, nothing) if any(now["diverged"] for now in ends.values()) else LossFailed(words)
        left = sorted(good, key=lambda i: -ends[i]["reward"])[:kept]  # of equal ones the first
    if len(courses) > 1:
        worst = min(r for r in tried[0].values() if r is not None)
        told = {i: worst if r is None else r for i, r in tried[0].items()}
        policy.tell(epoch, told, [math.nan if x is None else x for x in worth])
    entry |= {"chosen": left[0], "seen": known[left[0]]["seen"], "lived": known[left[0]]["lived"]}
    entry["candidates"] = [
        {"values": v, "score": s, "rewards": [rung[i] for rung in tried if i in rung]}
        for i, (v, s) in enumerate(zip(values, worth or [None] * len(values), strict=True))
    ]
    return entry


def _work(rungs: Rungs, candidates: int) -> float:
    """Epochs that all candidates of an epoch take together."""
    total, share = 0.0, 0.0
    for end, kept in rungs:
        total, share, candidates = total + (end - share) * candidates, end, min(candidates, kept)
    return total


def _together(about: Search, jobs: Sequence[Job], alone: Callable[[], bool] | None) -> bool:
    """Have all ``jobs`` done, by this process and those that help it; False where a helper is no longer needed."""
    while waiting := [job for job in jobs if not job.file.exists()]:
        worked = False
        for job in waiting:
            job.file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with locked(job.file.parent):
                    if not job.file.exists():
                        job.do()
                    worked = True
            except InUse:
                continue
        if not worked:
            _rest(about)
        if alone is not None and alone():
            return False
    return True


def _rest(about: Search) -> None:
    time.sleep(PAUSE)
    if about.stop():
        raise Stopped


def _advance(
    about: Search,
    log: dict[str, Any],
    epoch: int,
    candidate: int,
    course: Course,
    rung: Rung,
    part: tuple[float, float],
) -> Job:
    """Train ``candidate`` to ``rung`` and reward it there. ``part`` of the epoch's work: what is done, and this job."""
    folder = about.place(epoch, candidate)
    file = folder / f"rung-{rung.number}.json"
    begin, total = epoch * about.per_epoch, about.per_epoch * about.study.recipe.epochs
    until = begin + max(1, round(rung.share * about.per_epoch))

    def job() -> None:
        saved = checkpoint.load(folder, NAME)
        state = _start(about, log) if saved is None else about.build()
        if saved is not None:
            state.restore(*saved)
        first = state.step

        def show(now: State, _: int, facts: dict[str, float]) -> None:
            share = part[0] + part[1] * (now.step - first) / max(1, until - first)
            about.show(replace(now, step=begin + int(share * about.per_epoch)), total, facts)

        worth, failed, diverged = math.nan, "the reward is not a finite number", True
        try:
            train(
                state,
                about.epochs(candidate),
                about.study.recipe,
                seed=about.seed(candidate),
                courses=lambda _: course,
                until=until,
                save=lambda now: checkpoint.save(folder, NAME, now.tensors(), now.facts()),
                stop=about.stop,
                show=show,
            )
            started = time.perf_counter()
            worth = _look(about, state)
            state.seconds += time.perf_counter() - started
        except (Diverged, LossFailed) as error:
            failed, diverged = str(error), isinstance(error, Diverged)
        done: dict[str, Any] = {"reward": worth, "seen": state.images_seen, "lived": state.seconds}
        if not math.isfinite(worth):
            done |= {"reward": None, "failed": failed, "diverged": diverged}
        write_atomically(file, json.dumps(done).encode())

    return Job(file, job)


def _look(about: Search, state: State) -> float:
    """The reward of a candidate; nan where it has none."""
    pixels, labels = about.looked_at
    recipe = about.study.recipe.model_copy(update={"flip_test": False})
    embeddings = embed(state.net, pixels, recipe, project=state.loss.embed)
    return reward(about.policy.reward, embeddings, labels) if np.isfinite(embeddings).all() else math.nan


def _score(about: Search, log: dict[str, Any], values: Sequence[dict[str, float]], file: Path) -> None:
    """Score the candidates of the epoch that ``log`` is at."""
    started = time.perf_counter()
    state = _start(about, log)
    pixels, labels = about.looked_at
    found = scores(
        state,
        about.epochs(0),
        about.study.recipe,
        values,
        (pixels[::SPARED], labels[::SPARED]),
        seed=about.seed(0),
        steps=about.policy.scored,
    )
    done = {"scores": [x if math.isfinite(x) else None for x in found], "seconds": time.perf_counter() - started}
    write_atomically(file, json.dumps(done).encode())


def _start(about: Search, log: dict[str, Any]) -> State:
    """The state that the epochs in ``log`` have led to."""
    state = about.build()
    if log["epochs"]:
        saved = checkpoint.load(about.place(len(log["epochs"]) - 1, log["epochs"][-1]["chosen"]), NAME)
        if saved is None:
            raise FileNotFoundError(errno.ENOENT, "a candidate's checkpoint is gone")
        state.restore(*saved)
    return state
