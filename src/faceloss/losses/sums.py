"""A weighted sum of losses, such as softmax + lambda * center loss."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from faceloss.losses.core import Loss, LossOutput, Number


class Term(NamedTuple):
    """One loss of a sum and the name of the hyperparameter that weighs it; no name: weight 1."""

    loss: Loss
    weight: str | None = None


class SumLoss(Loss):
    """sum over the terms of weight * loss, on the same batch.

    The first term's statistics keep their names. Each later term, called ``name`` in ``terms``, adds its unweighted
    loss as "name" and its statistics as "name.statistic". If one term wants identity-balanced batches, the sum does.
    """

    def __init__(self, dim: int, classes: int, *, terms: Mapping[str, Term], hyperparameters: Mapping[str, Number]):
        balanced = any(term.loss.batches == "identity-balanced" for term in terms.values())
        super().__init__(
            dim,
            classes,
            batches="identity-balanced" if balanced else "shuffled",
            hyperparameters=hyperparameters,
        )
        held = [*hyperparameters, *(name for term in terms.values() for name in term.loss.hyperparameters())]
        twice = sorted({name for name in held if held.count(name) > 1})
        if twice:
            raise ValueError(f"Two parts of a sum have a hyperparameter named {', '.join(twice)}; names must differ.")
        self.terms = nn.ModuleDict({name: term.loss for name, term in terms.items()})
        self._weights = {name: term.weight for name, term in terms.items()}

    def weight_of(self, name: str) -> float:
        """The weight of the term ``name``, as it stands."""
        weight = self._weights[name]
        return 1.0 if weight is None else float(self.hyperparameters()[weight])

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        hyperparameters = self.hyperparameters()
        total = embeddings.new_zeros(())
        statistics: dict[str, Tensor] = {}
        for index, (name, loss) in enumerate(self.terms.items()):
            assert isinstance(loss, Loss)
            output: LossOutput = loss(embeddings, labels)
            self.targets = self.targets or loss.targets
            weight = self._weights[name]
            total = total + (output.loss if weight is None else hyperparameters[weight] * output.loss)
            if index == 0:
                statistics |= output.statistics
            else:
                statistics[name] = output.loss.detach()
                statistics |= {f"{name}.{key}": value for key, value in output.statistics.items()}
        return LossOutput(total, statistics)
