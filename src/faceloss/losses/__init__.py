"""Losses: raw embeddings and labels in, a number to minimize out.

The folder is the registry: a file that defines ``build`` at its top level is a loss, its name is the file's, its
docstring is its documentation, and the signature of ``build`` is its configuration. Only :func:`build` imports torch.
"""

import ast
import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from faceloss.errors import BadInput, unknown

if TYPE_CHECKING:
    from faceloss.losses.core import Loss


class Hyperparameter(NamedTuple):
    """One keyword of a loss: its type ("float", "int", "bool" or "str"), its default and, for names, the choices."""

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
    family: str  # one of FAMILIES, or a word of your own
    checked: str  # where the formula is from and what it was compared with


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
FIELDS = ("Paper", "Family", "Batches", "Deviations", "Checked")


def names() -> tuple[str, ...]:
    """The names of all losses, in alphabetical order."""
    return tuple(sorted(_files()))


def describe(name: str) -> Description:
    """What the file of the loss ``name`` says: title, formula, paper, deviations, hyperparameters, and so on.

    Raises:
        BadInput: no loss of that name.

    >>> describe("cosface").hyperparameters["m"]
    Hyperparameter(type='float', default=0.35, choices=())
    """
    paths = [Path(folder) / f"{name}.py" for folder in __path__ if name.isidentifier()]
    tree = ast.parse(next((path.read_text(encoding="utf-8") for path in paths if path.exists()), ""))
    make = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build"), None)
    if make is None:
        raise BadInput(unknown("loss", name, names()))
    title, formula, summary, fields = _read(ast.get_docstring(tree) or "")
    hyperparameters = {
        argument.arg: _hyperparameter(name, argument, default)
        for argument, default in zip(make.args.kwonlyargs, make.args.kw_defaults, strict=True)
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
        family=fields.get("Family", "").rstrip("."),
        checked=fields.get("Checked", ""),
    )


def build(name: str, *, dim: int, classes: int, seed: int = 0, **hyperparameters: float | str) -> "Loss":
    """The loss ``name`` for embeddings of ``dim`` numbers and identities 0 .. ``classes`` - 1.

    What it draws at the start (class vectors) depends on ``seed`` alone: torch's global generator is neither read nor
    moved. Hyperparameters not given have the paper's value.

    Raises:
        BadInput: no loss of that name.
        TypeError: a hyperparameter that the loss does not have, or one that has no default and is not given.
        ValueError: a value of the wrong type or outside its range.
    """
    known = describe(name).hyperparameters
    for given, value in hyperparameters.items():
        if not known:
            raise TypeError(f"{name} has no hyperparameters; given '{given}'.")
        if given not in known:
            raise TypeError(unknown(f"hyperparameter of {name}", given, known))
        _check(given, value, known[given])
    for required in (keyword for keyword, about in known.items() if about.default is None):
        if required not in hyperparameters:
            raise TypeError(
                f"{name} needs a value for '{required}': no default is known; 'losses show {name}' says more."
            )

    import torch  # here, so that names() and describe() stay free of it

    module = importlib.import_module(f"{__name__}.{name}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        loss: Loss = module.build(dim, classes, **hyperparameters)
    return loss


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
    if default is None and isinstance(kind, ast.Name) and kind.id in ("float", "int", "bool"):
        return Hyperparameter(kind.id, None)
    if isinstance(default, ast.Constant | ast.UnaryOp):
        value = ast.literal_eval(default)
        if isinstance(kind, ast.Name) and kind.id in ("float", "int", "bool"):
            return Hyperparameter(kind.id, value)
        if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "Literal":
            return Hyperparameter("str", value, tuple(ast.literal_eval(kind.slice)))
    raise TypeError(
        f"{argument.arg} of the loss {loss} must be annotated as float, int, bool or Literal[...] of several strings, "
        "and have a default written as a plain value; a number may have none and is then required."
    )


def _check(name: str, value: Any, known: Hyperparameter) -> None:
    """Raises ValueError with one sentence unless ``value`` is of the type of ``known``."""
    if known.type == "str":
        if value not in known.choices:
            raise ValueError(unknown(name, str(value), known.choices))
        return
    types = {"float": (int, float), "int": (int,), "bool": (bool,)}[known.type]
    if not isinstance(value, types) or (isinstance(value, bool) and known.type != "bool"):
        example = "" if known.default is None else f", for example {known.default}"
        raise ValueError(f"{name} must be of type {known.type}{example}; given {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number; given {value}.")


def _read(docstring: str) -> tuple[str, str, str, dict[str, str]]:
    """Title, first indented block, remaining prose, and the fields named in FIELDS."""
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
