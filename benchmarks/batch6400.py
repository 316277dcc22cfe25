"""1,600 identities with 4 images each in one step: margin and triplet losses on 6,400 embeddings of 128 numbers.

    python benchmarks/batch6400.py        (about 50 seconds)

The batch of a student's comparison of losses on face embeddings: 41 million distances, 123 million triplets. There is
no peer: pytorch-metric-learning lists such triplets in a Python loop, 3 GB of indices, and its distance-weighted miner
copies its weights, 156 MiB, once for each identity, which takes many minutes.

Printed are medians of CPU seconds, the peak of extra memory, and the relative error of loss and gradient against the
same code on the same tuples in float64, which the tests compare with plain loops.
"""

import torch
from measure import allocator, header, interleaved, peak_mib, relative_error, with_tuned_allocator
from torch import Tensor

from faceloss import losses
from faceloss.losses.mining import AllNegatives, Pairs, Triplets

Tuples = Pairs | Triplets | AllNegatives
IDENTITIES, IMAGES, DIM = 1600, 4, 128
ROUNDS = 3
LOSSES = {
    "margin, distance-weighted": ("margin", {}),
    "triplet, all": ("triplet", {"mining": "all"}),
    "triplet, all_semi_hard": ("triplet", {"mining": "all_semi_hard"}),
    "triplet, semi_hard": ("triplet", {"mining": "semi_hard"}),
    "triplet, hard": ("triplet", {"mining": "hard"}),
}


def main() -> None:
    """Print the table, with memory and errors under the default allocator, where they are measured once."""
    header()
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(IDENTITIES * IMAGES) // IMAGES
    centers = torch.randn(IDENTITIES, DIM, generator=generator)
    embeddings = torch.randn(len(labels), DIM, generator=generator) + 0.6 * centers[labels]
    product = interleaved({"product": lambda: embeddings @ embeddings.T}, ROUNDS)["product"]
    matrix = len(labels) ** 2 * 4 / 2**20
    print(f"one product [B,D] x [D,B]: {product:.2f} s; one matrix [B,B]: {matrix:.0f} MiB; medians of {ROUNDS} rounds")
    print("loss                        CPU s    MiB    error of the loss, of its gradient")

    def step(name: str, x: Tensor, mined: list[Tuples]) -> tuple[Tensor, Tensor]:
        """Loss and gradient, on the tuples in ``mined`` or, if there are none, on new ones, which go there."""
        kind, given = LOSSES[name]
        loss = losses.build(kind, dim=DIM, classes=IDENTITIES, **given)
        mine = loss.miner
        loss.miner = lambda *of: mined[0] if mined else mined.append(mine(*of)) or mined[0]
        leaf = x.clone().requires_grad_()
        value = loss(leaf, labels).loss
        value.backward()
        assert leaf.grad is not None
        return value.detach(), leaf.grad

    seconds = interleaved({name: (lambda name=name: step(name, embeddings, [])) for name in LOSSES}, ROUNDS, warm=0)
    for name in LOSSES:
        line = f"{name:26} {seconds[name]:6.2f}"
        if allocator() == "default":
            mined: list[Tuples] = []
            peak = peak_mib(lambda name=name: step(name, embeddings, []))
            single, double = step(name, embeddings, mined), step(name, embeddings.double(), mined)
            errors = [relative_error(*both) for both in zip(single, double, strict=True)]
            line += f" {peak:6.0f}    {errors[0]:.1e}  {errors[1]:.1e}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
    with_tuned_allocator()
