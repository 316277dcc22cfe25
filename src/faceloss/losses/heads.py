"""Every loss of the softmax family is this head: rho * omega_j * psi(cos theta_j) + b_j, then the cross entropy."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from faceloss.losses.class_vectors import ClassVectors, learnt
from faceloss.losses.core import Batches, Loss, LossOutput, Number
from faceloss.losses.operations import angle, cross_entropy, normalize

Rule = Callable[..., Tensor]
Seen = Mapping[str, Any]  # what a rule may ask for, by name

OFFERED = (
    "hyperparameters",
    "norm",
    "labels",
    "generator",
    "training",
    "cos",
    "margin",
    "omega",
    "scores",
    "weight",
    "embeddings",
)


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

    ``psi``, ``others``, ``tau`` and ``vectors`` are functions, or modules where they have parameters or a memory. Each
    is given, by the names of its parameters, what it asks for: hyperparameters by their names, or all of them as
    "hyperparameters"; of the batch, "norm" ||x|| [B], "labels" [B], "generator" (purpose -> torch.Generator) and
    "training"; for ``psi`` also "scores", omega_j c_j of the wrong classes [B,C] with the own class at -inf; for
    ``others`` also "cos" and "margin", c_y and psi(c_y) [B], and "omega" omega_y [B]; for ``vectors`` "weight" and
    "embeddings".

    Args:
        scale: rho. A :class:`Number` is fixed and becomes the hyperparameter "s"; :class:`Learnt` is trained;
            "norm" is the norm of the embedding; a module computes it from all cosines [B,K] and the labels, without
            gradient.
        psi: the margin, psi(target cosine [B], ...) -> [B]; none by default.
        others: a rule for the wrong classes, others(omega_j c_j [B,K], ...) -> [B,K or more] in place of omega_j c_j;
            the own column is not looked at. Not together with a bias.
        tau: re-weights samples, tau(log p [B], ...) -> log of the changed probability [B].
        vectors: where the class vectors come from, see :mod:`faceloss.losses.class_vectors`.
        rows: number of learnt rows; by default one per class, 0 for none.
        gradient: "exact", or "straight-through": the margin changes the value but not the slope, d psi / d cos = 1.
        unit_classes: omega_j = 1; otherwise omega_j = ||w_j||.
        bias: whether there is a b_j; it starts at 0.

    Statistics (of the plain logits z, so that they compare across margins): "accuracy", share of targets with the
    largest logit (a tie is an error); "target_angle", mean theta_y in degrees; "cross_entropy" at the same scale;
    "nats", mean of what the margin takes from the target logit; "scale", mean rho; "norm", mean ||x||.
    """

    weight: Tensor | None

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        scale: Number | Learnt | Literal["norm"] | nn.Module,
        psi: Rule | None = None,
        others: Rule | None = None,
        tau: Rule | None = None,
        vectors: Callable[..., ClassVectors] = learnt,
        rows: int | None = None,
        gradient: Literal["exact", "straight-through"] = "exact",
        unit_classes: bool = True,
        bias: bool = False,
        batches: Batches = "shuffled",
        hyperparameters: Mapping[str, Number] | None = None,
        options: Mapping[str, Mapping[str, float]] | None = None,
    ):
        numbers = dict(hyperparameters or {}) | ({"s": scale} if isinstance(scale, Number) else {})
        wishes = dict(options or {}) | ({"log_scale": {"weight_decay": 0.0}} if isinstance(scale, Learnt) else {})
        super().__init__(dim, classes, batches=batches, hyperparameters=numbers, options=wishes)
        if bias and others is not None:
            raise TypeError("A rule for the other classes works on cosines; it cannot be combined with a bias.")
        self.psi, self.others, self.tau = psi, others, tau
        asking = {"psi": psi, "others": others, "tau": tau}
        self._asks = {
            name: asked(rule, name, [*numbers, *OFFERED]) for name, rule in asking.items() if rule is not None
        }
        self.draw_from(vectors)
        self.gradient = gradient
        self.unit_classes = unit_classes
        self.scale = scale
        rows = classes if rows is None else rows
        self.weight = nn.Parameter(torch.randn(rows, dim) / dim**0.5) if rows else None  # [R,D]
        self.bias = nn.Parameter(torch.zeros(classes)) if bias else None
        if isinstance(scale, Learnt):
            Number(scale.initial, above=scale.floor).check("s")
            self.log_scale = nn.Parameter(torch.tensor(scale.initial - scale.floor).log())

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        norm = torch.linalg.vector_norm(embeddings, dim=1)  # [B]
        numbers = self.hyperparameters()
        batch = {"norm": norm, "labels": labels, "generator": self.generator, "training": self.training}
        seen: dict[str, Any] = numbers | batch | {"hyperparameters": numbers}
        weight = None if self.weight is None else self.weight.to(embeddings.dtype)  # [R,D]
        drawn = self.vectors(**self._given("vectors", seen | {"weight": weight, "embeddings": embeddings}))
        vectors = normalize(drawn.rows) if self.unit_classes else drawn.rows  # [C,D]
        rho = self._rho(norm, embeddings, vectors, drawn.column)  # [] or [B]

        scores = None  # [B,C]: omega_j c_j, made only where a rule wants it
        if self.others is None and "scores" not in self._asks.get("psi", ()):
            features = embeddings if self.scale == "norm" else rho * normalize(embeddings)  # [B,D]
            logits = _largest(features @ vectors.T, drawn.each)  # [B,C]
        else:
            scores = _largest(normalize(embeddings) @ vectors.T, drawn.each)
            logits = rho.unsqueeze(-1) * scores
        if self.bias is not None:
            logits = logits + self.bias.to(logits.dtype)
        index = drawn.column.unsqueeze(1)
        target = logits.gather(1, index).squeeze(1)  # [B]
        rest = logits.scatter(1, index, -torch.inf)  # [B,C]
        plain = _log_sum_exp(rest)  # [B]: all of the batch x classes work, and it knows nothing of the margin

        own, cos = self._own(embeddings, drawn)  # [B,D], [B]
        omega = torch.ones_like(cos) if self.unit_classes else torch.linalg.vector_norm(own, dim=1)
        shift = torch.zeros_like(target)
        margin = cos
        if self.psi is not None:
            if scores is not None and "scores" in self._asks["psi"]:
                seen["scores"] = scores.scatter(1, index, -torch.inf)
            margin = self.psi(cos, **self._given("psi", seen))
            taken = cos - margin
            shift = rho * omega * (taken.detach() if self.gradient == "straight-through" else taken)
        others = plain
        if self.others is not None and scores is not None:
            changed = self.others(
                scores, **self._given("others", seen | {"cos": cos, "margin": margin, "omega": omega})
            )  # [B,C or more]
            others = _log_sum_exp((rho.unsqueeze(-1) * changed).scatter(1, index, -torch.inf))
        each = cross_entropy(target - shift, others)  # [B]
        if self.tau is not None:
            each = -self.tau(-each, **self._given("tau", seen))
        loss = each.mean()

        with torch.no_grad():
            statistics = {
                "accuracy": (target > rest.amax(1)).to(loss.dtype).mean(),
                "target_angle": torch.rad2deg(angle(cos)).mean(),
                "cross_entropy": cross_entropy(target, plain).mean(),
                "nats": shift.mean(),
                "scale": rho.mean(),
                "norm": norm.mean(),
            }
        return LossOutput(loss, {name: value.detach() for name, value in statistics.items()})

    def draw_from(self, vectors: Callable[..., ClassVectors]) -> None:
        """Take the class vectors from ``vectors``, which reads the rows of this head."""
        self._asks["vectors"] = asked(vectors, "vectors", [*self.settings.state_dict(), *OFFERED])
        self.vectors = vectors

    def _given(self, rule: str, seen: Seen) -> dict[str, Any]:
        return {name: seen[name] for name in self._asks[rule]}

    def _own(self, embeddings: Tensor, drawn: ClassVectors) -> tuple[Tensor, Tensor]:
        """Each sample's own class vector [B,D] (the nearest, where there are several) and the cosine to it [B]."""
        if drawn.each == 1:
            own = drawn.rows[drawn.column]
            return own, (normalize(embeddings) * normalize(own)).sum(1)
        several = drawn.rows.view(-1, drawn.each, self.dim)[drawn.column]  # [B,each,D]
        cos = (normalize(embeddings).unsqueeze(1) * normalize(several)).sum(2)  # [B,each]
        nearest = cos.argmax(1, keepdim=True)
        return several.gather(1, nearest.unsqueeze(2).expand(-1, 1, self.dim)).squeeze(1), cos.amax(1)

    def _rho(self, norm: Tensor, embeddings: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
        if isinstance(self.scale, Number):
            return self.hyperparameters()["s"]
        if isinstance(self.scale, Learnt):
            return self.scale.floor + self.log_scale.exp()
        if isinstance(self.scale, nn.Module):
            with torch.no_grad():
                computed: Tensor = self.scale(normalize(embeddings) @ vectors.T, labels)
            return computed
        return norm


def asked(rule: Rule | Callable[..., ClassVectors], name: str, allowed: list[str]) -> tuple[str, ...]:
    """The names that ``rule`` asks for; all but ``vectors`` are handed a tensor first, by position."""
    names = tuple(inspect.signature(rule.forward if isinstance(rule, nn.Module) else rule).parameters)
    names = names if name == "vectors" else names[1:]
    unknown = sorted(set(names) - set(allowed))
    if unknown:
        raise TypeError(f"{name} asks for '{unknown[0]}', which is none of: {', '.join(allowed)}.")
    return names


def _largest(scores: Tensor, each: int) -> Tensor:
    """[B,C*each] -> [B,C]: a class with several rows counts by its largest."""
    return scores if each == 1 else scores.view(len(scores), -1, each).amax(2)


def _log_sum_exp(rest: Tensor) -> Tensor:
    """log sum exp over the other classes [B,C] -> [B]; where the own class is the only one: -inf, without gradient."""
    return rest.logsumexp(1) if rest.shape[1] > 1 else rest.new_full((len(rest),), -torch.inf)
