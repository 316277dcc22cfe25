"""Judge a file of embeddings made anywhere."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceloss.errors import BadInput
from faceloss.evaluate.cells import Measured
from faceloss.evaluate.protocols import judge_matrix, judge_pairs, judge_rank

PAIR_COLUMNS = {2: "two images", 3: "two images and same (0/1)", 4: "two images, same (0/1) and fold"}


def evaluate_file(path: str | Path, progress: Callable[[str, int, int], None] | None = None) -> list[Measured]:
    """Measured rows of an ``.npz`` with ``embeddings`` [N,D], ``identities`` [N] (strings or integers) and optionally
    ``pairs``.

    ``pairs`` is [M,2] (same follows from the identities), [M,3] (with the same-flag) or [M,4] (with the fold). Every
    pair of the set and leave-one-out ranks are judged always, the pair list where there is one.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("embeddings", "identities", "pairs") if name in file}
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}; give an .npz file with arrays embeddings and identities.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as reason:
        raise BadInput(
            f"{path} cannot be read as an .npz file of plain arrays ({reason}); write it with numpy.savez."
        ) from None
    for name in ("embeddings", "identities"):
        if name not in arrays:
            raise BadInput(f"{path} holds no array named {name}; it needs embeddings [N, D] and identities [N].")
    embeddings, identities = arrays["embeddings"], arrays["identities"]
    rows: list[Measured] = []
    if "pairs" in arrays:
        pairs = arrays["pairs"]
        if pairs.ndim != 2 or pairs.shape[1] not in PAIR_COLUMNS or pairs.dtype.kind not in "iu":
            allowed = "; ".join(f"{n} columns ({what})" for n, what in PAIR_COLUMNS.items())
            raise BadInput(
                f"pairs has shape {pairs.shape} and type {pairs.dtype}; it needs whole numbers in {allowed}."
            )
        first, second = pairs[:, 0], pairs[:, 1]
        if pairs.shape[1] > 2:
            same = pairs[:, 2]
        else:
            inside = len(pairs) and pairs.min() >= 0 and pairs.max() < len(identities)
            same = identities[first] == identities[second] if inside else np.zeros(len(pairs), dtype=bool)
        fold = pairs[:, 3] if pairs.shape[1] > 3 else None
        rows += judge_pairs(embeddings, first, second, same, fold, identities).rows
    rows += judge_matrix(embeddings, identities, progress).rows
    rows += judge_rank(embeddings, identities, progress=progress).rows
    return rows
