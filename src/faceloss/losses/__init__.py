"""Losses: raw embeddings and labels in, a number to minimize out.

The folder is the registry: a file that defines ``build`` at its top level is a loss, its name is the file's, its
docstring is its documentation, and the signature of ``build`` is its configuration (:mod:`faceloss.losses.description`
reads both). Only :func:`build` imports torch.
A file of the user's own (:func:`add`) and the plug-in of an installed package (an entry point of the group
``faceloss.losses`` that names such a file's module) are losses like those of the folder.
"""

import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from faceloss import memory
from faceloss.errors import BadInput, unknown
from faceloss.losses import description, outside
from faceloss.losses.description import FAMILIES, FIELDS, SCALE, Description, Hyperparameter

if TYPE_CHECKING:
    from faceloss.losses.core import Loss
    from faceloss.search.courses import Course
    from faceloss.search.policy import Policy

__all__ = [
    "FAMILIES",
    "FIELDS",
    "SCALE",
    "Description",
    "Hyperparameter",
    "add",
    "build",
    "course",
    "describe",
    "names",
    "own_names",
    "policy",
    "resolve",
    "sketch",
]

WORTH_ASKING = 2**28  # bytes of class vectors from which on it is asked beforehand whether a loss fits into memory


def names() -> tuple[str, ...]:
    """The names of all losses, in alphabetical order: faceloss's own, added files, plug-ins."""
    return tuple(sorted({*_files(), *outside.added(), *outside.plugins()}))


def own_names() -> tuple[str, ...]:
    """The names of the losses that come with faceloss, in alphabetical order."""
    return tuple(sorted(_files()))


def add(path: str | Path) -> str:
    """Make the loss in the user's file at ``path`` known to this process; returns its name, the file's.

    The file is read now; editing or moving it later changes nothing, adding it again does.

    Raises:
        BadInput: it cannot be read, is no loss file, or its name is that of a loss of faceloss or of a plug-in.
    """
    file = outside.read(Path(path))
    _refuse_collision(file.name, _own_file(file.name), file, outside.plugins().get(file.name, ()))
    description.describe(file.name, file.source, str(path))
    outside.hold(file)
    return file.name


def describe(name: str) -> Description:
    """What the file of the loss ``name`` says: title, formula, paper, deviations, hyperparameters, and so on.

    Raises:
        BadInput: no loss of that name, more than one, or one whose file is not as a loss file must be.

    >>> describe("cosface").hyperparameters["m"]
    Hyperparameter(type='float', default=0.35, choices=())
    """
    own, file, plugins = _own_file(name), outside.added().get(name), outside.plugins().get(name, ())
    _refuse_collision(name, own, file, plugins)
    if own:
        return description.describe(name, own.read_bytes(), own.name)
    if file:
        return description.describe(name, file.source, str(file.path))
    if plugins:
        return description.describe(name, outside.source(plugins[0]), f"{plugins[0].module} of {plugins[0].package}")
    raise BadInput(unknown("loss", name, names()))


def build(name: str, *, dim: int, classes: int, seed: int = 0, **hyperparameters: float | str) -> "Loss":
    """The loss ``name`` for embeddings of ``dim`` numbers and identities 0 .. ``classes`` - 1.

    What it draws at the start (class vectors) depends on ``seed`` alone: torch's global generator is neither read nor
    moved. Hyperparameters not given have the paper's value; a scale given as "auto" has that of :func:`resolve`.

    Raises:
        BadInput: no loss of that name.
        TypeError: a hyperparameter that the loss does not have, or one that has no default and is not given.
        ValueError: a value of the wrong type or outside its range, or more classes than there is memory for.
    """
    _check(name, hyperparameters)

    import torch  # here, so that names() and describe() stay free of it

    if hyperparameters.get(SCALE) == "auto":
        hyperparameters = resolve(name, dim=dim, classes=classes, **hyperparameters)
    if classes * dim * 4 > WORTH_ASKING:
        _refuse_what_cannot_fit(name, dim, classes, hyperparameters)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _make(name, dim, classes, hyperparameters)


def sketch(name: str, *, dim: int, classes: int, **hyperparameters: float | str) -> "Loss":
    """The loss that :func:`build` gives, of tensors that have sizes but no memory (torch's device "meta").

    Raises as :func:`build` does, but that any number of classes has room.

    >>> loss = sketch("cosface", dim=512, classes=10_000_000)
    >>> loss.weight.nbytes
    20480000000
    """
    _check(name, hyperparameters)

    import torch

    if hyperparameters.get(SCALE) == "auto":
        hyperparameters |= {SCALE: describe(name).hyperparameters[SCALE].default or 1.0}
    with torch.device("meta"):
        return _make(name, dim, classes, hyperparameters)


def _make(name: str, dim: int, classes: int, hyperparameters: Mapping[str, float | str]) -> "Loss":
    if name in outside.added() or name in outside.plugins():
        from faceloss.losses.shards import holding

        with holding(0, 1):  # its code may work on all class vectors
            return outside.construct(name, dim, classes, hyperparameters)
    loss: Loss = _module(name).build(dim, classes, **hyperparameters)
    return loss


def _refuse_what_cannot_fit(name: str, dim: int, classes: int, hyperparameters: Mapping[str, float | str]) -> None:
    try:
        loss = sketch(name, dim=dim, classes=classes, **hyperparameters)
        tables = {
            f"{key} ({' x '.join(f'{size:,}' for size in tensor.shape)} x {tensor.itemsize} bytes)": tensor.nbytes
            for key, tensor in [*loss.named_parameters(), *loss.named_buffers()]
        }
    except Exception:  # more numbers than torch can count, or somebody's code that needs their values
        tables = {f"class vectors ({classes:,} x {dim} x 4 bytes)": 4 * classes * dim}
    here = memory.available()
    if sum(tables.values()) > here:
        raise ValueError(
            f"{classes:,} classes x {dim} dimensions do not fit: {memory.sum_in_words(tables)}, and there are "
            f"{memory.in_words(here)} of memory; give fewer classes or dimensions."
        )


def _check(name: str, hyperparameters: Mapping[str, float | str]) -> None:
    """Refuses hyperparameters that the loss does not have, lacks, or that cannot be, as :func:`build` says."""
    about = describe(name)
    known, start = about.hyperparameters, about.start
    for given, value in hyperparameters.items():
        if value == "auto" and given == SCALE and SCALE not in known:
            raise TypeError(f"{name} has no scale s to choose; leave out s=auto.")
        if not known:
            raise TypeError(f"{name} has no hyperparameters; given '{given}'.")
        if given not in known:
            raise TypeError(unknown(f"hyperparameter of {name}", given, known))
        description.check(given, value, known[given])
    for required in (keyword for keyword, about in known.items() if about.default is None):
        if required not in hyperparameters:
            given = ", ".join(f"{keyword}={value}" for keyword, value in start.items())
            hint = f"start with {name}({given})" if given else f"'losses show {name}' says more"
            raise TypeError(f"{name} needs a value for '{required}': no default is known; {hint}.")


def course(name: str, **hyperparameters: float | str) -> "Course":
    """How hyperparameters of the loss ``name`` move while it trains: from the share of the training done to values.

    Set them before each step; ``faceloss compare`` does. They end at the ``hyperparameters``, those not given at the
    paper's; of a loss without a course nothing moves.

    >>> course("asoftmax")(0.0), course("cosface")(0.0)
    ({'lam': 1000.0}, {})
    """
    from faceloss.losses import courses

    return courses.of(_module(name), _all(name, hyperparameters))


def policy(name: str, *, seed: int, **hyperparameters: float | str) -> "Policy":
    """Which hyperparameters the loss ``name`` has in which epoch, and whether they are searched for.

    Of a loss that searches it is the policy that its file defines; of any other, its :func:`course`, unsearched.

    >>> policy("search_softmax", seed=0, candidates=6).width, policy("cosface", seed=0).width
    (6, 1)
    """
    from faceloss.losses import courses

    return courses.policy_of(_module(name), _all(name, hyperparameters), seed)


def _all(name: str, hyperparameters: Mapping[str, float | str]) -> dict[str, float | str]:
    """``hyperparameters`` and the defaults of the rest."""
    known = describe(name).hyperparameters
    return {key: value.default for key, value in known.items() if value.default is not None} | dict(hyperparameters)


def resolve(name: str, *, dim: int, classes: int, **hyperparameters: float | str) -> dict[str, Any]:
    """The hyperparameters with a number in place of the scale "auto"; others as they are.

    The number is the smallest scale at which a perfectly placed sample reaches probability 0.9999 under the loss with
    its margin, see :mod:`faceloss.losses.scale`; a scale that is learnt starts there.

    Raises:
        ValueError: no scale reaches it, or the loss cannot say.

    >>> resolve("cosface", dim=8, classes=10_000, s="auto", m=0.35)
    {'s': 28.34, 'm': 0.35}
    """
    known = describe(name).hyperparameters
    if hyperparameters.get(SCALE) != "auto" or SCALE not in known:
        return hyperparameters
    from faceloss.losses.scale import automatic

    anything = {SCALE: known[SCALE].default or 1.0}
    probe = build(name, dim=dim, classes=classes, seed=0, **(hyperparameters | anything))
    return hyperparameters | {SCALE: automatic(probe, name)}


def _refuse_collision(
    name: str, own: Path | None, file: outside.LossFile | None, plugins: Iterable[outside.Plugin]
) -> None:
    offers = ["faceloss itself"] if own else []
    offers += [plugin.package for plugin in plugins]
    offers += [f"the file {file.path}"] if file else []
    if len(offers) > 1:
        raise BadInput(
            f"More than one loss is named '{name}': by {' and by '.join(offers)}. Rename the file, or remove a package."
        )


def _module(name: str) -> ModuleType:
    """The module of the loss ``name``, wherever it is from."""
    if name in outside.added() or name in outside.plugins():
        return outside.module(name)
    return importlib.import_module(f"{__name__}.{name}")


def _own_file(name: str) -> Path | None:
    """The file of faceloss's own loss ``name``."""
    paths = [Path(folder) / f"{name}.py" for folder in __path__ if name.isidentifier() and not name.startswith("_")]
    return next((path for path in paths if path.exists() and _defines_build(path)), None)


def _files() -> dict[str, Path]:
    """Loss name -> file, over every folder of the package's path."""
    paths = [path for folder in __path__ for path in Path(folder).glob("*.py") if not path.stem.startswith("_")]
    return {path.stem: path for path in paths if _defines_build(path)}


def _defines_build(path: Path) -> bool:
    return re.search(r"^def build\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE) is not None
