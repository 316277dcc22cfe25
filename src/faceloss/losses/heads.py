"""Every loss of the softmax family is this head: rho * omega_j * psi(cos theta_j) + b_j, then the cross entropy."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from faceloss.losses.class_vectors import ClassVectors, by_class, learnt
from faceloss.losses.core import Batches, Loss, LossOutput, Number, watch
from faceloss.losses.operations import angle, cross_entropy, normalize
from faceloss.losses.scores import Blocks, Change, Scores, own_rows
from faceloss.losses.shards import Shards, held, table

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
    "present",
    "shards",
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

    ``psi``, ``others``, ``extra``, ``tau`` and ``vectors`` are functions, or modules where they have parameters or a
    memory. Each is given, by the names of its parameters, what it asks for: hyperparameters by their names, or all of
    them as "hyperparameters"; of the batch, "norm" ||x|| [B], "labels" [B], "generator" (purpose -> torch.Generator)
    and "training"; for ``psi`` also "scores", the :class:`~faceloss.losses.scores.Scores` omega_j c_j, of which it may
    take sums over the wrong classes; for ``others`` and ``extra`` also "cos" and "margin", c_y and psi(c_y) [B], and
    "omega" omega_y [B]; for ``vectors`` "weight", "embeddings", "present" and "shards". Each is called once in a pass.

    Args:
        scale: rho. A :class:`Number` is fixed and becomes the hyperparameter "s"; :class:`Learnt` is trained;
            "norm" is the norm of the embedding; a module computes it, without gradient, from the target cosines [B]
            and the cosines as :class:`~faceloss.losses.scores.Scores`.
        psi: the margin, psi(target cosine [B], ...) -> [B]; none by default.
        others: a rule for the wrong classes: others(...) -> a function of single scores, omega_j c_j [B,c] of some of
            the classes -> [B,c] in their place; the own class is not looked at. Not together with a bias.
        extra: one more wrong class, extra(...) -> its score [B] in place of omega_j c_j; not with a bias either.
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
        others: Callable[..., Change] | None = None,
        extra: Rule | None = None,
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
        if bias and (others is not None or extra is not None):
            raise TypeError("A rule for the other classes works on cosines; it cannot be combined with a bias.")
        self.psi, self.others, self.extra, self.tau = psi, others, extra, tau
        self.blocks = Blocks()
        self.shards: Shards | None = held(classes) if by_class(vectors) else None  # see faceloss.losses.spread
        asking: dict[str, Callable[..., Any] | None] = {"psi": psi, "others": others, "extra": extra, "tau": tau}
        self._asks = {
            name: asked(rule, name, [*numbers, *OFFERED]) for name, rule in asking.items() if rule is not None
        }
        self.draw_from(vectors)
        self.gradient = gradient
        self.unit_classes = unit_classes
        self.scale = scale
        rows = classes if rows is None else rows
        self.weight = nn.Parameter(table(rows, dim, self.shards)) if rows else None  # [R,D]
        count = self.shards.high - self.shards.low if self.shards else classes
        self.bias = nn.Parameter(torch.zeros(count)) if bias else None
        if isinstance(scale, Learnt):
            Number(scale.initial, above=scale.floor).check("s")
            self.log_scale = nn.Parameter(torch.tensor(scale.initial - scale.floor).log())

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        norm = torch.linalg.vector_norm(embeddings, dim=1)  # [B]
        numbers = self.hyperparameters()
        batch = {"norm": norm, "labels": labels, "generator": self.generator, "training": self.training}
        seen: dict[str, Any] = numbers | batch | {"hyperparameters": numbers}
        weight = None if self.weight is None else self.weight.to(embeddings.dtype)  # [R,D]
        shards = self.shards
        columns = labels if shards is None else shards.column(labels)
        rows = {"weight": weight, "embeddings": embeddings, "labels": columns, "present": labels, "shards": shards}
        asked_for = seen | rows
        drawn = self.vectors(**self._given("vectors", asked_for))
        own, drawn = own_rows(drawn, self.blocks, shards)  # [B,D] or [B,each,D]
        cos, own = _nearest(embeddings, own)  # [B], [B,D]
        omega = torch.ones_like(cos) if self.unit_classes else torch.linalg.vector_norm(own, dim=1)
        rho = self._rho(norm, embeddings, cos, drawn)  # [] or [B]
        self.targets = targets = watch(cos, rho * omega)
        cos = cos if targets is None else cos + targets.zeros[0]

        ruled = self.others is not None or "scores" in self._asks.get("psi", ())
        if ruled:
            x = normalize(embeddings)  # [B,D]
        elif self.scale == "norm":
            x = embeddings
        else:
            x = rho * normalize(embeddings)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        scores = Scores(x, drawn, unit=self.unit_classes, bias=bias, blocks=self.blocks, shards=shards)
        target = (x * (normalize(own) if self.unit_classes else own)).sum(1)  # [B]
        if bias is not None:
            own_bias = torch.where(drawn.column >= 0, bias[drawn.column.clamp_min(0)], 0.0)
            target = target + (own_bias if shards is None else shards.sum(own_bias))
        shift = torch.zeros_like(target)
        margin = cos
        if self.psi is not None:
            margin = self.psi(cos, **self._given("psi", seen | {"scores": scores}))
            taken = cos - margin
            shift = rho * omega * (taken.detach() if self.gradient == "straight-through" else taken)
        seen |= {"cos": cos, "margin": margin, "omega": omega}
        # All of the work batch x classes; without a rule it knows nothing of the margin.
        if ruled:
            target = rho * target
            read = scores.read(self._logits(rho, seen))
            plain, others = read.log_sum_exp
        else:
            read = scores.read()
            plain = others = read.log_sum_exp  # [B]
        target = target if targets is None else target + targets.zeros[1]
        if self.extra is not None:
            others = torch.logaddexp(others, rho * self.extra(**self._given("extra", seen)))
        each = cross_entropy(target - shift, others)  # [B]
        if self.tau is not None:
            each = -self.tau(-each, **self._given("tau", seen))
        loss = each.mean()

        with torch.no_grad():
            statistics = {
                "accuracy": (read.own > read.largest).to(loss.dtype).mean(),
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

    def _logits(self, rho: Tensor, seen: Seen) -> Change:
        """Scores of some classes [B,c] -> logits without and with the rule for the others [2,B,c]."""
        if self.shards is not None:
            copy = self.shards.copy
            rho = copy(rho)
            seen = {name: copy(value) if isinstance(value, Tensor) else value for name, value in seen.items()}
        rule = (lambda scores: scores) if self.others is None else self.others(**self._given("others", seen))
        rho = rho.unsqueeze(-1)
        return lambda scores: torch.stack([rho.detach() * scores.detach(), rho * rule(scores)])

    def _rho(self, norm: Tensor, embeddings: Tensor, cos: Tensor, drawn: ClassVectors) -> Tensor:
        if isinstance(self.scale, Number):
            return self.hyperparameters()["s"]
        if isinstance(self.scale, Learnt):
            return self.scale.floor + self.log_scale.exp()
        if isinstance(self.scale, nn.Module):
            with torch.no_grad():
                cosines = Scores(
                    normalize(embeddings), drawn, unit=True, bias=None, blocks=self.blocks, shards=self.shards
                )
                computed: Tensor = self.scale(cos, cosines)
            return computed
        return norm


def asked(rule: Callable[..., Any], name: str, allowed: list[str]) -> tuple[str, ...]:
    """The names that ``rule`` asks for; ``psi`` and ``tau`` are handed a tensor first, by position."""
    names = tuple(inspect.signature(rule.forward if isinstance(rule, nn.Module) else rule).parameters)
    names = names[1:] if name in ("psi", "tau") else names
    unknown = sorted(set(names) - set(allowed))
    if unknown:
        raise TypeError(f"{name} asks for '{unknown[0]}', which is none of: {', '.join(allowed)}.")
    return names


def _nearest(embeddings: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine [B] to the nearest of each sample's own rows [B,D] or [B,each,D], and that row [B,D]."""
    if own.ndim == 2:
        return (normalize(embeddings) * normalize(own)).sum(1), own
    cos = (normalize(embeddings).unsqueeze(1) * normalize(own)).sum(2)  # [B,each]
    nearest = cos.argmax(1).view(-1, 1, 1).expand(-1, 1, own.shape[2])
    return cos.amax(1), own.gather(1, nearest).squeeze(1)
