"""TAR at FAR <= 1e-6 over every pair of 20,000 images, exactly, beside the float32 products alone and scikit-learn.

    python benchmarks/roc.py        (about 55 seconds; needs the extra `bench`)

200 million pairs of 512 dimensions, 4 images of each identity, random directions: the threshold is the 200th largest
of all impostor scores. Compared are our search, whole (genuine scores, screen, exact scores); the float32 products of
the same blocks with nothing done to them, which any method on float32 scores must pay, by torch.mm and by what our
losses have in its place; and the ROC of scikit-learn, with the products in NumPy, at 4,000 images, its time times the
ratio of the pairs.

The threshold is compared with that of brute force: a float32 product of every pair, all near the top scored exactly.
Printed too is how far the plain float32 product's own threshold is off, whose last bits depend on the library.
"""

import numpy as np
import torch
from measure import allocator, header, interleaved, peak_mib, with_tuned_allocator
from sklearn.metrics import roc_curve

from faceloss.losses.products import inner
from faceloss.matching import pairs
from faceloss.matching.exact import pair_scores

IMAGES, DIM, EACH, FAR = 20_000, 512, 4, 1e-6
FEWER = 4_000  # images that scikit-learn gets
ROUNDS = 5
ROWS, COLUMNS = 512, 2048


def faces(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N,D] of unit length, and their identities [N]."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) // EACH
    e = 0.3 * rng.normal(size=(images // EACH, DIM))[labels] + rng.normal(size=(images, DIM))
    return (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32), labels


def ours(e: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """TAR, attained FAR and threshold."""
    genuine, _ = pairs.genuine(e, labels)
    impostors = len(e) * (len(e) - 1) // 2 - len(genuine)
    found = pairs.largest(e, labels, int(FAR * impostors))
    return float(np.mean(genuine > found.kept_out)), len(found.scores) / impostors, found.kept_out


def blocks(n: int) -> list[tuple[int, int]]:
    """First row and first column of the blocks that hold every pair once."""
    return [(row, column) for row in range(0, n, ROWS) for column in range(row - row % COLUMNS, n, COLUMNS)]


def products(x: torch.Tensor) -> None:
    """Every float32 product, and nothing else."""
    out = torch.empty(ROWS, COLUMNS)
    for row, column in blocks(len(x)):
        a, b = x[row : row + ROWS], x[column : column + COLUMNS]
        torch.mm(a, b.T, out=out[: len(a), : len(b)]) if out.shape == (len(a), len(b)) else a @ b.T


def faster_products(x: torch.Tensor) -> None:
    """The same by what the losses have in place of torch.mm where the processor has AVX-512."""
    for row, column in blocks(len(x)):
        inner(x[row : row + ROWS], x[column : column + COLUMNS])


def brute_force(e: np.ndarray, labels: np.ndarray, near: float) -> tuple[float, float]:
    """The (k+1)-th largest impostor score: of exact scores, and of float32 products. ``near`` is a score well below."""
    x, y = torch.from_numpy(e), torch.from_numpy(labels)
    exact, plain = [], []
    for row, column in blocks(len(x)):
        block = x[row : row + ROWS] @ x[column : column + COLUMNS].T
        i, j = (block >= near - 1e-4).nonzero(as_tuple=True)
        value, i, j = block[i, j], i + row, j + column
        keep = (j > i) & (y[i] != y[j])
        plain.append(value[keep])
        exact.append(pair_scores(x, i[keep], x, j[keep]))
    impostors = len(e) * (len(e) - 1) // 2 - len(e) // EACH * (EACH * (EACH - 1) // 2)
    k = int(FAR * impostors)
    return tuple(float(torch.cat(parts).sort(descending=True).values[k]) for parts in (exact, plain))


def scikit_learn(e: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """TAR, and the FAR of the point it belongs to: the nearest to FAR, as evaluation scripts pick it."""
    a, b = np.triu_indices(len(e), 1)
    far, tar, _ = roc_curve(labels[a] == labels[b], (e @ e.T)[a, b])
    nearest = int(np.argmin(np.abs(far - FAR)))
    return float(tar[nearest]), float(far[nearest])


def main() -> None:
    """Print the table, with memory and agreement under the default allocator, where they are measured once."""
    header("scikit-learn")
    e, labels = faces(IMAGES)
    x = torch.from_numpy(e)
    total = IMAGES * (IMAGES - 1) / 2
    print(f"{total / 1e6:.0f} million pairs of {DIM} numbers, FAR {FAR:g}; medians of {ROUNDS} rounds, sklearn 1")
    steps = {"ours": lambda: ours(e, labels), "products": lambda: products(x), "faster": lambda: faster_products(x)}
    seconds = interleaved(steps, ROUNDS)
    few = faces(FEWER)
    part = interleaved({"sklearn": lambda: scikit_learn(*few)}, 1, warm=0)["sklearn"]
    seconds["sklearn"] = part * total / (FEWER * (FEWER - 1) / 2)
    print("                           CPU s   Mpairs/s   ours is")
    labels_of = {
        "ours": "ours, whole",
        "products": "products by torch.mm",
        "faster": "products by oneDNN",
        "sklearn": f"sklearn, from n={FEWER}",
    }
    for name, taken in seconds.items():
        print(f"{labels_of[name]:24} {taken:7.2f} {total / taken / 1e6:10.1f} {taken / seconds['ours']:8.1f}x")
    if allocator() == "default":
        peak = peak_mib(lambda: ours(e, labels))
        tar, attained, threshold = ours(e, labels)
        exact, plain = brute_force(e, labels, threshold - 0.01)
        print(f"peak memory {peak:.0f} MiB; TAR {tar:.4f} at attained FAR {attained:.4g}")
        agrees = "equal" if threshold == exact else "WRONG"
        print(f"threshold just above {threshold:.9f}; brute force {exact:.9f}: {agrees}; plain products {plain:.9f}")


if __name__ == "__main__":
    main()
    with_tuned_allocator()
