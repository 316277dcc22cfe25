"""Ranks of 512 probes among 200,000 distractors, exactly, beside the flat index of faiss.

    python benchmarks/cmc.py        (about 50 seconds; needs the extra `bench`)

512 dimensions; each probe has one mate, most of them easy, some not found at all. Compared are: the ranks among 10,
100, ... 200,000 distractors, a whole CMC for each; the nearest distractor of each probe, as a search for rank 1 and
for open-set thresholds needs it; faiss IndexFlatIP with k = 1, which answers the second question only; and the float32
products alone, by torch.mm and by what our losses have in its place. The index of faiss is built beforehand; our
gallery is quantized beforehand, too, or, in the rows "from float32", within the time.
"""

import faiss
import numpy as np
import torch
from measure import allocator, header, interleaved, peak_mib, with_tuned_allocator

from faceloss.losses.products import inner
from faceloss.matching.exact import pair_scores
from faceloss.matching.gallery import gallery, quantized
from faceloss.matching.nearest import Nearest, nearest
from faceloss.matching.ranks import ranks_among

PROBES, DISTRACTORS, DIM = 512, 200_000, 512
SIZES = (10, 100, 1000, 10_000, 100_000, DISTRACTORS)
ROUNDS = 5
DEPTH = 100  # neighbors that ranks are checked with


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    """Print the table, with memory and agreement under the default allocator, where they are measured once."""
    header("faiss-cpu")
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    people, noise = rng.normal(size=(PROBES, DIM)), rng.uniform(0.6, 2, (PROBES, 1))
    probes, mates = (unit(people + noise * rng.normal(size=(PROBES, DIM))) for _ in range(2))
    others = unit(rng.standard_normal((DISTRACTORS, DIM), dtype=np.float32))
    index = faiss.IndexFlatIP(DIM)
    index.add(others)
    raw, x, y = gallery(others, normalized=True), torch.from_numpy(probes), torch.from_numpy(others)
    source = quantized(raw)

    def products() -> None:
        for start in range(0, DISTRACTORS, 2048):
            x @ y[start : start + 2048].T

    def faster_products() -> None:
        for start in range(0, DISTRACTORS, 2048):
            inner(x, y[start : start + 2048])

    steps = {
        "ours, all ranks": lambda: ranks_among(probes, mates, source, SIZES),
        "ours, nearest": lambda: nearest(probes, source),
        "all ranks, from float32": lambda: ranks_among(probes, mates, raw, SIZES),
        "nearest, from float32": lambda: nearest(probes, raw),
        "faiss, nearest": lambda: index.search(probes, 1),
        "products by torch.mm": products,
        "products by oneDNN": faster_products,
    }
    print(f"{PROBES} probes x {DISTRACTORS:,} distractors, {DIM} numbers; medians of {ROUNDS} rounds")
    seconds = interleaved(steps, ROUNDS)
    print("                           CPU s   faiss / it")
    for name, taken in seconds.items():
        print(f"{name:24} {taken:7.3f} {seconds['faiss, nearest'] / taken:10.1f}x")
    if allocator() == "default":
        peaks = [peak_mib(steps[name]) for name in ("all ranks, from float32", "nearest, from float32")]
        print(f"peak memory {peaks[0]:.0f} and {peaks[1]:.0f} MiB, over the vectors themselves")
        found, best = ranks_among(probes, mates, source, SIZES), nearest(probes, source)
        report(found, best, index, x, torch.from_numpy(mates), y)


def report(
    found: np.ndarray, best: Nearest, index: faiss.IndexFlatIP, x: torch.Tensor, mates: torch.Tensor, y: torch.Tensor
) -> None:
    """Ranks and neighbors against those of faiss, its scores made exact."""
    every = torch.arange(PROBES)
    bar = pair_scores(x, every, mates, every).numpy()
    _, near = index.search(x.numpy(), DEPTH)
    scores = (
        pair_scores(x, every.repeat_interleave(DEPTH), y, torch.from_numpy(near.ravel())).view(PROBES, DEPTH).numpy()
    )
    ahead = np.sum(scores >= bar[:, None], axis=1)
    inside = ahead < DEPTH
    equal = found[inside, -1] == 1 + ahead[inside]
    print(
        f"ranks within {DEPTH} identical to faiss: {equal.sum()} of {inside.sum()}, the others beyond: "
        f"{(found[~inside, -1] > DEPTH).sum()} of {(~inside).sum()}; "
        f"nearest identical: {(best.rows[:, 0] == near[:, 0]).sum()} of {PROBES}"
    )
    print("rank 1 among " + ", ".join(f"{size:,}: {np.mean(found[:, i] == 1):.3f}" for i, size in enumerate(SIZES)))


if __name__ == "__main__":
    main()
    with_tuned_allocator()
