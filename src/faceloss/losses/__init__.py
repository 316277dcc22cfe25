"""Losses: raw embeddings and labels in, a number to minimize out.

The folder is the registry: a file that defines ``build`` at its top level is a loss, its name is the file's, its
docstring is its documentation, and the signature of ``build`` is its configuration. Only :func:`build` imports torch.
A file of the user's own (:func:`add`) and the plug-in of an installed package (an entry point of the group
``faceloss.losses`` that names such a file's module) are losses like those of the folder.
"""

import ast
import importlib
import math
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from faceloss.errors import BadInput, unknown
from faceloss.losses import outside

if TYPE_CHECKING:
    from faceloss.losses.core import Loss
    from faceloss.search.courses import Course

SCALE = "s"  # the name that the scale has in every loss that has one to choose


# What a docstring says line by line, besides its prose.
FIELDS = ("Paper", "Family", "Batches", "Course", "Deviations", "Checked", "Start with")


class Hyperparameter(NamedTuple):
    """One keyword of a loss: its type, its default and, for names, the choices.

    The type is "float", "int", "bool", "str", or "float or auto" of a scale ``s``; "auto" is :func:`resolve`'s.
    """

    type: str
    default: float | str | None  # None: required, as nobody knows a value that suits
    choices: tuple[str, ...] = ()


class Description(NamedTuple):
    """What a loss file says about itself."""

    name: str
    title: str  # one line
    formula: str  # the first indented block
    summary: str  # the rest of the prose
    paper: str
    batches: str  # "shuffled" | "identity-balanced"
    deviations: str
    hyperparameters: dict[str, Hyperparameter]
    start: dict[str, float | str]  # values to start with where no default is known
    family: str  # one of FAMILIES, or a word of your own
    checked: str  # where the formula is from and what it was compared with
    course: str = ""  # how hyperparameters move while it trains, and why; "" if none does


FAMILIES = (
    "softmax",
    "margin",
    "adaptive margin",
    "class vectors",
    "binary",
    "pairs and triplets",
    "centers",
    "search",
)


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
    _refuse_collision(file.name, [*_offers(file.name, files=False), f"the file {path}"])
    _describe(file.name, file.source, str(path))
    outside.hold(file)
    return file.name


def describe(name: str) -> Description:
    """What the file of the loss ``name`` says: title, formula, paper, deviations, hyperparameters, and so on.

    Raises:
        BadInput: no loss of that name, more than one, or one whose file is not as a loss file must be.

    >>> describe("cosface").hyperparameters["m"]
    Hyperparameter(type='float', default=0.35, choices=())
    """
    offers = _offers(name)
    _refuse_collision(name, offers)
    if not offers:
        raise BadInput(unknown("loss", name, names()))
    if file := outside.added().get(name):
        return _describe(name, file.source, str(file.path))
    if found := outside.plugins().get(name):
        return _describe(name, outside.source(found[0]), f"{found[0].module} of {found[0].package}")
    path = _own_file(name)
    assert path is not None
    return _describe(name, path.read_bytes(), path.name)


def build(name: str, *, dim: int, classes: int, seed: int = 0, **hyperparameters: float | str) -> "Loss":
    """The loss ``name`` for embeddings of ``dim`` numbers and identities 0 .. ``classes`` - 1.

    What it draws at the start (class vectors) depends on ``seed`` alone: torch's global generator is neither read nor
    moved. Hyperparameters not given have the paper's value; a scale given as "auto" has that of :func:`resolve`.

    Raises:
        BadInput: no loss of that name.
        TypeError: a hyperparameter that the loss does not have, or one that has no default and is not given.
        ValueError: a value of the wrong type or outside its range.
    """
    about = describe(name)
    known, start = about.hyperparameters, about.start
    for given, value in hyperparameters.items():
        if value == "auto" and given == SCALE and SCALE not in known:
            raise TypeError(f"{name} has no scale s to choose; leave out s=auto.")
        if not known:
            raise TypeError(f"{name} has no hyperparameters; given '{given}'.")
        if given not in known:
            raise TypeError(unknown(f"hyperparameter of {name}", given, known))
        _check(given, value, known[given])
    for required in (keyword for keyword, about in known.items() if about.default is None):
        if required not in hyperparameters:
            given = ", ".join(f"{keyword}={value}" for keyword, value in start.items())
            hint = f"start with {name}({given})" if given else f"'losses show {name}' says more"
            raise TypeError(f"{name} needs a value for '{required}': no default is known; {hint}.")

    import torch  # here, so that names() and describe() stay free of it

    hyperparameters = resolve(name, dim=dim, classes=classes, **hyperparameters)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if name in outside.added() or name in outside.plugins():
            return outside.construct(name, dim, classes, hyperparameters)
        loss: Loss = _module(name).build(dim, classes, **hyperparameters)
    return loss


def course(name: str, **hyperparameters: float | str) -> "Course":
    """How hyperparameters of the loss ``name`` move while it trains: from the share of the training done to values.

    Set them before each step; ``faceloss compare`` does. They end at the ``hyperparameters``, those not given at the
    paper's; of a loss without a course nothing moves.

    >>> course("asoftmax")(0.0), course("cosface")(0.0)
    ({'lam': 1000.0}, {})
    """
    from faceloss.losses import courses

    known = describe(name).hyperparameters
    values = {key: value.default for key, value in known.items() if value.default is not None} | hyperparameters
    return courses.of(_module(name), values)


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


def _offers(name: str, *, files: bool = True) -> list[str]:
    """Who offers a loss of that name, in words."""
    offers = ["faceloss itself"] if _own_file(name) else []
    if files and name in outside.added():
        offers.append(f"the file {outside.added()[name].path}")
    return offers + [plugin.package for plugin in outside.plugins().get(name, ())]


def _refuse_collision(name: str, offers: list[str]) -> None:
    if len(offers) > 1:
        raise BadInput(
            f"More than one loss is named '{name}': by {' and by '.join(offers)}. Rename the file, or remove a package."
        )


def _describe(name: str, text: str | bytes, where: str) -> Description:
    """What the source ``text`` of the loss ``name`` says; ``where`` it is from, for people."""
    tree = outside.parse(text, where)
    make = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build"), None)
    if make is None:
        raise BadInput(f"{where} defines no build(dim, classes, *, ...) at its top level, as a loss file must.")
    taken = make.args
    if len(taken.posonlyargs + taken.args) != 2 or taken.vararg or taken.kwarg or taken.defaults:
        raise BadInput(
            f"{where}: build must take dim, classes and, after a *, the hyperparameters; it takes "
            f"({ast.unparse(taken)})."
        )
    title, formula, summary, fields = _read(ast.get_docstring(tree) or "")
    hyperparameters = {
        argument.arg: _hyperparameter(name, argument, default)
        for argument, default in zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
    }
    return Description(
        name,
        title,
        formula,
        summary,
        paper=fields.get("Paper", ""),
        batches=fields.get("Batches", "").rstrip("."),
        deviations=fields.get("Deviations", ""),
        hyperparameters=hyperparameters,
        start=_start(where, fields.get("Start with", ""), hyperparameters),
        family=fields.get("Family", "").rstrip("."),
        checked=fields.get("Checked", ""),
        course=fields.get("Course", ""),
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
    text = path.read_text(encoding="utf-8")
    return "def build(" in text and any(
        isinstance(node, ast.FunctionDef) and node.name == "build" for node in ast.parse(text).body
    )


def _hyperparameter(loss: str, argument: ast.arg, default: ast.expr | None) -> Hyperparameter:
    """Type, default and choices of one keyword of ``build``, from its source."""
    kind = argument.annotation
    if isinstance(kind, ast.Name) and (kind.id, argument.arg) == ("float", SCALE):
        return Hyperparameter("float or auto", None if default is None else ast.literal_eval(default))
    if default is None and isinstance(kind, ast.Name) and kind.id in ("float", "int", "bool"):
        return Hyperparameter(kind.id, None)
    if isinstance(default, ast.Constant | ast.UnaryOp):
        value = ast.literal_eval(default)
        if isinstance(kind, ast.Name) and kind.id in ("float", "int", "bool"):
            return Hyperparameter(kind.id, value)
        if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Literal":
            return Hyperparameter("str", value, tuple(ast.literal_eval(kind.slice)))
    raise BadInput(
        f"{argument.arg} of the loss {loss} must be annotated as float, int, bool or Literal[...] of several strings, "
        "and have a default written as a plain value; a number may have none and is then required."
    )


def _check(name: str, value: Any, known: Hyperparameter) -> None:
    """Raises ValueError with one sentence unless ``value`` is of the type of ``known``."""
    if known.type == "str":
        if value not in known.choices:
            raise ValueError(unknown(name, str(value), known.choices))
        return
    if value == "auto" and known.type == "float or auto":
        return
    types = {"float": (int, float), "float or auto": (int, float), "int": (int,), "bool": (bool,)}[known.type]
    if not isinstance(value, types) or (isinstance(value, bool) and known.type != "bool"):
        example = "" if known.default is None else f", for example {known.default}"
        raise ValueError(f"{name} must be of type {known.type}{example}; given {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number; given {value}.")


def _start(where: str, text: str, known: dict[str, Hyperparameter]) -> dict[str, float | str]:
    """The values of ``alpha = 0.2, mode = hard; words about them``; the words begin at a semicolon or parenthesis."""
    values: dict[str, float | str] = {}
    for part in re.split(r"[;(]", text)[0].strip().rstrip(".").split(",") if text else []:
        name, _, value = (side.strip() for side in part.partition("="))
        try:
            if name not in known:
                raise ValueError(unknown("hyperparameter", name, known))
            values[name] = value if known[name].type == "str" else ast.literal_eval(value)
            _check(name, values[name], known[name])
        except (ValueError, SyntaxError) as error:
            raise BadInput(f"{where}: 'Start with:' should read name = value, ...; {error}") from error
    return values


def _read(docstring: str) -> tuple[str, str, str, dict[str, str]]:
    """Title, first indented block, remaining prose, and the fields of :data:`FIELDS`."""
    blocks = [block for block in docstring.split("\n\n") if block.strip()]
    title = blocks[0].strip() if blocks else ""
    formula, prose, fields, field = "", [], {}, ""
    for block in blocks[1:]:
        lines = block.splitlines()
        if all(line.startswith("    ") for line in lines):
            if formula:
                prose.append(block)
            formula = formula or "\n".join(line[4:] for line in lines)
            continue
        if lines[0].split(":")[0] not in FIELDS:
            prose.append(" ".join(lines))
            continue
        for line in lines:
            name, _, rest = line.partition(": ")
            if name in FIELDS:
                field, fields[name] = name, rest
            else:
                fields[field] += f" {line}"
    return title, formula, "\n\n".join(prose), fields
