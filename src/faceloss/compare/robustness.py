"""The tests of a study under corruptions: ``robustness`` records of a run, over seeds, and against the baseline.

Every test image is embedded under each corruption at five levels, as a probe; the gallery is clean
(:mod:`faceloss.evaluate.robustness`). The records of a run say the FNMR of each condition, and its mean over the levels
of a corruption (``level`` null) and over all corruptions ("all"). Compared with the baseline are

    clean            level 0
    the means        is the loss better on corrupted probes?
    "added" means    mean - clean: do corruptions harm it less? A loss that is better on clean and corrupted probes by
                     as much is better, but no more robust
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.compare.family import decide, over_seeds, seeds_of
from faceloss.compare.prepare import Test
from faceloss.data.corrupt import CORRUPTIONS, LEVELS, corrupt
from faceloss.data.faces import Faces
from faceloss.evaluate import Condition, judge_robustness, paired_difference
from faceloss.evaluate.robustness import CLEAN, PROTOCOL, Pairs
from faceloss.evaluate.rows import result_record

Record = dict[str, Any]
Vector = NDArray[np.float64]
Runs = Mapping[tuple[str, int], list[Record]]  # robustness records by (label, seed)
Vectors = Mapping[tuple[str, int], Mapping[str, Vector]]  # influences by name
Watch = Callable[[int, int], None]  # told how many of how many conditions are judged
Embedder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

ADDED = "added "  # what the corruption adds to the metric of the clean images
CHUNK = 1024  # images that are corrupted at a time


class RobustCell(NamedTuple):
    """What a robustness number is about."""

    test: str
    corruption: str  # "" of the clean images, "all" of the mean over all
    level: int | None  # None: the mean over levels
    metric: str  # fnmr | fnmr by identity, "added " before it for mean - clean
    at: float

    @property
    def name(self) -> str:
        """The name under which a run keeps the influence vector of this cell."""
        return "|".join((self.test, "robustness", self.corruption, str(self.level), self.metric, str(self.at)))


def robust_cell(record: Record) -> RobustCell:
    """The cell of a robustness record."""
    return RobustCell(*(record[name] for name in RobustCell._fields))


def unwatched(done: int, total: int) -> None:
    """Nobody is told."""


def about(corruptions: tuple[str, ...]) -> dict[str, Record]:
    """What the levels of ``corruptions`` are, for the record of the study."""
    return {name: {"unit": CORRUPTIONS[name].unit, "levels": list(CORRUPTIONS[name].levels)} for name in corruptions}


def probes(embedder: Embedder, faces: Faces, name: str, level: int) -> NDArray[np.float32]:
    """Embeddings [N,D] of ``faces`` under a corruption; what is drawn for an image depends on the hash of its file."""
    parts = []
    for start in range(0, len(faces), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(faces)))
        parts.append(embedder(corrupt(faces.pixels[rows], name, level, [faces.hashes[row] for row in rows])))
    return np.concatenate(parts)


def judge_corrupted(
    embedder: Embedder, test: Test, clean: NDArray[np.float32], corruptions: tuple[str, ...], watch: Watch = unwatched
) -> tuple[list[Record], dict[str, Vector]]:
    """``test`` under each of ``corruptions`` at each level: records, and influence vectors by the names of the cells.

    ``clean`` [N,D] are the embeddings of the test's faces as they are.
    """
    asked = [(name, level) for name in corruptions for level in LEVELS]

    def conditions() -> Iterator[Condition]:
        for done, (name, level) in enumerate(asked):
            watch(done, len(asked))
            yield Condition(name, level, probes(embedder, test.faces, name, level))
        watch(len(asked), len(asked))

    named = "" not in test.faces.identities  # a .bin file does not say who is on its images
    names = np.array(test.faces.identities)[test.faces.labels] if named else None
    pairs = Pairs(test.pairs.first, test.pairs.second, test.pairs.same) if test.pairs is not None else None
    records, influences = [], {}
    for row in judge_robustness(clean, conditions(), names, pairs):
        where = {"test": test.name, "corruption": row.corruption, "level": row.level}
        record = {**result_record(row), "kind": "robustness", **where}
        records.append(record)
        if row.influence is not None:
            influences[robust_cell(record).name] = row.influence
    return records, influences


def robustness_rows(
    labels: list[str], losses: Mapping[str, str], baseline: str, runs: Runs, vectors: Vectors, diverged: set[str]
) -> list[Record]:
    """``robustness summary`` of every cell: means over seeds; ``robustness difference`` of clean, means and what was
    added: each label minus ``baseline`` ("" for none) on the seeds of both, Holm over the labels of one cell; lower is
    better. ``diverged`` are the labels of which a run was."""
    found = {key: {robust_cell(record): record for record in records} for key, records in runs.items() if records}
    cells = list(dict.fromkeys(cell for row in found.values() for cell in row))
    rows = []
    for cell in cells:
        for label in labels:
            if seeds := seeds_of(found, cell, label):
                who = {"kind": "robustness summary", "label": label, "loss": losses[label], "protocol": PROTOCOL}
                who |= cell._asdict()
                own = [found[label, seed][cell] for seed in seeds]
                rows.append(who | over_seeds(own, [vectors[label, seed].get(cell.name) for seed in seeds]))
    for cell, clean in _compared(cells) if baseline else []:
        shown = cell._replace(metric=ADDED + cell.metric) if clean else cell
        family: list[Record] = []
        for label in [label for label in labels if label != baseline]:
            seeds = seeds_of(found, cell, label, baseline)
            row: Record = {"kind": "robustness difference", "label": label, "loss": losses[label], "baseline": baseline}
            row |= {
                "protocol": PROTOCOL,
                **shown._asdict(),
                "seeds": len(seeds),
                "value": None,
                "low": None,
                "high": None,
                "p": None,
            }
            row |= {"p_holm": None, "verdict": "diverged" if label in diverged else "not measurable"}
            known = [[_number(found, vectors, name, s, cell, clean) for s in seeds] for name in (label, baseline)]
            a, b = ([number for number in part if number is not None] for part in known)
            if seeds and len(a) == len(b) == len(seeds):
                values = [v for v, _ in a], [v for v, _ in b]
                d = paired_difference(*values, np.stack([psi for _, psi in a]), np.stack([psi for _, psi in b]))
                row |= {"value": d.value, "low": d.low, "high": d.high, "p": d.p}
                family.append(row)
            if seeds or label in diverged:
                rows.append(row)
        decide(family, larger_is_better=False)
    return rows


def _compared(cells: list[RobustCell]) -> list[tuple[RobustCell, RobustCell | None]]:
    """The cells that are compared with the baseline, and those of them also less what the clean images have."""
    clean = {(cell.test, cell.metric, cell.at): cell for cell in cells if cell.corruption == CLEAN}
    means = [cell for cell in cells if cell.level is None]
    return [
        *((cell, None) for cell in (*clean.values(), *means)),
        *((cell, clean[cell.test, cell.metric, cell.at]) for cell in means),
    ]


def _number(
    found: Mapping[tuple[str, int], Mapping[RobustCell, Record]],
    vectors: Vectors,
    label: str,
    seed: int,
    cell: RobustCell,
    clean: RobustCell | None,
) -> tuple[float, Vector] | None:
    """Value and influence vector of a run in ``cell``, less that in ``clean``; None where one of them has none."""
    value, psi = found[label, seed][cell]["value"], vectors[label, seed].get(cell.name)
    if value is None or psi is None:
        return None
    if clean is None:
        return value, psi
    less = _number(found, vectors, label, seed, clean, None)
    return (value - less[0], psi - less[1]) if less else None
