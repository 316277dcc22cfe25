"""The numbers of the section "Why", label by label: curves over angles, and the columns of its tables."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from faceloss.report import answer
from faceloss.report.kinds import Epoch
from faceloss.report.kinds_of_training import Collapse
from faceloss.report.records import Records
from faceloss.report.words import interval, number

Array = np.ndarray[Any, np.dtype[np.float64]]
FEW = 10  # samples of a bin whose mean weight is shown
RHO = ("sharpness", "brightness", "contrast", "noise")


class Entry(NamedTuple):
    """A number of a label: mean over seeds; an interval, or else the standard deviation over seeds."""

    value: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None


class View(NamedTuple):
    """Records, and what is asked of them again and again."""

    records: Records
    labels: list[str]  # from the best to the worst
    train: str | None  # the sample of the training faces that is looked at
    test: str | None  # of several tests that which ranks, else the first

    @property
    def baseline(self) -> str:
        return self.records.baseline


def view(records: Records) -> View:
    """The view of the section."""
    key = answer.primary(records)
    found = {
        role: list(dict.fromkeys(test for _, _, of, test in records.collapses if of == role))
        for role in ("train", "test")
    }
    tests = list(dict.fromkeys([*found["test"], *(test for _, test, _ in records.norms)]))
    test = key.test if key is not None and key.test in tests else next(iter(tests), None)
    return View(records, answer.ranked(records, key), next(iter(found["train"]), None), test)


class Column(NamedTuple):
    """A column of a table; ``cell`` gives the number of a label."""

    part: str
    name: str
    decimals: int
    cell: Callable[[View, str], Entry | None]


def middles(bins: int) -> Array:
    """The middle of each bin of 0 to 180 degrees."""
    return np.asarray(180 / bins * (np.arange(bins) + 0.5))


def last_epochs(records: Records, label: str) -> list[Epoch]:
    """The last epoch of each seed that came to its end, where samples have an angle to their class."""
    return [e for e in records.epochs if e.label == label and e.target_weights and e.target_angles]


def weights(records: Records, label: str) -> Array | None:
    """Mean gradient weight in each bin of angles in the last epoch, over all seeds; nan where few samples are."""
    found = last_epochs(records, label)
    if not found:
        return None
    counts = np.array([e.target_angles for e in found], dtype=np.float64)  # [seeds,bins]
    means = np.array([[0.0 if w is None else w for w in e.target_weights] for e in found])
    total = counts.sum(axis=0)
    some = np.where(total >= FEW, total, np.nan)
    return np.asarray((counts * means).sum(axis=0) / some)


def ruler(records: Records, label: str) -> Array | None:
    """Gradient weight at each angle of the loss itself; of a searched one, with what its first seed ended with."""
    found = next((r for (name, _), r in sorted(records.rulers.items()) if name == label), None)
    return None if found is None else as_array(found.weight)


def angles(epochs: Sequence[Epoch]) -> Array | None:
    """Share of the samples in each bin of angles, over all ``epochs``."""
    return _shares([e.target_angles for e in epochs if e.target_angles])


def others(records: Records, label: str, role: str, test: str) -> Array | None:
    """Share of the images in each bin of angles to the other images of their identity, over all seeds."""
    return _shares([c.others_angles for c in collapses(records, label, role, test) if c.others_angles])


def _shares(counts: Sequence[Sequence[int]]) -> Array | None:
    total = np.sum([c for c in counts if len(c) == len(counts[0])], axis=0, dtype=np.float64) if counts else None
    return None if total is None or not total.sum() else np.asarray(total / total.sum())


def collapses(records: Records, label: str, role: str, test: str) -> list[Collapse]:
    """Of all seeds."""
    return [c for (name, _, of, on), c in records.collapses.items() if (name, of, on) == (label, role, test)]


def without_classes(records: Records) -> list[str]:
    """Labels that were trained, beside others that have angles to class vectors, and have none themselves."""
    some = {e.label for e in records.epochs if e.target_angles}
    trained = {e.label for e in records.epochs}
    return [label for label in records.labels if some and label in trained - some]


def over_seeds(values: Iterable[float | None]) -> Entry | None:
    """Mean and standard deviation of what is known."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Entry(float(np.mean(known)), spread=float(np.std(known, ddof=1)) if len(known) > 1 else None)


def median_angle(seen: View, label: str) -> Entry | None:
    """Of the last epoch's samples, within a bin evenly spread."""
    middle = []
    for epoch in last_epochs(seen.records, label):
        counts = np.concatenate([[0.0], np.cumsum(epoch.target_angles)])
        edges = np.linspace(0, 180, len(counts))
        middle.append(float(np.interp(counts[-1] / 2, counts, edges)))
    return over_seeds(middle)


def _of_epoch(name: str) -> Callable[[View, str], Entry | None]:
    return lambda seen, label: over_seeds(getattr(e, name) for e in last_epochs(seen.records, label))


def _of_collapse(role: str, name: str) -> Callable[[View, str], Entry | None]:
    def cell(seen: View, label: str) -> Entry | None:
        test = seen.train if role == "train" else seen.test
        found = [] if test is None else collapses(seen.records, label, role, test)
        return over_seeds(getattr(c, name) for c in found)

    return cell


def _of_norm(metric: str) -> Callable[[View, str], Entry | None]:
    def cell(seen: View, label: str) -> Entry | None:
        found = None if seen.test is None else seen.records.norms.get((label, seen.test, metric))
        if found is None or found.value is None:
            return None
        return Entry(found.value, found.low, found.high, found.spread)

    return cell


GRADIENT, NORMS = "Angles and gradient", "Norm and quality"
TRAINING, TEST = "Neural collapse, training faces", "Neural collapse, test"
COLUMNS = (
    Column(GRADIENT, "Median angle, degrees", 1, median_angle),
    Column(GRADIENT, "Gradient of the hardest tenth", 3, _of_epoch("hardest_tenth")),
    Column(GRADIENT, "Gradient of the easiest half", 3, _of_epoch("easiest_half")),
    Column(TRAINING, "NC1, training", 3, _of_collapse("train", "nc1")),
    Column(TRAINING, "NC2 norms, training", 3, _of_collapse("train", "nc2_norms")),
    Column(TRAINING, "NC2 angles, training", 3, _of_collapse("train", "nc2_angles")),
    Column(TRAINING, "NC3, training", 3, _of_collapse("train", "nc3")),
    Column(TRAINING, "NC4, training", 3, _of_collapse("train", "nc4")),
    Column(TRAINING, "Effective rank, training", 1, _of_collapse("train", "effective_rank")),
    Column(TEST, "NC1, test", 3, _of_collapse("test", "nc1")),
    Column(TEST, "NC2 norms, test", 3, _of_collapse("test", "nc2_norms")),
    Column(TEST, "NC2 angles, test", 3, _of_collapse("test", "nc2_angles")),
    Column(TEST, "Effective rank, test", 1, _of_collapse("test", "effective_rank")),
    *(Column(NORMS, f"Norm and {name}, rho", 2, _of_norm(f"rho {name}")) for name in RHO),
    Column(NORMS, "FNMR, lowest tenth of norms", 3, _of_norm("fnmr lowest tenth")),
    Column(NORMS, "FNMR, other pairs", 3, _of_norm("fnmr others")),
)


def columns(seen: View, part: str | None = None) -> list[Column]:
    """Those in which any label has a number; of a ``part`` or of all."""
    chosen = [c for c in COLUMNS if part in (None, c.part)]
    return [c for c in chosen if any(c.cell(seen, label) is not None for label in seen.labels)]


def written(entry: Entry | None, decimals: int) -> tuple[str, str]:
    """A number and what stands below it: its interval, else nothing; an en dash where there is none."""
    if entry is None:
        return "–", ""
    limits = interval(entry.low, entry.high, decimals)
    spread = f" ± {number(entry.spread, decimals)}" if entry.spread is not None and not limits else ""
    return number(entry.value, decimals) + spread, limits


def as_array(values: Sequence[float | None]) -> Array:
    """Numbers with nan where there is none."""
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
