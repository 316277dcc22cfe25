"""Look-ahead search: many candidates are scored to first order, two are tried, and the better one goes on.

Candidates are drawn around the mean, as in :mod:`faceloss.search.guided`, but only two are trained: the mean itself
and one other. Which other is what the first-order scores say (:mod:`faceloss.train.first_order`), whose cost does not
depend on the number of candidates; they are right as long as steps are short, so they are believed only while they
have been right: whether the candidate that was scored higher than the mean did better than it, in a running share of
the epochs. While they are not believed, the other is the first that was drawn. Both are trained for a part of the
epoch, on the same batches, and the one with the higher reward goes on. Where it is not the mean, the mean moves toward
it.

Source: ours. Trying two from the same weights is the (1+1) evolution strategy; the first-order score is the dot product
of two gradients, as in Lorraine et al., AISTATS 2020, for hyperparameters of one step.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceloss.data.keys import generator
from faceloss.search.courses import Course
from faceloss.search.policy import Policy, Values, still

BELIEVED = 0.5  # share of right scores from which on they choose
MEMORY = 0.7  # weight of the past in that share


class LookAhead(Policy):
    """A mean, candidates around it, and how far their scores are believed.

    Args:
        mean: at the start, one number a coordinate; a coordinate's unit is what makes a difference worth trying.
        values: the hyperparameters from as many numbers.
        deviation: of the candidates around the mean, above 0.
        candidates: B, at least 2, the mean among them.
        rate: how far the mean moves toward a candidate that was better, in (0, 1].
        tried: the share of the epoch for which two candidates are tried, in (0, 1].
        scored: training steps on which candidates are scored; 0: the second candidate is always the first one drawn.
        seed: of the draws, which depend on it and on the epoch alone.
        reward: what is told.

    Raises:
        ValueError: one of these out of range.
    """

    def __init__(
        self,
        mean: Sequence[float],
        values: Callable[[Sequence[float]], Values],
        *,
        deviation: float = 1.5,
        candidates: int = 8,
        rate: float = 0.5,
        tried: float = 0.15,
        scored: int = 2,
        seed: int = 0,
        reward: str = Policy.reward,
    ):
        possible = deviation > 0 and 0 < rate <= 1 and 0 < tried <= 1 and candidates >= 2 and scored >= 0
        if not (possible and mean and all(map(math.isfinite, mean))):
            raise ValueError(
                "A look-ahead search needs a finite mean, a deviation above 0, rate and tried in (0, 1], at least 2 "
                f"candidates and 0 or more steps scored; given mean {', '.join(f'{x:g}' for x in mean)}, deviation "
                f"{deviation:g}, rate {rate:g}, tried {tried:g}, {candidates} candidates, {scored} steps."
            )
        self.mean, self.values = list(mean), values
        self.deviation, self.width, self.rate, self.seed = deviation, candidates, rate, seed
        self.rungs = ((tried, 1), (1.0, 1)) if tried < 1 else ((1.0, 1),)
        self.scored, self.reward = scored, reward
        self.right = 1.0  # running share of epochs in which the scores were right

    def draws(self, epoch: int) -> list[list[float]]:
        """The mean, then the raw draws of ``epoch``, one list of coordinates a candidate."""
        noise = generator(self.seed, epoch, "search").standard_normal((self.width - 1, len(self.mean)))
        around = [[mu + self.deviation * float(z) for mu, z in zip(self.mean, row, strict=True)] for row in noise]
        return [list(self.mean), *around]

    def ask(self, epoch: int) -> list[Course]:
        return [still(self.values(draw)) for draw in self.draws(epoch)]

    def keep(self, epoch: int, scores: Sequence[float]) -> list[int]:
        """The mean, and the best-scored other while scores are believed, the first drawn while they are not."""
        if self.right < BELIEVED or not all(map(math.isfinite, scores)) or not scores:
            return [0, 1]
        return [0, max(range(1, self.width), key=lambda i: scores[i])]

    def tell(self, epoch: int, rewards: Mapping[int, float], scores: Sequence[float] = ()) -> None:
        if len(rewards) != 2 or 0 not in rewards or not all(map(math.isfinite, rewards.values())):
            raise ValueError(f"One finite reward for the mean and one other candidate; given {dict(rewards)}.")
        (other,) = rewards.keys() - {0}
        better = rewards[other] > rewards[0]
        if scores:
            self.right = MEMORY * self.right + (1 - MEMORY) * ((scores[other] > scores[0]) == better)
        if better:
            draw = self.draws(epoch)[other]
            self.mean = [mu + self.rate * (x - mu) for mu, x in zip(self.mean, draw, strict=True)]

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "right": self.right}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.mean, self.right = list(state["mean"]), float(state["right"])

    def facts(self) -> dict[str, Any]:
        sigma = self.deviation
        low, high = self.values([x - sigma for x in self.mean]), self.values([x + sigma for x in self.mean])
        return {"mean": self.values(self.mean), "low": low, "high": high, "scores_right": self.right}
