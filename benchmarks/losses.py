"""One training step of a classification loss (forward and backward), ours beside pytorch-metric-learning's.

    make bench        (installs the extra `bench`)

Both run in this process, one thread, interleaved A B A B; printed are the medians of CPU seconds, their ratio, and the
largest difference of the two gradients, so that speed is never compared between different results.
"""

import math
import statistics
import time
from collections.abc import Callable

import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from torch import Tensor

import faceloss.losses as ours

ROUNDS = 7
SIZES = ((128, 128, 1_000), (256, 128, 10_000), (256, 512, 10_000))  # batch, dim, classes


def step(loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, weight: Tensor) -> tuple[float, Tensor]:
    """CPU seconds of one forward and backward pass, and the gradient of the embeddings."""
    leaf = x.clone().requires_grad_()
    weight.grad = None
    start = time.process_time()
    loss(leaf, y).backward()
    seconds = time.process_time() - start
    assert leaf.grad is not None
    return seconds, leaf.grad


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, 1 thread, {ROUNDS} rounds, medians of CPU milliseconds")
    print("loss      batch  dim classes    ours    peer  peer/ours  gradient difference (relative)")
    for batch, dim, classes in SIZES:
        x, y = torch.randn(batch, dim), torch.randint(classes, (batch,))
        for name in ("cosface", "arcface"):
            options = {"s": 32.0, "m": 0.35} if name == "cosface" else {"s": 32.0, "m": 0.5}
            mine = ours.build(name, dim=dim, classes=classes, **options)
            if name == "cosface":
                peer = CosFaceLoss(classes, dim, margin=0.35, scale=32)
            else:
                peer = ArcFaceLoss(classes, dim, margin=math.degrees(0.5), scale=32)
            with torch.no_grad():
                peer.W.copy_(mine.weight.T)
            times: dict[str, list[float]] = {"ours": [], "peer": []}
            for _ in range(ROUNDS):
                seconds, left = step(lambda a, b, mine=mine: mine(a, b).loss, x, y, mine.weight)
                times["ours"].append(seconds)
                seconds, right = step(lambda a, b, peer=peer: peer(a, b), x, y, peer.W)
                times["peer"].append(seconds)
            a, b = (1000 * statistics.median(times[who]) for who in ("ours", "peer"))
            difference = float((left - right).norm() / right.norm())
            print(f"{name:9} {batch:5} {dim:4} {classes:7} {a:7.1f} {b:7.1f} {b / a:10.2f}  {difference:.1e}")


if __name__ == "__main__":
    main()
