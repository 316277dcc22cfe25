"""What records say of a training besides its epochs: its target, costs, search, and what may explain it."""

from dataclasses import dataclass, field
from typing import Literal

from faceloss.report.kinds import Number


@dataclass(frozen=True)
class Target:
    """When a run came to the validation target that all losses of the study share."""

    label: str
    seed: int
    target: float
    status: Literal["reached", "not reached"]
    metric: str = ""
    epoch: int | None = None
    images: int | None = None  # of the model that went on
    images_tried: int | None = None  # of all candidates of a search


@dataclass(frozen=True)
class Cost:
    label: str
    seed: int
    seconds: Number = None
    cpu_seconds: Number = None
    search_seconds: Number = None  # of all candidates of a search
    seconds_to_target: Number = None
    search_seconds_to_target: Number = None
    images_per_second: Number = None
    peak_memory_mib: Number = None


@dataclass(frozen=True)
class Latency:
    """How long one call takes on one machine, warm; 50 of 100 calls took at most ``p50_ms``, 95 at most ``p95_ms``."""

    what: Literal["detect", "embed", "match"]
    about: str  # a picture of 640 x 480; a batch of 64; a gallery of 100,000
    calls: int
    p50_ms: float
    p95_ms: float
    machine: str = ""


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
    images: int | None = None  # of all candidates
    policy: Drawn = field(default_factory=Drawn)

    def __post_init__(self) -> None:
        if not 0 <= self.chosen < len(self.candidates):
            raise ValueError(f"chosen is {self.chosen}, one of {len(self.candidates)} candidates counted from 0")


@dataclass(frozen=True)
class Ruler:
    """What a loss does at each angle, of itself: one number for each bin of 0 to 180 degrees."""

    label: str
    seed: int
    weight: tuple[Number, ...]
    scale: Number = None
    p: tuple[float, ...] = ()
    h: tuple[Number, ...] = ()  # of a loss that is searched for, at each p


@dataclass(frozen=True)
class Collapse:
    """Neural collapse of the embeddings of a test, or of a sample of the training faces."""

    label: str
    seed: int
    role: Literal["train", "test"]
    test: str
    nc1: Number = None
    nc2_norms: Number = None
    nc2_angles: Number = None
    nc3: Number = None
    nc4: Number = None
    effective_rank: Number = None
    others_angles: tuple[int, ...] = ()  # images by their angle to the identity's other images


@dataclass(frozen=True)
class Norm:
    """A number about the norms of embeddings: a rank correlation or an FNMR; of a summary over all seeds."""

    label: str
    test: str
    metric: str
    status: Literal["measured", "not measurable"]
    seed: int | None = None
    value: Number = None
    low: Number = None
    high: Number = None
    spread: Number = None
    at: Number = None
    note: str = ""


@dataclass(frozen=True)
class EmbeddingMap:
    """Where the images of a few identities of a test lie on the two directions in which their embeddings vary most."""

    label: str
    seed: int
    test: str
    identities: tuple[str, ...]
    counts: tuple[int, ...]  # images of each identity; their places stand in this order
    x: tuple[float, ...]
    y: tuple[float, ...]
    share: tuple[float, float]  # of the variance, along x and y
    of: int | None = None  # identities that were drawn from
    fewest: int | None = None  # images that each of those has

    def __post_init__(self) -> None:
        images = sum(self.counts)
        if len(self.identities) != len(self.counts) or not len(self.x) == len(self.y) == images:
            raise ValueError(
                f"{len(self.identities)} identities with {images} images in all, but {len(self.x)} places along x and "
                f"{len(self.y)} along y"
            )
