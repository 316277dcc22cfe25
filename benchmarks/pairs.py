"""One training step (forward with mining, and backward) of triplet and margin losses beside pytorch-metric-learning's.

    python benchmarks/pairs.py [all] [all_semi_hard] [semi_hard] [hard] [distance-weighted]

By default all rows, in some 35 seconds; needs the extra `bench`.

A batch of 256 identities with 4 images each, 128 dimensions. Printed are medians of CPU milliseconds, the peak of extra
memory, both losses, and the relative error of both gradients against float64 loops over the anchors. Every row but one
compares the same definition; "semi_hard", the closest farther negative of each pair, has no miner of its own there and
stands beside the nearest one, all farther negatives within the margin, which is our "all_semi_hard". Distance-weighted
draws are random: both losses are computed on ours, both times include one's own drawing.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from measure import allocator, chosen, header, interleaved, peak_mib, relative_error, with_tuned_allocator
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import MarginLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner, DistanceWeightedMiner, TripletMarginMiner
from torch import Tensor

from faceloss import losses
from faceloss.losses import margin
from faceloss.losses.core import Loss
from faceloss.losses.operations import normalize

IDENTITIES, IMAGES, DIM = 256, 4, 128
ROUNDS = 3
ALPHA = 0.2
MINING = ("all", "all_semi_hard", "semi_hard", "hard", "distance-weighted")

Form = Callable[[Tensor], Tensor]  # embeddings -> loss


class Case(NamedTuple):
    """The same loss three times: here, there, and by loops in float64."""

    ours: Form
    peer: Form
    exact: Form
    peer_on_ours: Form | None = None  # theirs on the tuples that ours drew


def batch(identities: int) -> tuple[Tensor, Tensor]:
    """Embeddings [B,D] of faces whose identities overlap as in the middle of a training, and labels [B]."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(identities * IMAGES) // IMAGES
    centers = torch.randn(identities, DIM, generator=generator)
    return torch.randn(len(labels), DIM, generator=generator) + 0.6 * centers[labels], labels


def triplets_by_loops(mining: str, labels: Tensor) -> Form:
    """The triplet loss as its definition reads, anchor by anchor."""

    def form(embeddings: Tensor) -> Tensor:
        directions = torch.nn.functional.normalize(embeddings)
        total, active = embeddings.new_zeros(()), 0
        for row, label in enumerate(labels):
            apart = (directions[row] - directions).square().sum(1)
            same = labels == label
            far, near = apart[~same], apart[same & (torch.arange(len(labels)) != row)]
            if mining == "hard":
                gap = near.max() - far.min()
            elif mining == "semi_hard":
                gap = torch.stack([p - (far[far > p].min() if (far > p).any() else far.max()) for p in near])
            else:
                gap = near.unsqueeze(1) - far
            terms = torch.relu(gap + ALPHA) * ((gap < 0) if mining == "all_semi_hard" else 1)
            total, active = total + terms.sum(), active + int((terms > 0).sum())
        return total / active

    return form


def cases(embeddings: Tensor, labels: Tensor) -> dict[str, Case]:
    """By the name of the mining."""
    squared = LpDistance(power=2)
    peer = TripletMarginLoss(margin=ALPHA, distance=squared)
    band = TripletMarginMiner(margin=ALPHA, type_of_triplets="semihard", distance=squared)
    theirs: dict[str, Form] = {
        "all": lambda x: peer(x, labels),
        "all_semi_hard": lambda x: peer(x, labels, band(x, labels)),
        "semi_hard": lambda x: peer(x, labels, band(x, labels)),
        "hard": lambda x: peer(x, labels, BatchHardMiner()(x, labels)),
    }
    found = {
        mining: Case(
            ours(losses.build("triplet", dim=DIM, classes=IDENTITIES, alpha=ALPHA, mining=mining), labels),
            theirs[mining],
            triplets_by_loops(mining, labels),
        )
        for mining in theirs
    }
    loss = losses.build("margin", dim=DIM, classes=IDENTITIES, alpha=ALPHA).eval()
    pairs = margin.mine(margin.measure(embeddings), labels, loss.generator("mining"), dim=DIM)
    (anchor, _), (positive, negative) = pairs.first.chunk(2), pairs.second.chunk(2)
    other, miner = MarginLoss(margin=ALPHA), DistanceWeightedMiner()

    def by_hand(x: Tensor) -> Tensor:
        directions = normalize(x)
        apart = (directions[pairs.first] - directions[pairs.second]).square().sum(1).sqrt()
        terms = torch.relu(ALPHA + torch.where(pairs.same, apart - 1.2, 1.2 - apart))
        return terms.sum() / (terms > 0).sum()

    found["distance-weighted"] = Case(
        ours(loss, labels),
        lambda x: other(x, labels, miner(x, labels)),
        by_hand,
        lambda x: other(x, labels, (anchor, positive, negative)),
    )
    return found


def ours(loss: Loss, labels: Tensor) -> Form:
    """The loss as a function of the embeddings alone."""
    return lambda x: loss(x, labels).loss


def step(form: Form, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient of one step."""
    leaf = embeddings.clone().requires_grad_()
    loss = form(leaf)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def main() -> None:
    """Print the table, with memory and errors under the default allocator, where they are measured once."""
    chosen(MINING)
    header("pytorch-metric-learning")
    embeddings, labels = batch(IDENTITIES)
    print(f"{len(labels)} embeddings of {DIM} numbers, {IMAGES} of each identity; medians of {ROUNDS} rounds")
    print("                          CPU ms                  MiB                 loss           gradient error")
    print("mining              ours    peer  ratio    ours   peer  ratio     ours     peer      ours     peer")
    found = {name: case for name, case in cases(embeddings, labels).items() if name in (sys.argv[1:] or MINING)}
    there = {name: "all_semi_hard" if name in ("semi_hard", "all_semi_hard") else name for name in found}
    forms = {f"ours {name}": case.ours for name, case in found.items()}
    forms |= {f"peer {there[name]}": case.peer for name, case in found.items()}
    steps = {name: (lambda form=form: step(form, embeddings)) for name, form in forms.items()}
    notes = dict.fromkeys(found, "")
    once = allocator() == "default"
    values = {name: take() for name, take in steps.items()}  # and a round to warm up
    seconds = interleaved(steps, ROUNDS, warm=0)
    memory = {name: peak_mib(take) for name, take in steps.items()} if once else {}
    if once:
        for name, case in found.items():
            here, other = values[f"ours {name}"], values[f"peer {there[name]}"]
            other = step(case.peer_on_ours, embeddings) if case.peer_on_ours else other
            exact = step(case.exact, embeddings.double())[1]
            errors = f"{relative_error(here[1], exact):8.1e}  {relative_error(other[1], exact):8.1e}"
            if name == "semi_hard":
                errors = errors[:8] + "  another definition"
            notes[name] = f" {here[0]:9.6f} {other[0]:8.6f}  {errors}"
    for name in found:
        mine, theirs = f"ours {name}", f"peer {there[name]}"
        line = f"{name:17} {1000 * seconds[mine]:6.1f} {1000 * seconds[theirs]:7.1f}"
        line += f" {seconds[theirs] / seconds[mine]:5.1f}x"
        if once:
            line += f" {memory[mine]:7.0f} {memory[theirs]:6.0f} {memory[theirs] / memory[mine]:5.1f}x"
        print(line + notes[name])


if __name__ == "__main__":
    main()
    with_tuned_allocator()
