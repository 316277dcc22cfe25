"""Every classification loss is this head: rho * omega_j * psi(cos theta_j) + b_j, then the cross entropy."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.operations import angle, cross_entropy, normalize

Psi = Callable[..., Tensor]  # psi(cos [B], **hyperparameters) -> [B]


class Learnt(NamedTuple):
    """A scale that is trained: s = floor + exp(log_scale), which can neither reach the floor nor turn negative."""

    initial: float
    floor: float


class ClassHead(Loss):
    """Cross entropy over classes, with a margin on the target cosine.

    With unit direction x' = x/||x|| of the embedding, w'_j of class vector j and c_j = x'.w'_j:

        z_j  = rho * omega_j * c_j + b_j                              [B,K]
        z'_y = z_y - rho * omega_y * (c_y - psi(c_y))                 the margin is a shift of the target logit
        loss = mean over the batch of log(1 + sum_{j != y} exp(z_j - z'_y))

    Class vectors start as normal with norm about 1, whatever the loss, so that losses start alike.

    Args:
        scale: rho. A :class:`Number` is fixed and becomes the hyperparameter "s"; :class:`Learnt` is trained;
            "norm" is the norm of the embedding.
        psi: the margin, a function of the target cosine [B] and of ``hyperparameters`` by name; none by default.
        gradient: "exact", or "straight-through": the margin changes the value but not the slope, d psi / d cos = 1.
        unit_classes: omega_j = 1; otherwise omega_j = ||w_j||.
        bias: whether there is a b_j; it starts at 0.

    Statistics (of the plain logits z, so that they compare across margins): "accuracy", share of targets with the
    largest logit (a tie is an error); "target_angle", mean theta_y in degrees; "cross_entropy" at the same scale;
    "nats", mean of what the margin takes from the target logit; "scale", mean rho; "norm", mean ||x||.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        scale: Number | Learnt | Literal["norm"],
        psi: Psi | None = None,
        gradient: Literal["exact", "straight-through"] = "exact",
        unit_classes: bool = True,
        bias: bool = False,
        hyperparameters: Mapping[str, Number] | None = None,
    ):
        margin = dict(hyperparameters or {})
        fixed = {"s": scale} if isinstance(scale, Number) else {}
        options = {"log_scale": {"weight_decay": 0.0}} if isinstance(scale, Learnt) else {}
        super().__init__(dim, classes, batches="shuffled", hyperparameters=margin | fixed, options=options)
        self.psi = psi
        self.gradient = gradient
        self.unit_classes = unit_classes
        self.scale = scale
        self._margin = tuple(margin)
        self.weight = nn.Parameter(torch.randn(classes, dim) / dim**0.5)  # [K,D]
        self.bias = nn.Parameter(torch.zeros(classes)) if bias else None
        if isinstance(scale, Learnt):
            Number(scale.initial, above=scale.floor).check("s")
            self.log_scale = nn.Parameter(torch.tensor(scale.initial - scale.floor).log())

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        weight = self.weight.to(embeddings.dtype)  # [K,D]
        norm = torch.linalg.vector_norm(embeddings, dim=1)  # [B]
        rho = self._rho(norm)  # [] or [B]

        features = embeddings if self.scale == "norm" else rho * normalize(embeddings)  # [B,D]
        logits = features @ (normalize(weight) if self.unit_classes else weight).T  # [B,K]
        if self.bias is not None:
            logits = logits + self.bias.to(logits.dtype)
        index = labels.unsqueeze(1)
        target = logits.gather(1, index).squeeze(1)  # [B]
        rest = logits.scatter(1, index, -torch.inf)  # [B,K]
        others = rest.logsumexp(1)  # [B]: all of the batch x classes work, and it knows nothing of the margin

        own = weight[labels]  # [B,D]
        cos = (normalize(embeddings) * normalize(own)).sum(1)  # [B]
        shift = torch.zeros_like(target)
        if self.psi is not None:
            hyperparameters = self.hyperparameters()
            taken = cos - self.psi(cos, **{name: hyperparameters[name] for name in self._margin})
            omega = 1.0 if self.unit_classes else torch.linalg.vector_norm(own, dim=1)
            shift = rho * omega * (taken.detach() if self.gradient == "straight-through" else taken)
        loss = cross_entropy(target - shift, others).mean()

        with torch.no_grad():
            statistics = {
                "accuracy": (target > rest.amax(1)).to(loss.dtype).mean(),
                "target_angle": torch.rad2deg(angle(cos)).mean(),
                "cross_entropy": cross_entropy(target, others).mean(),
                "nats": shift.mean(),
                "scale": rho.mean(),
                "norm": norm.mean(),
            }
        return LossOutput(loss, {name: value.detach() for name, value in statistics.items()})

    def _rho(self, norm: Tensor) -> Tensor:
        if isinstance(self.scale, Number):
            return self.hyperparameters()["s"]
        if isinstance(self.scale, Learnt):
            return self.scale.floor + self.log_scale.exp()
        return norm
