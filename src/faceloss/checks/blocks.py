"""The check that a loss is the same in whatever blocks its classes are read."""

import copy

import torch

from faceloss.checks.case import Case, batch, close, gradients, must
from faceloss.losses.scores import Blocks, read_in

WAYS = (Blocks(classes=1), Blocks(classes=4, keep=0), Blocks(classes=5), Blocks(classes=10**6), Blocks(keep=0))


def blocks_agree(case: Case) -> None:
    """Value, statistics and gradients equal those of the plain form that sees the whole matrix batch x classes.

    A rule of a loss that takes a mean or a maximum over the scores it is handed fails: those are of some classes only.
    """
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        start = case.loss().to(dtype)
        embeddings, labels = batch(dtype=dtype)
        plain = read_in(copy.deepcopy(start), Blocks(stream=False))
        if plain is None:
            return
        expected, wanted = gradients(plain, embeddings, labels)
        statistics = plain(embeddings, labels).statistics  # of the second pass, where a memory counts
        for way in WAYS:
            loss = read_in(copy.deepcopy(start), way)
            assert loss is not None
            got, grads = gradients(loss, embeddings, labels)
            must(close(got, expected, tolerance), f"{got.item()} in {way}, {expected.item()} in one piece ({dtype})")
            for name, gradient in grads.items():
                off = float((gradient - wanted[name]).norm() / (wanted[name].norm() + 1e-30))
                must(
                    off < 10 * tolerance, f"the gradient of {name} is another one in {way}: off by {off:.1e} ({dtype})"
                )
            for name, statistic in loss(embeddings, labels).statistics.items():
                same = close(statistic, statistics[name], 10 * tolerance)
                must(same, f"the statistic {name} is another one in {way}: {statistic.item()} ({dtype})")
