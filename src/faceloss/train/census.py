"""Where the training samples of an epoch stand, and who pulls: their angles to the own class and gradient weights.

A sample counts with the angle theta_y between its embedding and its class vector in the step that it is trained in, and
with the weight |dL/dc_y| / s (:class:`faceloss.losses.core.Targets`). Both are summed in fixed bins of angles, so the
memory is bounded, an epoch continues from a checkpoint to the bit, and every process of a run, which all see the whole
batch, holds the same sums. Losses over pairs and triplets have no class vectors and leave the census empty.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceloss.losses.core import Targets

BINS = 36  # of 5 degrees, in records
FINE = 360  # of half a degree, as counted
Census = NDArray[np.float64]  # [2,FINE]: samples, and the sum of their weights


def empty() -> Census:
    """Of no samples yet."""
    return np.zeros((2, FINE))


def count(census: Census, targets: Targets) -> None:
    """Add the samples of a batch, after its backward pass; of one whose weight is not finite the angle alone."""
    angles, weights = targets.angles().double().cpu().numpy(), targets.weights().double().cpu().numpy()
    place = np.clip((angles * (FINE / 180)).astype(np.int64), 0, FINE - 1)
    census[0] += np.bincount(place, minlength=FINE)
    census[1] += np.bincount(place, np.where(np.isfinite(weights), weights, 0.0), minlength=FINE)


def facts(census: Census, *, weights: bool) -> dict[str, Any]:
    """What an epoch's record says; nothing of an empty census.

    "target_angles": samples in each of 36 bins of 5 degrees from 0 to 180. "hardest_tenth" and "easiest_half": the
    share of all gradient weight that the tenth of the samples with the largest angles, and the half with the smallest,
    carry (even, they would carry 0.1 and 0.5; None where there is no weight at all). With ``weights``
    "target_weights": the mean weight in each bin, None in an empty one.
    """
    if not census[0].any():
        return {}
    samples, pulls = census.reshape(2, BINS, -1).sum(axis=2)
    found: dict[str, Any] = {
        "target_angles": samples.astype(np.int64).tolist(),
        "hardest_tenth": share(census[:, ::-1], 0.1),
        "easiest_half": share(census, 0.5),
    }
    if weights:
        found["target_weights"] = [
            round(float(pull / n), 6) if n else None for n, pull in zip(samples, pulls, strict=True)
        ]
    return found


def share(census: Census, part: float) -> float | None:
    """The share of all weight that the first ``part`` of the samples carries; within a fine bin all alike."""
    samples, pulls = (np.concatenate([[0.0], row.cumsum()]) for row in census)
    if pulls[-1] <= 0:
        return None
    return round(float(np.interp(part * samples[-1], samples, pulls) / pulls[-1]), 6)
