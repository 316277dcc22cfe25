"""Checks of the numbers: finite at the edges, the gradient is the derivative, nothing depends on what it should not."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from faceloss.checks.case import DIM, Case, batch, close, gradients, is_random, must, value
from faceloss.losses.core import Loss


def edges(loss: Loss) -> Iterator[tuple[str, Loss, Tensor, Tensor]]:
    """Inputs on which careless losses give inf or nan, each with the loss to give it to: what, loss, x, labels."""
    embeddings, labels = batch(dim=loss.dim)
    yield "zero", loss, torch.zeros_like(embeddings), labels
    yield "one zero", loss, embeddings * (torch.arange(len(labels)) > 0).unsqueeze(1), labels
    yield "all equal", loss, embeddings[:1].expand_as(embeddings), labels
    yield "duplicates", loss, embeddings[labels], labels
    yield "huge", loss, 1e6 * embeddings, labels
    yield "tiny", loss, 1e-6 * embeddings, labels
    yield "one class", loss, embeddings, torch.zeros_like(labels)
    yield "all classes different", loss, embeddings[: loss.classes], torch.arange(loss.classes)
    yield "batch of 1", loss, embeddings[:1], labels[:1]
    directions = [tensor for tensor in loss.state_dict().values() if tensor.shape == (loss.classes, loss.dim)]
    for vectors in [embeddings[: loss.classes], *directions]:
        for power in (1.0, 1e-3, 1e3):
            yield "aligned", loss, power * vectors[labels], labels
            yield "opposite", loss, -power * vectors[labels], labels
        sign = 1.0 - 2.0 * (torch.arange(len(labels)) % 2).unsqueeze(1)
        yield "aligned and opposite", loss, sign * vectors[labels], labels
    yield from exact_edges(loss, labels)


def exact_edges(loss: Loss, labels: Tensor) -> Iterator[tuple[str, Loss, Tensor, Tensor]]:
    """Class vectors and embeddings on the axes, so that every cosine is +1, -1 or 0 without rounding.

    At a scale of 10,000, and with embeddings 1e6 long where the norm is the scale, exp underflows: the probability of
    the target is then exactly 1 where its cosine is +1 and exactly 0 where it is -1.
    """
    axis = torch.eye(loss.dim, dtype=torch.float64)
    own, another = axis[labels], axis[(labels + 1) % loss.classes]
    cosines = {"+1": own, "-1": -own, "0": axis[-1].expand_as(own), "0, to another class 1": another}
    rows = torch.arange(len(labels)).unsqueeze(1) % 3
    cosines["+1, -1 and 0"] = torch.where(rows == 0, own, torch.where(rows == 1, -own, another))
    for scaled in (False, True):
        for cosine, embeddings in cosines.items():
            for power in (1.0, 1e6):
                what = f"cosine exactly {cosine}" + ", at a huge scale" * scaled + ", huge" * (power > 1)
                yield what, on_axes(loss, scaled=scaled), power * embeddings, labels


@torch.no_grad()
def on_axes(loss: Loss, *, scaled: bool) -> Loss:
    """A copy of ``loss`` whose class vectors are the axes; ``scaled``: and whose scale is 10,000 where it has one."""
    loss = copy.deepcopy(loss)
    for tensor in loss.state_dict().values():
        if tensor.ndim == 2 and tensor.shape[1] == loss.dim and tensor.is_floating_point():
            each = len(tensor) / loss.classes if len(tensor) % loss.classes == 0 else 1  # rows of one class in a row
            index = (torch.arange(len(tensor)) / each).floor().long() % loss.dim
            tensor.copy_(torch.eye(loss.dim, dtype=tensor.dtype)[index])
    if scaled:
        if "s" in loss.hyperparameters():
            loss.set_hyperparameters({"s": 1e4})
        for name, parameter in loss.named_parameters():
            if name.endswith("log_scale"):
                parameter.fill_(math.log(1e4))
    return loss


def finite_at_edges(case: Case) -> None:
    """Finite loss and gradient wherever the input is finite, in every precision; no tuples: 0 with zero gradient."""
    for dim, dtypes in (
        (DIM, (torch.float32, torch.float64, torch.bfloat16, torch.float16)),
        (512, (torch.float32, torch.float64)),
    ):
        for dtype in dtypes:
            half = dtype in (torch.bfloat16, torch.float16)
            most = torch.finfo(dtype).max
            start = case.loss(dim).to(torch.float32 if half else dtype)
            for what, loss, embeddings, labels in edges(start):
                given = embeddings.clamp(-most, most).to(dtype)
                twin = copy.deepcopy(loss) if half else loss
                total, grads = gradients(loss, given, labels)
                where = f"on the input '{what}' ({dtype}, dim {dim})"
                must(torch.isfinite(total), f"the loss is {total.item()} {where}")
                for name, gradient in grads.items():
                    if half and name == "embeddings" and not torch.isfinite(gradient).all():
                        wanted = gradients(twin, given.float(), labels)[1][name]
                        gradient = gradient.where(wanted.abs() < most, 0.0)  # what half precision can hold at all
                    must(torch.isfinite(gradient).all(), f"the gradient of {name} is not finite {where}")


def exact_gradient(case: Case) -> None:
    """The gradient is the derivative (central differences along random directions, float64).

    A straight-through variant must differ from it: else it is not what it says.
    """
    loss = case.loss().double().eval()
    embeddings, labels = batch()
    loss.key(7, 0)
    _, grads = gradients(loss, embeddings, labels)
    must(all(gradient.abs().max() > 0 for gradient in grads.values()), "a gradient is 0 on a generic input")
    worst = 0.0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        along = {name: torch.randn(g.shape, generator=generator, dtype=g.dtype) for name, g in grads.items()}
        sides = []
        for step in (1e-6, -1e-6):
            moved = copy.deepcopy(loss)
            with torch.no_grad():
                for name, parameter in moved.named_parameters():
                    parameter.add_(step * along[name])
            sides.append(value(moved, embeddings + step * along["embeddings"], labels))
        slope = (sides[0] - sides[1]) / 2e-6
        expected = float(sum((gradient * along[name]).sum() for name, gradient in grads.items()))
        worst = max(worst, abs(slope - expected) / (1 + abs(slope)))
    if case.straight_through:
        must(worst > 1e-3, "the straight-through gradient equals the exact one")
    else:
        must(worst < 1e-5, f"the gradient is not the derivative: off by {worst:.1e} of it")


def low_precision(case: Case) -> None:
    """Under autocast, embeddings in bfloat16 and float16 give what the same numbers give in float32."""
    for dtype in (torch.bfloat16, torch.float16):
        embeddings = batch()[0].to(dtype)
        labels = batch()[1]
        loss = case.loss().eval()
        loss.key(7, 0)
        expected, wanted = gradients(loss, embeddings.float(), labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss.key(7, 0)
            got, grads = gradients(loss, embeddings, labels)
        must(got.dtype == torch.float32, f"under autocast the loss came out as {got.dtype}")
        must(close(got, expected, 1e-5), f"{dtype}: {got.item()} under autocast, {expected.item()} without")
        for name, gradient in grads.items():
            must(close(gradient.float(), wanted[name], 2e-2), f"{dtype}: the gradient of {name} is another one")


def batch_order(case: Case) -> None:
    """The order of a batch is irrelevant; for a random miner, on average over draws."""
    loss = case.loss().double().eval()
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    if not is_random(loss, embeddings, labels):
        loss.key(7, 0)
        straight, grads = gradients(loss, embeddings, labels)
        loss.key(7, 0)
        mixed, moved = gradients(loss, embeddings[order], labels[order])
        must(close(mixed, straight, 1e-10), f"{straight.item()} in one order of the batch, {mixed.item()} in another")
        grads["embeddings"] = grads["embeddings"][order]
        for name, gradient in moved.items():
            must(close(gradient, grads[name], 1e-9), f"the gradient of {name} depends on the order of the batch")
        return
    both = [(value(loss, embeddings, labels, n), value(loss, embeddings[order], labels[order], n)) for n in range(200)]
    gaps = torch.tensor(both).diff(dim=1)  # of the same key, so that much of the noise is common
    errors = gaps.mean().abs() / (gaps.std() / len(gaps) ** 0.5)
    must(errors < 5, f"the mean over draws depends on the order of the batch: {errors:.1f} standard errors")


def duplicates(case: Case) -> None:
    """A batch given twice gives the same loss and gradients (a mean over samples; not asked of tuple losses)."""
    loss = case.loss().double().eval()
    embeddings, labels = batch()
    labels = labels.clone()
    labels[:4] = labels[0]  # labels that occur unequally often
    once, grads = gradients(loss, embeddings, labels)
    twice, doubled = gradients(loss, embeddings.repeat(2, 1), labels.repeat(2))
    doubled["embeddings"] = doubled["embeddings"].view(2, *embeddings.shape).sum(0)
    must(close(twice, once, 1e-10), f"the batch gives {once.item()}, the batch given twice {twice.item()}")
    for name, gradient in doubled.items():
        must(close(gradient, grads[name], 1e-9), f"duplicates in the batch change the gradient of {name}")
