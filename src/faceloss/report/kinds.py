"""What one line of ``records.jsonl`` or ``costs.jsonl`` says, kind by kind."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator

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
    overlap: str = ""  # what was done: drop-from-train, drop-from-test, keep
    overlap_kinds: dict[str, int] = field(default_factory=dict)  # names, files, pictures, renamed
    groups: dict[str, Any] = field(default_factory=dict)
    refused_files: tuple[tuple[str, ...], ...] = ()  # (file, reason) of the first few
    pairs: int | None = None  # of a pair list
    contract: dict[str, Any] | None = None  # how the faces were prepared; None: nobody says


@dataclass(frozen=True)
class Run:
    label: str
    seed: int
    status: Literal["finished", "diverged", "collapsed", "failed"]
    run: str = ""
    loss: str = ""
    family: str = ""  # as the loss file names it
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    batches: str = ""
    reason: str | None = ""
    epochs_done: int | None = None
    images_seen: int | None = None  # by the model that is judged
    images_tried: int | None = None  # by all candidates of a search; absent where nothing was searched
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
    search_seconds: Number = None  # of all candidates of a search
    images_per_second: Number = None
    peak_memory_mib: Number = None


@dataclass(frozen=True)
class Candidate:
    """One of the models trained in an epoch from the same weights."""

    values: dict[str, Number]  # by hyperparameter
    score: Number = None  # to first order, before it was trained
    rewards: tuple[Number, ...] = ()  # at each rung that it reached; None where it has none


@dataclass(frozen=True)
class Drawn:
    """Where the candidates of an epoch were drawn from: the middle, and one sigma to either side."""

    mean: dict[str, Number] = field(default_factory=dict)
    low: dict[str, Number] = field(default_factory=dict)
    high: dict[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """One epoch of a search; ``chosen`` is the index of the candidate that went on."""

    label: str
    seed: int
    epoch: int  # from 1
    chosen: int
    candidates: tuple[Candidate, ...]
    policy: Drawn = field(default_factory=Drawn)

    def __post_init__(self) -> None:
        if not 0 <= self.chosen < len(self.candidates):
            raise ValueError(f"chosen is {self.chosen}, one of {len(self.candidates)} candidates counted from 0")
