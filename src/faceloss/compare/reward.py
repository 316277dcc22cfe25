"""What a search is rewarded by: a measure of the validation identities, which are in no training and in no test."""

import numpy as np
import torch
from numpy.typing import NDArray

from faceloss.data.faces import Faces
from faceloss.data.keys import generator
from faceloss.evaluate import FAR_GRID, auc, measurable, tar_at_far, ten_folds
from faceloss.train.first_order import similarity

NAMES = ("similarity", "tar", "auc", "accuracy")
LOOKED_AT = 512  # images
PAIRS = 3000  # of each kind, in the ten folds


def images(val: Faces) -> NDArray[np.int64]:
    """Which images of the validation faces are looked at, the same ones every time."""
    return np.sort(generator("reward", val.digest).permutation(len(val))[:LOOKED_AT])


def reward(name: str, embeddings: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The reward ``name`` of embeddings [N,D] of people ``labels`` [N]; higher is better.

    "similarity" is smooth and has the least noise (:func:`faceloss.train.first_order.similarity`); "tar" is the TAR at
    the lowest FAR that the pairs can carry; "auc" the area under the ROC; "accuracy" that of ten folds of pairs.

    Raises:
        ValueError: embeddings that are not finite.
    """
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings are not finite numbers")
    if name == "similarity":
        with torch.inference_mode():
            return float(similarity(torch.from_numpy(embeddings), torch.from_numpy(labels)))
    x = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    first, second = np.triu_indices(len(labels), 1)
    scores = (x @ x.T)[first, second].astype(np.float64)
    same = labels[first] == labels[second]
    genuine, impostor = scores[same], scores[~same]
    if name == "auc":
        return float(auc(genuine, impostor))
    if name == "tar":
        far = min(far for far in (*FAR_GRID, 0.1, 0.5) if measurable(far, impostor.size) or far == 0.5)
        return float(tar_at_far(genuine, impostor, far).tar)
    draw = generator("pairs of a reward", len(labels))
    count = min(PAIRS, genuine.size, impostor.size)
    chosen = [some[np.sort(draw.permutation(some.size)[:count])] for some in (genuine, impostor)]
    fold = np.tile(np.arange(count) * 10 // count, 2)
    return ten_folds(np.concatenate(chosen), np.repeat([True, False], count), fold).mean


def usable(val: Faces | None) -> str:
    """Why the validation faces ``val`` cannot reward a search; "" where they can."""
    if val is None:
        return (
            "a search is rewarded by validation identities, and there are none that are not also among the test faces; "
            "name some in the column split of the data, or leave the split to faceloss"
        )
    if np.bincount(val.labels).max() < 2 or len(val.identities) < 2:
        return "a search needs validation identities with two images each"
    return ""
