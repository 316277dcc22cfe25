"""What one line of ``records.jsonl`` or ``costs.jsonl`` says, kind by kind."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, StringConstraints

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
    corruptions: dict[str, Any] = field(default_factory=dict)  # name -> unit and levels, where tests were corrupted


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
    groups: dict[str, Any] = field(default_factory=dict)  # images
    group_identities: dict[str, int] = field(default_factory=dict)
    generated: bool = False  # no picture shows a real person
    refused_files: tuple[tuple[str, ...], ...] = ()  # (file, reason) of the first few
    pairs: int | None = None  # of a pair list
    noise: dict[str, Any] = field(default_factory=dict)  # put into training on purpose: shares and counts
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
    flops_per_image: int | None = None  # forward pass of the network
    flops_net_step: int | None = None  # a training step: network, and
    flops_head_step: int | None = None  # loss
    batch: int | None = None  # images of such a step

    @property
    def flops(self) -> float | None:
        """Of the whole training, with all candidates of a search; None where they were not counted."""
        images = self.images_seen if self.images_tried is None else self.images_tried
        parts = (self.flops_net_step, self.flops_head_step, self.batch, images)
        if None in parts:
            return None
        net, head, batch, seen = (float(part or 0) for part in parts)
        return (net + head) / batch * seen if batch else None


@dataclass(frozen=True)
class Epoch:
    label: str
    seed: int
    epoch: int
    accuracy: Number = None
    target_angle: Number = None
    cross_entropy: Number = None
    val_eer: Number = None
    target_angles: tuple[int, ...] = ()  # training samples in each bin of 0 to 180 degrees
    target_weights: tuple[Number, ...] = ()  # mean gradient weight in each bin; of the last epoch
    hardest_tenth: Number = None  # share of the gradient weight
    easiest_half: Number = None
    val_auc: Number = None
    images_seen: int | None = None


class Placed:
    """Of a record about one column of the comparison."""

    test: str
    protocol: str
    metric: str
    at: Number

    @property
    def key(self) -> Key:
        return Key(self.test, self.protocol, self.metric, self.at)


class Measurable:
    """Of a record whose number may be refused."""

    status: Literal["measured", "not measurable"]
    value: Number

    @property
    def measured(self) -> bool:
        return self.status == "measured" and self.value is not None


@dataclass(frozen=True)
class Cell(Placed, Measurable):
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
    threshold: Number = None  # a score
    gallery: int | None = None  # identities enrolled
    seeds: int | None = None
    spread: Number = None
    note: str = ""
    corruption: str = ""  # of robustness: "" clean, "all" the mean over all
    level: int | None = None  # of robustness: 0 clean, None the mean over levels


@dataclass(frozen=True)
class Difference(Placed):
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
    corruption: str = ""  # as of a cell
    level: int | None = None


@dataclass(frozen=True)
class Group(Measurable):
    """A rate of a group at one threshold for all, over all seeds of a label; or, with a seed, of one run.

    ``metric`` is fmr, fnmr or accuracy, of two groups where ``other`` names one, and of each "gap" (largest minus
    smallest) and "to the others" (minus the mean of the other groups); a run has "ratio" too, of error rates.
    """

    label: str
    test: str
    metric: str
    status: Literal["measured", "not measurable"]
    loss: str = ""
    group: str = ""
    other: str = ""
    at: Number = None  # FAR over all impostor pairs; an accuracy has none
    seed: int | None = None
    seeds: int | None = None
    value: Number = None
    low: Number = None
    high: Number = None
    spread: Number = None
    pairs: Number = None
    p: Number = None
    p_holm: Number = None
    verdict: str = ""  # of "to the others"
    note: str = ""


@dataclass(frozen=True)
class GroupDifference:
    """A rate or gap of a label minus that of the baseline; lower is better, but not of accuracy."""

    label: str
    baseline: str
    test: str
    metric: str
    verdict: Verdict
    group: str = ""
    other: str = ""
    at: Number = None
    value: Number = None
    low: Number = None
    high: Number = None
    p: Number = None
    p_holm: Number = None
    seeds: int | None = None


@dataclass(frozen=True)
class Curve:
    label: str
    seed: int
    test: str
    name: str  # det | scores | cmc
    far: tuple[float, ...] = ()
    frr: tuple[float, ...] = ()
    low: tuple[Number, ...] = ()
    high: tuple[Number, ...] = ()
    edges: tuple[float, ...] = ()
    genuine: tuple[float, ...] = ()
    impostor: tuple[float, ...] = ()
    threshold: Number = None
    threshold_far: Number = None
    rank: tuple[int, ...] = ()
    rate: tuple[float, ...] = ()


@dataclass(frozen=True)
class OpenSet:
    """FNIR over FPIR of one gallery; ``extrapolated_from`` is the size that was measured where this one was not."""

    label: str
    seed: int
    test: str
    gallery: int
    fpir: tuple[float, ...]
    fnir: tuple[float, ...]
    extrapolated_from: int | None = None


@dataclass(frozen=True)
class Image:
    """One image of a test, by names alone."""

    file: str
    identity: str = ""


@dataclass(frozen=True)
class Pair:
    score: float
    first: Image
    second: Image


@dataclass(frozen=True)
class Failures:
    """The hardest errors of a run at one threshold: strangers that it accepts, people that it does not know again."""

    label: str
    seed: int
    test: str
    status: Literal["measured", "not measurable"]
    threshold: Number = None
    threshold_far: Number = None
    false_matches: tuple[Pair, ...] = ()
    false_non_matches: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A thumbnail of an image of a test; ``generated`` says that it shows no real person."""

    test: str
    file: str
    jpeg: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
    generated: bool = False
