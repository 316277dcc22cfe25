"""Read ``records.jsonl`` and ``costs.jsonl``: one flat JSON object a line, told apart by its key ``kind``.

A kind that may be missing (a study stopped half way, a test without curves) leaves its field empty; the page then says
what is missing. A line that cannot be understood is refused with the file and the line number, never skipped.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from faceloss.errors import BadInput

Verdict = Literal["better", "worse", "no difference found", "not measurable", "diverged"]


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not isfinite(value) else value


# A diverged run may log a loss that is not a number; on the page that is "no value".
Number = Annotated[float | None, BeforeValidator(_finite)]


class Key(NamedTuple):
    """One column of the comparison: what was measured, and where."""

    test: str
    protocol: str
    metric: str
    at: float | None  # FAR of a TAR, k of a rank


@dataclass(frozen=True)
class Study:
    title: str = ""
    command: str | list[str] = ""
    version: str = ""
    losses: tuple[str, ...] = ()
    baseline: str = ""
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Data:
    role: str
    name: str
    images: int
    identities: int
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    images_per_identity: tuple[float, ...] = ()  # min, median, max
    digest: str = ""
    overlap_identities: int | None = None
    overlap_images: int | None = None
    groups: dict[str, Any] = field(default_factory=dict)
    refused_files: tuple[tuple[str, ...], ...] = ()  # (file, reason) of the first few
    pairs: int | None = None  # of a pair list


@dataclass(frozen=True)
class Run:
    label: str
    seed: int
    status: Literal["finished", "diverged", "collapsed", "failed"]
    run: str = ""
    loss: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    batches: str = ""
    reason: str | None = ""
    epochs_done: int | None = None
    images_seen: int | None = None
    remarks: tuple[str, ...] = ()  # on what cannot work as meant


@dataclass(frozen=True)
class Epoch:
    label: str
    seed: int
    epoch: int
    accuracy: Number = None
    target_angle: Number = None
    cross_entropy: Number = None
    val_eer: Number = None


@dataclass(frozen=True)
class Cell:
    """A result (one seed) or a summary (all seeds: ``spread`` is the standard deviation over seeds)."""

    label: str
    test: str
    protocol: str
    metric: str
    status: Literal["measured", "not measurable"]
    loss: str = ""
    seed: int | None = None
    at: Number = None
    value: Number = None
    low: Number = None
    high: Number = None
    pairs: Number = None
    effective: Number = None
    attained: Number = None
    seeds: int | None = None
    spread: Number = None
    note: str = ""

    @property
    def key(self) -> Key:
        return Key(self.test, self.protocol, self.metric, self.at)

    @property
    def measured(self) -> bool:
        return self.status == "measured" and self.value is not None


@dataclass(frozen=True)
class Difference:
    label: str
    baseline: str
    test: str
    protocol: str
    metric: str
    verdict: Verdict
    at: Number = None
    value: Number = None
    low: Number = None
    high: Number = None
    p: Number = None
    p_holm: Number = None
    seeds: int | None = None

    @property
    def key(self) -> Key:
        return Key(self.test, self.protocol, self.metric, self.at)


@dataclass(frozen=True)
class Curve:
    label: str
    seed: int
    test: str
    name: str  # det | scores
    far: tuple[float, ...] = ()
    frr: tuple[float, ...] = ()
    low: tuple[Number, ...] = ()
    high: tuple[Number, ...] = ()
    edges: tuple[float, ...] = ()
    genuine: tuple[float, ...] = ()
    impostor: tuple[float, ...] = ()
    threshold: Number = None
    threshold_far: Number = None


@dataclass(frozen=True)
class Cost:
    label: str
    seed: int
    seconds: Number = None
    cpu_seconds: Number = None
    images_per_second: Number = None
    peak_memory_mib: Number = None


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
    costs: dict[tuple[str, int], Cost]
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
        metrics = ["accuracy", "tar", "tar by identity", "rank", "eer", "auc"]

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
}
COST = TypeAdapter(Cost)

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
        problem = first["msg"][0].lower() + first["msg"][1:]
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


def read_records(runs: Path) -> Records:
    """Read ``RUNS/records.jsonl`` and, where it exists, ``RUNS/costs.jsonl``.

    Raises BadInput with file and line number for a line that cannot be used, and for a file without any record.
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
    costs = runs / "costs.jsonl"
    spent = [
        _read(where, COST.validate_python, r) for where, r in _lines(costs, _content(costs) if costs.exists() else b"")
    ]
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
        costs={(cost.label, cost.seed): cost for cost in spent},
        unknown=unknown,
        digest=hashlib.sha256(content).hexdigest(),
    )
