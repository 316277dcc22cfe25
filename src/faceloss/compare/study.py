"""What is compared: a frozen value, written as ``study.json`` into the runs folder before any work starts."""

import hashlib
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from faceloss import __version__
from faceloss.compare.noise import Noise
from faceloss.data.overlap import Choice
from faceloss.errors import BadInput
from faceloss.train.settings import Batches, Frozen, Recipe, identity_balanced

BASELINE = "softmax"


class Single(Frozen):
    """What makes of a study the training of one network for its own sake, under one loss and with no softmax beside."""

    seed: Annotated[int, Field(ge=0)] = 0
    val: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the identities kept for validation; for tests none are


class Study(Frozen):
    """A comparison. Two studies with equal fields give equal records."""

    title: str = "Comparison of losses"
    data: str
    tests: tuple[str, ...] = ()  # none: the test identities of ``data``
    images: str | None = None  # the folder that pair lists among ``tests`` refer to
    losses: Annotated[tuple[str, ...], Field(min_length=1)]  # specifications: "cosface" or "cosface(m=0.2,s=30)"
    seeds: Annotated[int, Field(ge=1)] = 3
    single: Single | None = None  # not a comparison, but one training
    split_seed: int = 0
    overlap: Choice = "drop-from-train"  # where a person of training is also in a test
    balance: bool = False  # every row a second time, on batches with equally many images of each group
    noise: Noise = Noise()  # put into the training set on purpose
    robustness: tuple[str, ...] = ()  # corruptions under which the tests are judged as well
    any_contract: bool = False  # go on where a test was prepared otherwise than ``data``
    stream: bool = False  # ``data`` is decoded as it is asked for and not kept decoded; changes no result
    recipe: Recipe = Recipe()
    loss_files: dict[str, str] = Field(default={})  # losses from files of the user's own: name -> SHA-256 of the source
    plugins: dict[str, str] = Field(default={})  # losses of installed packages: name -> "package version"
    version: str = __version__

    @property
    def each_seed(self) -> tuple[int, ...]:
        """The seeds of the runs."""
        return (self.single.seed,) if self.single else tuple(range(self.seeds))


class Competitor(NamedTuple):
    """One row of the comparison: a loss with its hyperparameters and its composition of batches."""

    label: str
    loss: str
    hyperparameters: dict[str, Any]  # those given, with a number where the scale was "auto"
    batches: Batches
    remarks: tuple[str, ...] = ()  # sentences on what cannot work as meant
    times: int = 1  # trained for as many times the recipe's epochs
    source: str = ""  # label of the row whose schedule it replays


class Run(NamedTuple):
    """One training: a competitor and a seed. ``id`` is a hash of all that decides its outcome."""

    id: str
    competitor: Competitor
    seed: int
    source: str = ""  # folder of the run whose schedule it replays
    helper: int = 0  # above 0: only helps another process with the candidates of this run

    @property
    def folder(self) -> str:
        """A folder name that people can read and that no other run of the study has."""
        slug = re.sub(r"[^a-z0-9.=]+", "-", self.competitor.label.lower()).strip("-")[:60]
        return f"{slug}-seed{self.seed}-{self.id}"


def split_specifications(text: str) -> tuple[str, ...]:
    """Split ``"softmax,cosface(m=0.2,s=30)"`` at the commas outside parentheses.

    >>> split_specifications("softmax, cosface(m=0.2,s=30)")
    ('softmax', 'cosface(m=0.2,s=30)')
    """
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", text)]
    return tuple(part for part in parts if part)


def expand(specifications: tuple[str, ...]) -> tuple[str, ...]:
    """``specifications`` with "all" replaced by every loss that comes with faceloss.

    Softmax comes first, then the losses on shuffled batches, then those on identity-balanced ones, each by name; where
    no default is known, with the loss's own values to start with.
    """
    from faceloss import losses

    found = [losses.describe(name) for name in losses.own_names()] if "all" in specifications else []
    found.sort(key=lambda about: (about.name != BASELINE, about.batches != "shuffled", about.name))
    every = []
    for about in found:
        values = ",".join(f"{name}={value}" for name, value in about.start.items())
        every.append(f"{about.name}({values})" if values else about.name)
    return tuple(row for text in specifications for row in (every if text == "all" else [text]))


def parse_value(text: str) -> Any:
    """A setting from its text: int, float, bool, None or the text itself.

    >>> parse_value("3"), parse_value("1e-3"), parse_value("true"), parse_value("semi_hard")
    (3, 0.001, True, 'semi_hard')
    """
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def parse_loss(specification: str) -> tuple[str, dict[str, Any]]:
    """Name and hyperparameters of ``"cosface(m=0.2,s=30)"``, or of ``"cosface(m=0.2,s=30)*4"``.

    Raises:
        BadInput: not of that form, or no loss of that name.
    """
    from faceloss import losses

    match = re.fullmatch(r"\s*([A-Za-z0-9_]+)\s*(?:\((.*)\))?\s*(?:\*\s*[1-9]\d*)?\s*", specification)
    if not match:
        raise BadInput(f"'{specification}' is not a loss; write a name or name(parameter=value, ...).")
    name, arguments = match.group(1), match.group(2)
    losses.describe(name)  # refuses a name that there is not, with the nearest
    hyperparameters = {}
    for argument in (arguments or "").split(","):
        if not argument.strip():
            continue
        if "=" not in argument:
            raise BadInput(f"In '{specification}', '{argument.strip()}' should read parameter=value.")
        parameter, value = argument.split("=", 1)
        if parameter.strip() in hyperparameters:
            raise BadInput(f"In '{specification}', the parameter '{parameter.strip()}' is given twice.")
        parsed = parse_value(value.strip())
        hyperparameters[parameter.strip()] = "none" if parsed is None else parsed  # a choice of several losses
    return name, hyperparameters


def parse_times(specification: str) -> int:
    """How many times as long as the others a row is trained: 4 in ``"cosface(m=0.2)*4"``.

    >>> parse_times("cosface(m=0.2)*4"), parse_times("softmax")
    (4, 1)
    """
    found = re.search(r"\*\s*(\d+)\s*$", specification)
    return int(found.group(1)) if found else 1


def competitors(
    study: Study, classes: int, steps: Callable[[Batches], int] = lambda batches: sys.maxsize
) -> list[Competitor]:
    """The rows of a study, in the order given, the softmax baseline first; of a single training that one alone.

    Softmax is added when it is missing, because every difference is one to softmax. A loss that asks for
    identity-balanced batches brings softmax on the same batches as a control, so that what the batches do is not
    mistaken for what the loss does. With balance each row comes a second time, on batches that are balanced by group;
    not so a replay, which is of its source's batches. ``steps`` tells how many steps a training has, by its composition
    of batches.

    Raises:
        BadInput: an unknown loss, a misspelt or impossible hyperparameter, the same row twice; all in one sentence.
    """
    from faceloss import losses
    from faceloss.losses.remarks import remarks

    rows: list[Competitor] = []
    for specification in study.losses:
        name, hyperparameters = parse_loss(specification)
        try:
            used = losses.resolve(name, dim=study.recipe.dim, classes=classes, **hyperparameters)
            loss = losses.build(name, dim=study.recipe.dim, classes=classes, **used)
            losses.policy(name, seed=0, **used)  # refused here, not in the middle of the runs
        except (TypeError, ValueError) as error:
            raise BadInput(f"{specification}: {error}") from error
        arguments = ", ".join(f"{key}={value}" for key, value in hyperparameters.items())
        label, times = f"{name} ({arguments})" if arguments else name, parse_times(specification)
        label += f" x {times}" if times > 1 else ""
        told = remarks(loss, steps(loss.batches) * times)
        rows.append(Competitor(label, name, used, loss.batches, told, times, _replayed(label, hyperparameters)))
    labels = [row.label for row in rows]
    for row in rows:
        if row.source and row.source not in labels:
            raise BadInput(f"{row.label} replays the schedule of {row.source}, which must be compared as well.")
    if study.single:
        return rows
    control = Competitor(f"{BASELINE} (identity-balanced)", BASELINE, {}, "identity-balanced")
    if any(identity_balanced(row.batches) for row in rows):
        rows.insert(0, control)
    rows = [row for row in rows if row.label != BASELINE]
    rows.insert(0, Competitor(BASELINE, BASELINE, {}, "shuffled"))
    if study.balance:
        rows = [each for row in rows for each in (row, *_balanced(row))]
    labels = [row.label for row in rows]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise BadInput(f"Given twice: {', '.join(twice)}; every loss of a comparison is run once per seed.")
    return rows


def _balanced(row: Competitor) -> list[Competitor]:
    if row.source:
        return []
    if row.batches == "shuffled":
        return [row._replace(label=f"{row.label} (group-balanced)", batches="group-balanced")]
    both: Batches = "identity- and group-balanced"
    bare = row.label.removesuffix(" (identity-balanced)")
    return [row._replace(label=f"{bare} ({both if bare != row.label else 'group-balanced'})", batches=both)]


def _replayed(label: str, hyperparameters: dict[str, Any]) -> str:
    """The label of the row whose schedule a row with these hyperparameters replays; "" where it replays none."""
    if hyperparameters.get("method") != "replay":
        return ""
    name = label.partition(" ")[0]
    arguments = ", ".join(f"{key}={value}" for key, value in hyperparameters.items() if key != "method")
    return f"{name} ({arguments})" if arguments else name


def plan(study: Study, rows: list[Competitor], digests: tuple[str, ...]) -> list[Run]:
    """All runs of a study, seed by seed so that an unfinished study compares what it has on equal seeds."""
    without = {"checkpoint_seconds", *([] if study.recipe.shard_window else ["shard_window"])}
    shared = study.recipe.model_dump_json(exclude=without) + "|".join((study.version, *digests))
    shared += "".join(f"|{name}" for name in study.robustness)  # noise is in the digest of the training set
    runs = []
    for seed in study.each_seed:
        for row in rows:
            text = f"{row.label}|{row.batches}|{sorted(row.hyperparameters.items())}|{seed}|{shared}"
            outside = study.loss_files.get(row.loss) or study.plugins.get(row.loss)
            text += f"|{outside}" if outside else ""
            runs.append(Run(hashlib.sha256(text.encode()).hexdigest()[:10], row, seed))
    # A schedule is replayed under another seed than it was found under: under its own it would be the same training.
    folders = {(run.competitor.label, run.seed): run.folder for run in runs}
    sources = [folders.get((run.competitor.source, (run.seed + 1) % study.seeds), "") for run in runs]
    return [run._replace(source=source) for run, source in zip(runs, sources, strict=True)]


def full_hyperparameters(row: Competitor) -> dict[str, Any]:
    """All hyperparameters of a row: those given and the defaults of the rest."""
    from faceloss import losses

    known = losses.describe(row.loss).hyperparameters
    return {name: hyperparameter.default for name, hyperparameter in known.items()} | row.hyperparameters
