"""Checks of miners: what they pick are tuples, of every row that can have one, and nothing else decides them."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from faceloss.checks.case import batch, must
from faceloss.losses import mining
from faceloss.losses.mining import AllNegatives, Miner, Pairs, Triplets
from faceloss.losses.operations import normalize
from faceloss.losses.pairwise import distances

MinerOf = Callable[[int], Miner]  # from the number of dimensions, which some miners need to know


def miners() -> dict[str, MinerOf]:
    """Every public miner of ``faceloss.losses.mining``: a function of distances, labels and generator."""
    found: dict[str, MinerOf] = {}
    for name, function in vars(mining).items():
        if inspect.isfunction(function) and not name.startswith("_"):
            keywords = list(inspect.signature(function).parameters)
            if keywords[:3] == ["distances", "labels", "generator"]:
                found[name] = partial(_of, function, "dim" in keywords)
    return found


def _of(function: Callable[..., Triplets | Pairs | AllNegatives], asks: bool, dim: int) -> Miner:
    return partial(function, dim=dim) if asks else function


def inputs(dim: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Unit vectors [B,dim] and labels [B] on which careless miners pick wrongly or stop: what, x, labels."""
    embeddings, labels = batch(dim=dim)
    count = len(labels)
    yield "generic", embeddings, labels
    yield "single rows among others", embeddings, torch.arange(count).clamp_min(count // 2)
    yield "one class", embeddings, torch.zeros_like(labels)
    yield "all classes different", embeddings, torch.arange(count)
    yield "batch of 1", embeddings[:1], labels[:1]
    yield "two of one class", embeddings[:2], labels[:1].repeat(2)
    yield "zero", torch.zeros_like(embeddings), labels
    yield "all equal", embeddings[:1].expand_as(embeddings), labels
    yield "classes on one spot each", embeddings[labels], labels
    axis = torch.eye(dim, dtype=embeddings.dtype)[labels]
    sign = 1.0 - 2.0 * (torch.arange(count) % 2).unsqueeze(1)
    yield "cosines exactly +1 and 0", axis, labels
    yield "cosines exactly +1, -1 and 0", sign * axis, labels
    yield "cosines exactly +1 and -1", sign * torch.eye(dim, dtype=embeddings.dtype)[0].expand_as(axis), labels
    yield "one spot", embeddings[:1] + 1e-4 * embeddings, labels


def each_input() -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """All inputs as distances of directions, in 8 and 512 dimensions and in every precision."""
    for dim in (8, 512):
        for what, embeddings, labels in inputs(dim):
            for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
                apart = distances(normalize(embeddings)).to(dtype)
                yield f"on the input '{what}' ({dtype}, dim {dim})", dim, apart, labels


def columns(found: Triplets | Pairs) -> tuple[Tensor, ...]:
    """The rows that were picked: three or two of them."""
    return (
        (found.anchor, found.positive, found.negative) if isinstance(found, Triplets) else (found.first, found.second)
    )


def mine(miner: Miner, apart: Tensor, labels: Tensor, seed: int = 0) -> Triplets | Pairs:
    """What the miner picks, written out if it is in short."""
    found = miner(apart, labels, torch.Generator().manual_seed(seed))
    return found.triplets(apart, labels) if isinstance(found, AllNegatives) else found


def picks_tuples(make: MinerOf) -> None:
    """Rows of the batch, all different; anchor and positive of one identity, negative of another, or so said."""
    for where, dim, apart, labels in each_input():
        for seed in range(3):
            found = mine(make(dim), apart, labels, seed)
            kind = type(found).__name__
            must(isinstance(found, Triplets | Pairs), f"a miner returns Triplets, Pairs or AllNegatives, not {kind}")
            picked = columns(found)
            must(all(c.dtype == torch.int64 and c.ndim == 1 for c in picked), f"rows must be [T] int64 {where}")
            must(len({len(c) for c in picked}) == 1, f"as many of each {where}")
            for column in picked:
                must(bool(((column >= 0) & (column < len(labels))).all()), f"a row that is not in the batch {where}")
            must(bool((picked[0] != picked[1]).all()), f"a row was paired with itself {where}")
            same = labels[picked[0]] == labels[picked[1]]
            if isinstance(found, Pairs):
                must(found.same.dtype == torch.bool, f"'same' must be bool {where}")
                must(torch.equal(found.same, same), f"'same' is not whether the labels are equal {where}")
            else:
                must(bool(same.all()), f"a positive of another identity {where}")
                must(bool((labels[picked[0]] != labels[picked[2]]).all()), f"a negative of the same identity {where}")
            must(len(set(zip(*(c.tolist() for c in picked), strict=True))) == len(same), f"a tuple came twice {where}")


def skips_rows_without(make: MinerOf) -> None:
    """Batches without a tuple give none; where there are some, every identity that can be in one is."""
    for where, dim, apart, labels in each_input():
        found = mine(make(dim), apart, labels)
        counts = torch.bincount(labels)
        can = {label for label, count in enumerate(counts.tolist()) if count > 1}
        if isinstance(found, Triplets):
            if len(counts.nonzero()) < 2:
                can = set()
            must(set(labels[found.anchor].tolist()) <= can, f"a triplet of rows that have none {where}")
        else:
            must(set(labels[found.first[found.same]].tolist()) == can, f"not a pair of each identity with two {where}")
        if "generic" in where and dim == 8:
            must(set(labels[columns(found)[0]].tolist()) == can, f"an identity was left out {where}")


def same_generator(make: MinerOf) -> None:
    """The same generator gives the same tuples; inputs and torch's global generator stay as they are."""
    for where, dim, apart, labels in each_input():
        before, state = (apart.clone(), labels.clone()), torch.get_rng_state()
        first = mine(make(dim), apart, labels)
        must(torch.equal(state, torch.get_rng_state()), "a miner drew from torch's global generator")
        must(torch.equal(apart, before[0]) and torch.equal(labels, before[1]), f"a miner changed its inputs {where}")
        torch.rand(3)
        again = mine(make(dim), apart, labels)
        must(
            all(torch.equal(one, two) for one, two in zip(first, again, strict=True)),
            f"the same generator gave other tuples {where}",
        )


def batch_order(make: MinerOf) -> None:
    """The order of a batch decides nothing, except the draws of a miner that draws."""
    embeddings, labels = batch()
    apart = distances(normalize(embeddings))
    draws = {tuple(torch.stack(columns(mine(make(8), apart, labels, seed))).flatten().tolist()) for seed in range(9)}
    if len(draws) > 1:
        return
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    straight = columns(mine(make(8), apart, labels))
    mixed = columns(mine(make(8), apart[order][:, order], labels[order]))
    ordered = len(straight) == 3  # the two rows of a pair have no order
    sets = [
        {tuple(row) if ordered else tuple(sorted(row)) for row in zip(*(c.tolist() for c in picked), strict=True)}
        for picked in (straight, tuple(order[column] for column in mixed))
    ]
    must(sets[0] == sets[1], "another order of the batch gives other tuples")


MINER_CHECKS: tuple[Callable[[MinerOf], None], ...] = (picks_tuples, skips_rows_without, same_generator, batch_order)
