"""What may explain a result, measured the same way for every loss: records ``ruler``, ``collapse``, ``norm``.

The course of the angles and the gradient weights are in the ``epoch`` records (:mod:`faceloss.train.census`). Here is
what is measured once a run is trained, of the loss itself, of a sample of the training faces, and of every test; and
the norms' numbers over seeds, ``norm summary``. All of it describes; nothing is compared or claimed.
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from faceloss import losses
from faceloss.compare.prepare import Test
from faceloss.compare.study import Run
from faceloss.data.faces import Faces
from faceloss.data.quality import quality
from faceloss.evaluate import measure_collapse, summary
from faceloss.evaluate.geometry import effective_rank, mean_cosine, others_angles, unit
from faceloss.evaluate.norms import NormNumber, correlate_norms, fisher, misses_by_norm
from faceloss.evaluate.statistics import mean_error
from faceloss.losses import ruler
from faceloss.losses.core import Loss
from faceloss.losses.spread import class_rows
from faceloss.train.census import BINS

Record = dict[str, Any]
Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Index = NDArray[np.int64]

ANGLES = tuple(180 / BINS * (i + 0.5) for i in range(BINS))  # degrees: the middles of the bins
PROBABILITIES = tuple(i / 20 for i in range(1, 20))
MOST_CLASSES = 10_000  # of the ruler
TRAIN_SAMPLE = (32, 10)  # identities, and images of each
TEST_SAMPLE = (400, 20)


def of_loss(run: Run, loss: Loss) -> list[Record]:
    """A ``ruler`` record: what the loss does at each angle, with the hyperparameters that ``loss`` ended with.

    Gradient weight and nats of :class:`faceloss.losses.ruler.ClassCurve` at the middles of 36 bins of 5 degrees, with
    as many classes as in training, 10,000 at most; of a loss that is searched for also h against p. Nothing of a loss
    without classes.
    """
    row = run.competitor
    dim = max(ruler.DIM, int(row.hyperparameters.get("size", ruler.DIM)))
    try:
        alike = losses.build(row.loss, dim=dim, classes=min(loss.classes, MOST_CLASSES), **row.hyperparameters)
        alike.set_hyperparameters(loss.hyperparameters())
        curve = ruler.over_classes(alike, ANGLES)
    except Exception:  # of somebody's own loss, which need not work in three dimensions; a curve is not worth a run
        return []
    if curve is None:
        return []
    record: Record = {"kind": "ruler", "scale": curve.scale, "classes": alike.classes}
    record |= {name: _rounded(getattr(curve, name)) for name in ("weight", "nats")}
    if losses.describe(row.loss).family == "search":
        record |= {"p": PROBABILITIES, "h": _rounded(ruler.factors(alike, PROBABILITIES))}
    return [record]


def training_sample(faces: Faces) -> Index:
    """Which training images are looked at once the run is trained: the same for every run of a study."""
    return sample(faces.labels, *TRAIN_SAMPLE)


def vectors_of(loss: Loss, faces: Faces) -> NDArray[np.float64] | None:
    """The class vectors of the identities of the :func:`training_sample`, less their mean. All processes must ask.

    Less their mean because the sample's class means are (NC3); what the classifier prefers (NC4) does not change.
    """
    present = torch.from_numpy(np.unique(faces.labels[training_sample(faces)]))
    rows = class_rows(loss, present) if len(present) > 1 else None
    return None if rows is None else (rows - rows.mean(0)).double().cpu().numpy()


def of_training(embedder: Embed, faces: Faces, vectors: NDArray[np.float64] | None) -> list[Record]:
    """The ``collapse`` record of a sample of the training faces."""
    chosen = training_sample(faces)
    if len(chosen) < 2:
        return []
    return [
        {
            "role": "train",
            "test": faces.name,
            **_collapse(embedder(faces.pixels[chosen]), faces.labels[chosen], vectors),
        }
    ]


def of_test(
    test: Test, rows: NDArray[np.float32], threshold: float | None, far: float | None
) -> tuple[list[Record], dict[str, NDArray[np.float64]]]:
    """The ``collapse`` and ``norm`` records of a test with embeddings ``rows`` [N,D], and influences by name.

    ``threshold`` is that of the global FAR ``far``; None: no FNMR. Of an image whose identity is not known nothing is
    said but its norm, and it counts as a subject of its own.
    """
    faces = test.faces
    known = np.array(faces.identities)[faces.labels] != ""
    names = np.where(known, faces.labels, len(faces.identities) + np.arange(len(faces)))
    chosen = sample(np.where(known, faces.labels, -1), *TEST_SAMPLE)
    records = []
    if len(chosen):
        records.append({"role": "test", "test": test.name, **_collapse(rows[chosen], faces.labels[chosen], None)})
    numbers: tuple[NormNumber, ...] = correlate_norms(rows, _qualities(faces), names)
    if threshold is not None:
        numbers += misses_by_norm(rows, names, threshold, far)
    influences = {}
    for number in numbers:
        record = {key: value for key, value in number._asdict().items() if key != "influence"}
        records.append({"kind": "norm", "test": test.name, **record})
        if number.influence is not None:
            influences[name_of(test.name, number.metric)] = number.influence
    return records, influences


def name_of(test: str, metric: str) -> str:
    """The name under which a run keeps the influence vector of a norm's number."""
    return f"{test}|norm|{metric}"


def sample(labels: Index, identities: int, each: int) -> Index:
    """Images of up to ``identities`` of those with two or more, up to ``each`` of each, evenly over their order.

    Empty where fewer than two identities have two images; labels below 0 take no part.
    """
    found, counts = np.unique(labels[labels >= 0], return_counts=True)
    found = _evenly(found[counts > 1], identities)
    if len(found) < 2:
        return np.array([], dtype=np.int64)
    return np.sort(np.concatenate([_evenly(np.flatnonzero(labels == label), each) for label in found]))


def norm_rows(
    labels: list[str],
    names: Mapping[str, str],
    runs: Mapping[tuple[str, int], list[Record]],
    vectors: Mapping[tuple[str, int], Mapping[str, NDArray[np.float64]]],
) -> list[Record]:
    """``norm summary`` records: the mean over seeds of each number of a label, with its interval over subjects too."""
    rows: list[Record] = []
    cells = dict.fromkeys((record["test"], record["metric"]) for found in runs.values() for record in found)
    for test, metric in cells:
        for label in labels:
            found = {
                seed: record
                for (name, seed), records in sorted(runs.items())
                for record in records
                if name == label and (record["test"], record["metric"]) == (test, metric)
            }
            if not found:
                continue
            first = next(iter(found.values()))
            row = {"kind": "norm summary", "label": label, "loss": names[label], "seeds": len(found)}
            row |= {key: first[key] for key in ("test", "metric", "at", "number", "subjects", "note")}
            row |= {"status": "not measurable", "value": None, "low": None, "high": None, "spread": None}
            if all(record["value"] is not None for record in found.values()):
                values = [record["value"] for record in found.values()]
                psi = np.stack([vectors[label, seed][name_of(test, metric)] for seed in found])
                row |= {"status": "measured", **_over_seeds(metric, values, psi)}
            rows.append(row)
    return rows


def _over_seeds(metric: str, values: list[float], psi: NDArray[np.float64]) -> Record:
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
    if metric.startswith("rho"):
        low, high = fisher(mean, *mean_error(values, psi))
    else:
        total = summary(values, psi)
        low, high = total.low, total.high
    return {"value": mean, "low": low, "high": high, "spread": spread}


@lru_cache(maxsize=8)
def _qualities(faces: Faces) -> dict[str, NDArray[np.float64]]:
    """Once for all runs of a process."""
    return quality(faces.pixels)


def _collapse(rows: NDArray[np.float32], labels: Index, vectors: ArrayLike | None) -> Record:
    """NC1 to NC4, effective rank, angles to the identity's other images, of embeddings at length 1."""
    e = unit(rows)
    found = measure_collapse(e, labels, vectors)
    near = np.histogram(others_angles(e, labels), BINS, (0, 180))[0]
    numbers = {
        "nc1": found.within.papyan,
        "nc1_ratio": found.within.ratio,
        "nc2_norms": found.norms,
        "nc2_angles": found.angles,
        "nc3": found.duality,
        "nc4": found.disagreement,
        "effective_rank": effective_rank(e),
        "mean_cosine": mean_cosine(e),
    }
    return {
        "kind": "collapse",
        "images": len(rows),
        "classes": found.classes,
        "dim": found.dim,
        **{name: _number(value) for name, value in numbers.items()},
        "others_angles": near.tolist(),
    }


def _evenly(values: Index, most: int) -> Index:
    """Up to ``most`` of ``values``, evenly over them, the first and the last among them."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(np.int64)]


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _rounded(values: tuple[float, ...]) -> list[float | None]:
    """Six digits, which is more than any figure shows."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
