"""How far all runs of a study are, wherever they run."""

import time
from typing import Any

from faceloss.compare.study import Run
from faceloss.progress import Progress, clock


def name_of(run: Run) -> str:
    """The name of a run for people."""
    return f"{run.competitor.label} seed {run.seed}"


class Board:
    """Shows how far all runs are."""

    def __init__(self, progress: Progress, runs: int, todo: int):
        self.progress, self.runs, self.todo = progress, runs, todo
        self.finished = 0
        self.share: dict[str, float] = {}  # of each run, 0 to 1
        self.first: tuple[float, float] | None = None  # time and share of all work at the first report

    def show(self, run: Run, facts: dict[str, Any]) -> None:
        """How far ``run`` is: ``facts`` as :func:`facts_of` gives them."""
        name = name_of(run)
        self.share[name] = facts["step"] / facts["total"]
        done = sum(self.share.values())
        self.first = self.first or (time.monotonic(), done)
        elapsed, gained = time.monotonic() - self.first[0], done - self.first[1]
        left = f"{clock(elapsed * (self.todo - done) / gained)} left" if gained > 0.002 else "estimating"
        doing = (
            f"{name}: epoch {facts['epoch']}, accuracy {facts.get('accuracy', 0):.3f}, "
            f"target angle {facts.get('target_angle', 0):.0f}\N{DEGREE SIGN}, "
            f"{facts.get('images_per_second', 0):.0f} images/s"
        )
        if "conditions" in facts:
            doing = f"{name}: trained; test under corruption {facts['corrupted']:.0f} of {facts['conditions']:.0f}"
        text = f"{doing} | {self.finished}/{self.todo} runs done, {left}"
        self.progress(text, round(1000 * done), 1000 * self.todo)

    def wait(self, runs: int, why: str) -> None:
        """Of ``runs`` that were handed out none has begun; ``why``, where the engine knows it."""
        text = f"waiting for {runs} run{'s' * (runs > 1)} to begin" + (f": {why}" if why else "")
        done = sum(self.share.values())
        self.progress(f"{text} | {self.finished}/{self.todo} runs done", round(1000 * done), 1000 * self.todo)

    def done(self, run: Run, ended: str) -> None:
        """``run`` is complete; ``ended`` as :func:`faceloss.compare.run.execute` says."""
        self.finished += 1
        self.share[name_of(run)] = 1.0
        status, _, reason = ended.partition(": ")
        head = "done" if status == "finished" else status
        count = f"({self.runs - self.todo + self.finished}/{self.runs})"
        self.progress.say(f"{head}: {name_of(run)} {count}" + (f": {reason}" if reason else ""))

    def say(self, line: str) -> None:
        """A line that stays."""
        self.progress.say(line)
