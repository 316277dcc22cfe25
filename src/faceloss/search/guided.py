"""Reward-guided search while a network trains: a Gaussian whose mean follows the rewards.

In each epoch candidates x_1 .. x_B are drawn, one model is trained with each from the same weights, and the mean goes
up the score function of the rewards (REINFORCE), by a step of Adam in each coordinate:

    x_i ~ N(mu, sigma^2 I),   mu <- mu + Adam( 1/B sum_i R_i (x_i - mu) / sigma^2 )

with the rewards R_i of an epoch shifted to mean 0 and scaled to variance 1. The one number of Search-Softmax is meant
to be u = ln(1 - a), the nats that the margin takes from the target (:func:`margin`): in units of a the same step is a
thousand times larger at one end than at the other. The draw itself is scored; what a loss cannot use is cut off later.

Source: Wang et al., "Loss Function Search for Face Recognition", ICML 2020, algorithm 1 (arXiv 2007.06542); sigma, the
rate and the coefficients of Adam as in its released code. :class:`AsPublished` is what that code does instead.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceloss.data.keys import generator
from faceloss.search.courses import Course
from faceloss.search.policy import FULL, Policy, Rungs, Values, still

BETAS = (0.5, 0.999)  # of Adam
EPSILON = 1e-8


def margin(u: float) -> Values:
    """The hyperparameter a of Search-Softmax that takes ``u`` nats from the target, none where u is negative.

    >>> margin(-0.5)["a"]
    -0.0
    """
    return {"a": -math.expm1(max(u, 0.0))}


def nats(a: float) -> float:
    """u = ln(1 - a), the other way round.

    >>> round(nats(-42901.0), 3)
    10.667
    """
    return math.log1p(-a)


class Guided(Policy):
    """The Gaussian, its candidates and its mean.

    Args:
        mean: mu at the start, one number a coordinate.
        values: the hyperparameters from a draw of as many numbers.
        deviation: sigma, above 0.
        candidates: B, at least 2; with noisy rewards four and more.
        rate: step size of Adam.
        seed: of the draws, which depend on it and on the epoch alone.
        rungs: how the candidates are tried; all for the whole epoch as published.
        reward: what is told.
        same: all candidates are the mean, and each has batches of its own. What is left is the choice of the best of B
            models: the control that a search must beat.

    Raises:
        ValueError: one of these out of range.
    """

    def __init__(
        self,
        mean: Sequence[float],
        values: Callable[[Sequence[float]], Values] = lambda x: margin(x[0]),
        *,
        deviation: float = 0.2,
        candidates: int = 4,
        rate: float = 0.05,
        seed: int = 0,
        rungs: Rungs = FULL,
        reward: str = Policy.reward,
        same: bool = False,
    ):
        if not (deviation > 0 and rate > 0 and candidates >= 2 and mean and all(map(math.isfinite, mean))):
            raise ValueError(
                "A search needs a finite mean, deviation and rate above 0 and at least 2 candidates; given mean "
                f"{', '.join(f'{x:g}' for x in mean)}, deviation {deviation:g}, rate {rate:g}, {candidates} candidates."
            )
        self.mean, self.values = list(mean), values
        self.deviation, self.width, self.rate, self.seed = deviation, candidates, rate, seed
        self.rungs, self.reward, self.own_batches = rungs, reward, same
        self.moments = [[0.0, 0.0] for _ in mean]  # of Adam
        self.steps = 0

    def draws(self, epoch: int) -> list[list[float]]:
        """The raw draws of ``epoch``, one list of coordinates a candidate."""
        center = self.center()
        if self.own_batches:
            return [center] * self.width
        noise = generator(self.seed, epoch, "search").standard_normal((self.width, len(center)))
        return [[c + self.deviation * float(z) for c, z in zip(center, row, strict=True)] for row in noise]

    def ask(self, epoch: int) -> list[Course]:
        return [still(self.values(draw)) for draw in self.draws(epoch)]

    def tell(self, epoch: int, rewards: Mapping[int, float], scores: Sequence[float] = ()) -> None:
        if sorted(rewards) != list(range(self.width)) or not all(map(math.isfinite, rewards.values())):
            raise ValueError(f"One finite reward for each of {self.width} candidates; given {dict(rewards)}.")
        if self.own_batches:
            return
        mean = sum(rewards.values()) / self.width
        spread = math.sqrt(sum((reward - mean) ** 2 for reward in rewards.values()) / self.width)
        slope = [0.0] * len(self.mean)
        for i, draw in enumerate(self.draws(epoch)):
            weight = (rewards[i] - mean) / (spread or 1.0) / self.width
            slope = [total + weight * part for total, part in zip(slope, self.score(draw), strict=True)]
        self._step(slope)

    def center(self) -> list[float]:
        """The middle of the Gaussian."""
        return list(self.mean)

    def score(self, draw: Sequence[float]) -> list[float]:
        """The derivative of the log density of a draw with respect to ``mean``."""
        return [(x - mu) / self.deviation**2 for x, mu in zip(draw, self.mean, strict=True)]

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "moments": self.moments, "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.steps = list(state["mean"]), int(state["steps"])
        self.moments = [list(pair) for pair in state["moments"]]

    def facts(self) -> dict[str, Any]:
        center, sigma = self.center(), self.deviation
        low, high = self.values([x - sigma for x in center]), self.values([x + sigma for x in center])
        return {"mean": self.values(center), "low": low, "high": high}

    def _step(self, slope: Sequence[float]) -> None:
        self.steps += 1
        for i, part in enumerate(slope):
            first = BETAS[0] * self.moments[i][0] + (1 - BETAS[0]) * part
            second = BETAS[1] * self.moments[i][1] + (1 - BETAS[1]) * part**2
            self.moments[i] = [first, second]
            unbiased = first / (1 - BETAS[0] ** self.steps), second / (1 - BETAS[1] ** self.steps)
            self.mean[i] += self.rate * unbiased[0] / (math.sqrt(unbiased[1]) + EPSILON)


class AsPublished(Guided):
    """The search as the released code has it: the middle is max(mean, 0), and the mean starts at 0.

    The derivative of max(mean, 0) is 0 there, so the mean never moves, whatever the rewards: what is left is random
    drawing and the choice of the best of B. It is here to be compared with. Its number is x in a = -|x| e^(s/3), with
    x = 1 and no search in the first two epochs.
    """

    def __init__(self, *, s: float = 32.0, **settings: Any):
        self.unit = math.exp(s / 3)
        super().__init__([0.0], lambda x: {"a": -abs(x[0]) * self.unit}, **settings)

    def ask(self, epoch: int) -> list[Course]:
        return [still(self.values([1.0]))] if epoch < WARM_UP else super().ask(epoch)

    def tell(self, epoch: int, rewards: Mapping[int, float], scores: Sequence[float] = ()) -> None:
        if epoch >= WARM_UP:
            super().tell(epoch, rewards)

    def center(self) -> list[float]:
        return [max(x, 0.0) for x in self.mean]

    def score(self, draw: Sequence[float]) -> list[float]:
        """The code draws x and scores -|x|, through max(mean, 0)."""
        (mean,), (middle,) = self.mean, self.center()
        return [(1.0 if mean > 0 else 0.0) * (-abs(draw[0]) - middle) / self.deviation**2]


WARM_UP = 2  # epochs of AsPublished without search
