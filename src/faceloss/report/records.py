"""Read ``records.jsonl`` and ``costs.jsonl``: one flat JSON object a line, told apart by its key ``kind``.

A kind that may be missing (a study stopped half way, a test without curves) leaves its field empty; the page then says
what is missing. A line that cannot be understood is refused with the file and the line number, never skipped.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from faceloss.errors import BadInput
from faceloss.report.kinds import (
    Cell,
    Curve,
    Data,
    Difference,
    Epoch,
    Failures,
    Group,
    GroupDifference,
    Key,
    OpenSet,
    Picture,
    Run,
    Study,
)
from faceloss.report.kinds_of_training import Collapse, Cost, EmbeddingMap, Latency, Norm, Ruler, Search, Target


@dataclass(frozen=True)
class Records:
    """All that one study wrote; of two records about the same thing the later one counts."""

    study: Study
    settings: dict[str, Any]  # the study record as it stands, for the settings table
    data: tuple[Data, ...]
    runs: dict[tuple[str, int], Run]
    epochs: tuple[Epoch, ...]
    results: dict[tuple[str, int, Key], Cell]
    summaries: dict[tuple[str, Key], Cell]
    differences: dict[tuple[str, Key], Difference]
    curves: tuple[Curve, ...]
    open_sets: tuple[OpenSet, ...]
    searches: dict[tuple[str, int], list[Search]]  # the epochs of a run, in order
    groups: tuple[Group, ...]  # over seeds
    group_differences: tuple[GroupDifference, ...]
    failures: tuple[Failures, ...]
    pictures: dict[tuple[str, str], Picture]  # by test and file; those that may be shown
    robustness: tuple[Cell, ...]  # summaries under corruptions
    robust_differences: tuple[Difference, ...]
    rulers: dict[tuple[str, int], Ruler]
    collapses: dict[tuple[str, int, str, str], Collapse]  # by label, seed, role, test
    norms: dict[tuple[str, str, str], Norm]  # summaries, by label, test, metric
    maps: tuple[EmbeddingMap, ...]
    targets: dict[tuple[str, int], Target]
    costs: dict[tuple[str, int], Cost]
    latencies: tuple[Latency, ...]  # of the network, measured afterwards
    unknown: dict[str, int]  # kinds this page does not know, with their count
    digest: str  # sha256 of records.jsonl

    @property
    def baseline(self) -> str:
        against = next(iter(self.differences.values()), None)
        return self.study.baseline or (against.baseline if against else "softmax")

    @property
    def labels(self) -> list[str]:
        """Baseline first, then the order of the study, then labels that only the records know."""
        found = list(dict.fromkeys([label for label, _ in self.runs] + [label for label, _ in self.summaries]))
        found += [c.label for c in self.results.values() if c.label not in found]
        loss_of = {run.label: run.loss for run in self.runs.values()}
        planned: list[str] = []
        for loss in self.study.losses:
            planned += [label for label in found if loss in (label, loss_of.get(label))] or [loss]
        both = dict.fromkeys(planned + found)
        return sorted(both, key=lambda label: label != self.baseline)

    @property
    def seeds(self) -> list[int]:
        return sorted({*self.study.seeds, *(seed for _, seed in self.runs)})

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Runs that the study planned and that left no ``run`` record."""
        return [(label, seed) for label in self.labels for seed in self.seeds if (label, seed) not in self.runs]

    @property
    def keys(self) -> list[Key]:
        """Every column, in the order in which tests appear; within a test from the easiest FAR to the hardest."""
        cells = [*self.summaries.values(), *self.results.values()]
        places = list(dict.fromkeys((cell.test, cell.protocol) for cell in cells))
        metrics = ["accuracy", "tar", "tar by identity", "rank", "tpir", "eer", "auc"]

        def order(key: Key) -> tuple[int, int, str, float]:
            known = metrics.index(key.metric) if key.metric in metrics else len(metrics)
            at = key.at or 0.0
            return places.index((key.test, key.protocol)), known, key.metric, at if key.metric == "rank" else -at

        return sorted({cell.key for cell in cells}, key=order)


READERS: dict[str, TypeAdapter[Any]] = {
    "study": TypeAdapter(Study),
    "data": TypeAdapter(Data),
    "run": TypeAdapter(Run),
    "epoch": TypeAdapter(Epoch),
    "result": TypeAdapter(Cell),
    "summary": TypeAdapter(Cell),
    "difference": TypeAdapter(Difference),
    "curve": TypeAdapter(Curve),
    "open set": TypeAdapter(OpenSet),
    "failures": TypeAdapter(Failures),
    "search": TypeAdapter(Search),
    "group": TypeAdapter(Group),
    "group summary": TypeAdapter(Group),
    "group difference": TypeAdapter(GroupDifference),
    "robustness": TypeAdapter(Cell),
    "robustness summary": TypeAdapter(Cell),
    "robustness difference": TypeAdapter(Difference),
    "ruler": TypeAdapter(Ruler),
    "collapse": TypeAdapter(Collapse),
    "norm": TypeAdapter(Norm),
    "norm summary": TypeAdapter(Norm),
    "map": TypeAdapter(EmbeddingMap),
    "target": TypeAdapter(Target),
}
COST, LATENCY, PICTURE = TypeAdapter(Cost), TypeAdapter(Latency), TypeAdapter(Picture)

# Characters that no page may hold, and those that turn the reading direction of what follows.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(v) for v in value]
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return value


def _lines(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("FILE, line N", object) of each line that is not blank."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            # NaN and Infinity are no JSON, but Python writes them; here they are "no value".
            record = json.loads(line.decode("utf-8"), parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            raise BadInput(
                f"{where}: this is not one whole JSON object. The file may have been cut off or edited; "
                "remove that line or run the study again."
            ) from None
        if not isinstance(record, dict):
            raise BadInput(f"{where}: a record is a JSON object, this is a {type(record).__name__}.")
        yield where, _clean(record)


def _read(where: str, reader: Callable[[Any], Any], record: dict[str, Any]) -> Any:
    try:
        # A null says the same as an absent key, so that either spelling of "no value" is read.
        return reader({key: value for key, value in record.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "record"
        said = first["msg"].removeprefix("Value error, ")
        problem = said[0].lower() + said[1:]
        kind = record.get("kind", "cost")
        raise BadInput(f"{where}: the {kind} record cannot be used: {name}: {problem}.") from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(
            f"{path} does not exist; give the folder that `faceloss compare --out` wrote (it holds records.jsonl)."
        ) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None


def read_records(runs: Path, *, show_faces: bool = False) -> Records:
    """Read ``RUNS/records.jsonl`` and, where they exist, ``costs.jsonl``, ``latency.jsonl`` and ``pictures.jsonl``.

    A picture of faces that are not generated is left out unless ``show_faces`` consents to show it. Raises BadInput
    with file and line number for a line that cannot be used, and for a file without any record.
    """
    path = runs / "records.jsonl"
    content = _content(path)
    rows: dict[str, list[Any]] = {kind: [] for kind in READERS}
    settings: dict[str, Any] = {}
    unknown: dict[str, int] = {}
    for where, record in _lines(path, content):
        kind = record.get("kind")
        if not isinstance(kind, str):
            raise BadInput(f'{where}: a record needs the key "kind", one of {", ".join(READERS)}.')
        if kind not in READERS:
            unknown[kind] = unknown.get(kind, 0) + 1
            continue
        rows[kind].append(_read(where, READERS[kind].validate_python, record))
        if kind == "study":
            settings = {key: value for key, value in record.items() if key != "kind"}
    if not any(rows.values()):
        raise BadInput(f"{path} holds no records; run `faceloss compare` into this folder first.")
    pictures = [row for row in _beside(runs / "pictures.jsonl", PICTURE) if row.generated or show_faces]
    return Records(
        study=rows["study"][-1] if rows["study"] else Study(),
        settings=settings,
        data=tuple(rows["data"]),
        runs={(run.label, run.seed): run for run in rows["run"]},
        epochs=tuple(rows["epoch"]),
        results={(cell.label, cell.seed or 0, cell.key): cell for cell in rows["result"]},
        summaries={(cell.label, cell.key): cell for cell in rows["summary"]},
        differences={(row.label, row.key): row for row in rows["difference"]},
        curves=tuple(rows["curve"]),
        open_sets=tuple(rows["open set"]),
        searches=_searches(rows["search"]),
        groups=tuple(rows["group summary"]),
        group_differences=tuple(rows["group difference"]),
        failures=tuple(rows["failures"]),
        pictures={(picture.test, picture.file): picture for picture in pictures},
        robustness=tuple(rows["robustness summary"]),
        robust_differences=tuple(rows["robustness difference"]),
        rulers={(row.label, row.seed): row for row in rows["ruler"]},
        collapses={(row.label, row.seed, row.role, row.test): row for row in rows["collapse"]},
        norms={(row.label, row.test, row.metric): row for row in rows["norm summary"]},
        maps=tuple(rows["map"]),
        targets={(row.label, row.seed): row for row in rows["target"]},
        costs={(cost.label, cost.seed): cost for cost in _beside(runs / "costs.jsonl", COST)},
        latencies=tuple(_beside(runs / "latency.jsonl", LATENCY)),
        unknown=unknown,
        digest=hashlib.sha256(content).hexdigest(),
    )


def _beside(path: Path, reader: TypeAdapter[Any]) -> list[Any]:
    """The rows of a file that need not be there."""
    content = _content(path) if path.exists() else b""
    return [_read(where, reader.validate_python, row) for where, row in _lines(path, content)]


def _searches(rows: list[Search]) -> dict[tuple[str, int], list[Search]]:
    latest = {(entry.label, entry.seed, entry.epoch): entry for entry in rows}
    found: dict[tuple[str, int], list[Search]] = {}
    for (label, seed, _), entry in sorted(latest.items(), key=lambda item: item[0][2]):
        found.setdefault((label, seed), []).append(entry)
    return found
