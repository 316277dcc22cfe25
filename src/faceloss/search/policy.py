"""Policies: what hyperparameters a loss has in each epoch, and what is learnt from how that went.

Training is search with one candidate. A policy is asked before an epoch for its candidates, each a course
(:mod:`faceloss.search.courses`); with one candidate the epoch is ordinary training. With several, each is tried on a
copy of all that is trained (weights, moments of the optimizer, buffers), from the same start and on the same batches.
The trial has rungs: after the share of the epoch that a rung names, its best candidates go on; the one that is left
at the end of the epoch goes on into the next. The policy is then told the rewards of the first rung.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceloss.data.keys import generator
from faceloss.search.courses import Course

Values = dict[str, float]
Rungs = tuple[tuple[float, int], ...]  # share of the epoch, candidates that go on from there

FULL: Rungs = ((1.0, 1),)


def halving(candidates: int) -> Rungs:
    """Successive halving: each rung keeps half of the candidates, and the last one is at the end of the epoch.

    It costs log2(candidates) / 2 + 1 epochs in place of ``candidates``.

    Source: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
    2016 (arXiv 1502.07943).

    >>> halving(8)
    ((0.125, 4), (0.25, 2), (0.5, 1), (1.0, 1))
    """
    rungs, share, left = [], 1.0 / candidates, candidates
    while left > 1:
        left = -(-left // 2)
        rungs.append((min(share, 1.0), left))
        share *= 2
    return (*rungs, (1.0, 1))


class Policy:
    """One candidate that never changes; what the others are derived from.

    Attributes:
        width: candidates of an epoch.
        rungs: how they are tried; the last rung is at share 1 and keeps one.
        reward: the name of what is told (:mod:`faceloss.compare.reward`); higher is better.
        scored: training steps at the start of an epoch on which the candidates are scored to first order before they
            are tried (:mod:`faceloss.train.first_order`); 0: none.
        own_batches: whether each candidate has batches of its own; the same for all otherwise.
    """

    width = 1
    rungs = FULL
    reward = "similarity"
    scored = 0
    own_batches = False

    def __init__(self, course: Course):
        self.course = course

    def ask(self, epoch: int) -> list[Course]:
        """The candidates of ``epoch``; the same however often it is asked."""
        return [self.course]

    def keep(self, epoch: int, scores: Sequence[float]) -> list[int]:
        """Which candidates of ``epoch`` are tried, given what they were ``scored``."""
        return list(range(self.width))

    def tell(self, epoch: int, rewards: Mapping[int, float], scores: Sequence[float] = ()) -> None:
        """Learn from the ``rewards`` of the candidates of ``epoch`` that were tried, and their ``scores`` if any.

        Raises:
            ValueError: a reward is missing or no finite number.
        """

    def state(self) -> dict[str, Any]:
        """What moves, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave."""

    def facts(self) -> dict[str, Any]:
        """What people want to see of it in each epoch, as JSON: "mean" and "deviation", by hyperparameter."""
        return {}


def still(values: Values) -> Course:
    """The course that stays at ``values``."""
    return lambda progress: dict(values)


class Random(Policy):
    """In each epoch numbers drawn anew, uniformly between ``low`` and ``high``: Random-Softmax.

    Args:
        values: the hyperparameters from the number drawn.
        seed: of the draws, which depend on it and on the epoch alone.

    Raises:
        ValueError: ``low`` above ``high``.
    """

    def __init__(self, values: Callable[[float], Values], *, low: float, high: float, seed: int):
        if not low <= high:
            raise ValueError(f"low must be at most high; given low {low:g} and high {high:g}.")
        self.values, self.low, self.high, self.seed = values, low, high, seed

    def ask(self, epoch: int) -> list[Course]:
        drawn = generator(self.seed, epoch, "random policy").uniform(self.low, self.high)
        return [still(self.values(float(drawn)))]


class Replay(Policy):
    """A schedule that was found before, from scratch: in each epoch its hyperparameters, and no search.

    ``schedule`` has one entry an epoch. A longer training goes through it more slowly, ``epochs`` being its number.
    """

    def __init__(self, schedule: Sequence[Values], epochs: int):
        self.schedule, self.epochs = list(schedule), epochs

    def ask(self, epoch: int) -> list[Course]:
        return [still(self.schedule[epoch * len(self.schedule) // self.epochs])]
