"""Reward-guided search of one number while a network trains: a Gaussian whose mean follows the rewards.

In each epoch candidates x_1 .. x_B are drawn, one model is trained with each from the same weights, and the mean goes
up the score function of the rewards (REINFORCE), by a step of Adam:

    x_i ~ N(mu, sigma^2),   mu <- mu + Adam( 1/B sum_i R_i (x_i - mu) / sigma^2 )

with the rewards R_i of an epoch shifted to mean 0 and scaled to variance 1. The number is meant to be
u = ln(1 - a), the nats that the margin takes from the target (:func:`margin`): in units of a the same step is a
thousand times larger at one end than at the other. The draw itself is scored; what a loss cannot use is cut off later.

Source: Wang et al., "Loss Function Search for Face Recognition", ICML 2020, algorithm 1 (arXiv 2007.06542); sigma, the
rate and the coefficients of Adam as in its released code. :class:`AsPublished` is what that code does instead.
"""

import math
from collections.abc import Sequence

from faceloss.data.keys import generator

BETAS = (0.5, 0.999)  # of Adam
EPSILON = 1e-8


def margin(u: float) -> dict[str, float]:
    """The hyperparameter a of Search-Softmax that takes ``u`` nats from the target, none where u is negative.

    >>> margin(-0.5)["a"]
    -0.0
    """
    return {"a": -math.expm1(max(u, 0.0))}


class Guided:
    """The Gaussian, its candidates and its mean.

    Args:
        mean: mu at the start. At 0, half of all draws mean no margin at all.
        deviation: sigma, above 0.
        candidates: B, at least 2; with noisy rewards four and more.
        rate: step size of Adam.
        seed: of the draws, which depend on it and on the epoch alone.

    Raises:
        ValueError: one of these out of range.
    """

    def __init__(self, mean: float, *, deviation: float = 0.2, candidates: int = 4, rate: float = 0.05, seed: int = 0):
        if not (deviation > 0 and rate > 0 and candidates >= 2 and math.isfinite(mean)):
            raise ValueError(
                "A search needs a finite mean, deviation and rate above 0 and at least 2 candidates; given mean "
                f"{mean:g}, deviation {deviation:g}, rate {rate:g}, {candidates} candidates."
            )
        self.mean, self.deviation, self.candidates, self.rate, self.seed = mean, deviation, candidates, rate, seed
        self.moments, self.steps = (0.0, 0.0), 0  # of Adam

    def ask(self, epoch: int) -> list[float]:
        """The candidates of ``epoch``, raw draws."""
        draws = generator(self.seed, epoch, "search").standard_normal(self.candidates)
        return [self.center() + self.deviation * float(draw) for draw in draws]

    def tell(self, epoch: int, rewards: Sequence[float]) -> None:
        """Move the mean by the ``rewards`` of the candidates of ``epoch``, in their order; higher is better.

        Raises:
            ValueError: not one finite reward for each candidate.
        """
        if len(rewards) != self.candidates or not all(map(math.isfinite, rewards)):
            raise ValueError(f"One finite reward for each of {self.candidates} candidates; given {list(rewards)}.")
        mean = sum(rewards) / len(rewards)
        spread = math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / len(rewards))
        scores = self.scores(self.ask(epoch))
        slope = sum((r - mean) / (spread or 1.0) * score for r, score in zip(rewards, scores, strict=True))
        self._step(slope / len(rewards))

    def center(self) -> float:
        """The middle of the Gaussian."""
        return self.mean

    def scores(self, draws: Sequence[float]) -> list[float]:
        """The derivative of the log density of each draw with respect to ``mean``."""
        return [(draw - self.mean) / self.deviation**2 for draw in draws]

    def state(self) -> dict[str, float]:
        """What moves, as JSON: mean, moments and steps."""
        return {"mean": self.mean, "first": self.moments[0], "second": self.moments[1], "steps": self.steps}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from what :meth:`state` gave."""
        self.mean, self.steps = state["mean"], int(state["steps"])
        self.moments = (state["first"], state["second"])

    def _step(self, slope: float) -> None:
        self.steps += 1
        first = BETAS[0] * self.moments[0] + (1 - BETAS[0]) * slope
        second = BETAS[1] * self.moments[1] + (1 - BETAS[1]) * slope**2
        self.moments = (first, second)
        unbiased = first / (1 - BETAS[0] ** self.steps), second / (1 - BETAS[1] ** self.steps)
        self.mean += self.rate * unbiased[0] / (math.sqrt(unbiased[1]) + EPSILON)


class AsPublished(Guided):
    """The search as the released code has it: the middle is max(mean, 0), and the mean starts at 0.

    The derivative of max(mean, 0) is 0 there, so the mean never moves, whatever the rewards: what is left is random
    drawing and the choice of the best of B. It is here to be compared with.
    """

    def __init__(self, *, deviation: float = 0.2, candidates: int = 4, rate: float = 0.05, seed: int = 0):
        super().__init__(0.0, deviation=deviation, candidates=candidates, rate=rate, seed=seed)

    def center(self) -> float:
        return max(self.mean, 0.0)

    def scores(self, draws: Sequence[float]) -> list[float]:
        """The code draws x and scores -|x|, through max(mean, 0)."""
        through = 1.0 if self.mean > 0 else 0.0
        return [through * (-abs(draw) - self.center()) / self.deviation**2 for draw in draws]
