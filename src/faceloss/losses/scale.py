"""The scale that a loss needs: what ``s="auto"`` stands for, and the bound below which a scale cannot work.

One rule for all losses that have a scale ``s``: take a sample that is placed perfectly (cosine 1 to its own class,
-1/(K-1) to each other, which is the smallest mean that cosines among K class vectors can have) and ask the loss itself,
with its margin at its hyperparameters, for the probability p that it gives to the right answer. The least scale for a
probability P is the smallest at which p = P. Where the other classes keep their cosine this is

    s = ln( P (K-1) / (1-P) ) / ( psi(1) + 1/(K-1) )                       (faceloss.losses.theory.least_scale)

and with yes-or-no questions p is the probability that all K answers are right, at the bias that makes it largest.
"auto" takes P = 0.9999: far enough for samples to be pulled on to the end, and near the scales that papers found by
trial (CosFace with m = 0.35 and 10,000 classes: 28.3; AM-Softmax has 30). The bound takes P = 0.9.

A margin that differs between samples counts as it is in evaluation, at the middle of the norms (``middle_norm`` of the
module psi) and as the learnt ones start. Class vectors count with length 1. CoCo, whose wrong classes are those of the
batch, and Partial FC count all K classes, which takes the scale somewhat too large rather than too small.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from faceloss.losses.binary import BinaryHead
from faceloss.losses.class_vectors import centroids
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead, Learnt
from faceloss.losses.scores import Listed

AUTO = 0.9999
BOUND = 0.9
LARGEST = 1e5


def automatic(loss: Loss, name: str) -> float:
    """The scale that "auto" stands for in ``loss``, called ``name``: :func:`least` for 0.9999, rounded up to 0.01.

    Raises:
        ValueError: the loss is built in a way that says nothing of its scale, or no scale would do.
    """
    parts = _parts(loss, fixed=False)
    if not parts:
        raise ValueError(f"{name} cannot say which scale it needs (it is built on none of the heads); give s a number.")
    found = max(least(part, AUTO) for part in parts)
    if found == math.inf:
        raise ValueError(
            f"No scale s lets {name} reach probability {AUTO} at these hyperparameters: its margin puts even a "
            "perfectly placed sample below the other classes. Lower the margin or give s a number."
        )
    return rounded(found)


def rounded(s: float) -> float:
    """``s`` rounded up to 0.01, so that it reads well and is the same on every machine."""
    return s if s == math.inf else math.ceil(s * 100 - 1e-6) / 100


def remark(loss: Loss) -> str:
    """A sentence if a fixed scale of ``loss`` lies below the bound, otherwise nothing."""
    for part, s in _parts(loss, fixed=True).items():
        if isinstance(part, ClassHead) and part.vectors is centroids:
            continue  # the classes that compete are those of a batch, and how many those are is not known here
        bound = least(part, BOUND)
        if s < bound < math.inf:
            return (
                f"The scale s = {s:g} is below {bound:.2f}: among {part.classes} classes not even a perfectly placed "
                f"sample can reach probability {BOUND}; s=auto would choose {rounded(least(part, AUTO)):g}."
            )
        if bound == math.inf:
            return (
                f"At s = {s:g} and every other scale the margin keeps a perfectly placed sample below probability "
                f"{BOUND}; lower the margin."
            )
    return ""


def least(part: ClassHead | BinaryHead, probability: float) -> float:
    """The smallest scale at which a perfectly placed sample reaches ``probability``; ``inf`` where none does."""
    wanted = math.log(probability) - math.log1p(-probability)
    low, high = 0.0, 1.0
    while best_odds(part, high) < wanted:
        low, high = high, 2 * high
        if high > LARGEST:
            return math.inf
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if best_odds(part, middle) < wanted else (low, middle)
    return high


def best_odds(part: ClassHead | BinaryHead, s: float) -> float:
    """ln(p/(1-p)) of a perfectly placed sample at scale ``s``; reads ``part`` and moves nothing in it."""
    modes = {module: module.training for module in part.modules()}
    part.eval()
    try:
        with torch.no_grad():
            return _of_classes(part, s) if isinstance(part, ClassHead) else _of_answers(part, s)
    finally:
        for module, training in modes.items():
            module.training = training


def _parts(loss: Loss, *, fixed: bool) -> dict[ClassHead | BinaryHead, float]:
    """The heads in ``loss`` with a scale of their own, and their scales; those that learn theirs unless ``fixed``."""
    found: dict[ClassHead | BinaryHead, float] = {}
    for part in loss.modules():
        if isinstance(part, BinaryHead):
            found[part] = float(part.hyperparameters()[part.scale_name])
        elif isinstance(part, ClassHead) and isinstance(part.scale, Number):
            found[part] = float(part.hyperparameters()["s"])
        elif isinstance(part, ClassHead) and isinstance(part.scale, Learnt) and not fixed:
            found[part] = part.scale.initial
    return found


def _of_classes(head: ClassHead, s: float) -> float:
    numbers = _numbers(head, "s", s)
    away = -1 / (head.classes - 1)
    row = torch.full((1, head.classes - 1), away, dtype=torch.float64)  # a rule may ask for sums over the others
    cos = torch.ones(1, dtype=torch.float64)
    seen: dict[str, Any] = {
        **numbers,
        "hyperparameters": numbers,
        "norm": cos * float(getattr(head.psi, "middle_norm", 1.0)),
        "labels": torch.zeros(1, dtype=torch.int64),
        "generator": head.generator,
        "training": False,
        "omega": cos,
        "cos": cos,
        "scores": Listed(row),
    }
    margin = cos if head.psi is None else head.psi(cos, **head._given("psi", seen))
    others = s * away + math.log(head.classes - 1)  # log sum exp over K - 1 equal logits
    if head.others is not None:
        changed = head.others(**head._given("others", seen | {"margin": margin}))(row)
        others = float((s * changed[0]).logsumexp(0))
    if head.extra is not None:
        added = s * head.extra(**head._given("extra", seen | {"margin": margin}))
        others = float(torch.logaddexp(torch.tensor(others), added))
    return float(s * margin[0]) - others


def _of_answers(head: BinaryHead, s: float) -> float:
    """With yes-logit A and no-logits A - G, G = s (psi - phi), the best A solves sigmoid(-A) = (K-1) sigmoid(A - G)."""
    numbers = _numbers(head, head.scale_name, s)
    yes = head.psi(torch.ones(1, dtype=torch.float64), numbers)
    no = head.phi(torch.full((1,), -1 / (head.classes - 1), dtype=torch.float64), numbers)
    others = head.classes - 1
    q = math.exp(-min(float(s * (yes - no)), 700.0))
    b = (others - 1) * q
    best = 2 / (b + math.sqrt(b * b + 4 * others * q))  # e^A, from others q e^2A + b e^A = 1
    loss = math.log1p(1 / best) + others * math.log1p(q * best)
    return -loss - math.log(-math.expm1(-loss))


def _numbers(head: Loss, name: str, s: float) -> Mapping[str, Tensor]:
    return head.hyperparameters() | {name: torch.tensor(s, dtype=torch.float64)}
