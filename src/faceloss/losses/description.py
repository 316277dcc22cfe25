"""What a loss file says about itself: its docstring and the signature of its ``build``, read from the source."""

import ast
import math
import re
from typing import Any, NamedTuple

from faceloss.errors import BadInput, unknown

SCALE = "s"  # the name that the scale has in every loss that has one to choose

# What a docstring says line by line, besides its prose.
FIELDS = ("Paper", "Family", "Batches", "Course", "Deviations", "Checked", "Start with")

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


class Hyperparameter(NamedTuple):
    """One keyword of a loss: its type, its default and, for names, the choices.

    The type is "float", "int", "bool", "str", or "float or auto" of a scale ``s``, see :func:`faceloss.losses.resolve`.
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


def describe(name: str, text: str | bytes, where: str) -> Description:
    """What the source ``text`` of the loss ``name`` says; ``where`` it is from, for people.

    Raises:
        BadInput: it is not Python, or not as a loss file must be.
    """
    tree = _parse(text, where)
    make = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build"), None)
    if make is None:
        raise BadInput(f"{where} defines no build(dim, classes, *, ...) at its top level, as a loss file must.")
    taken = make.args
    if len(taken.posonlyargs + taken.args) != 2 or taken.vararg or taken.kwarg or taken.defaults:
        raise BadInput(
            f"{where}: build must take dim, classes and, after a *, the hyperparameters; it takes "
            f"({ast.unparse(taken)})."
        )
    title, formula, summary, fields = _docstring(ast.get_docstring(tree) or "")
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


def check(name: str, value: Any, known: Hyperparameter) -> None:
    """Refuse a ``value`` of the hyperparameter ``name`` that is not of the type of ``known``.

    Raises:
        ValueError: the type is another, it is none of the choices, or it is not finite.
    """
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


def _parse(text: str | bytes, where: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        line = f" (line {error.lineno})" if error.lineno else ""
        raise BadInput(f"{where} is not a Python file: {error.msg}{line}.") from error
    except ValueError as error:  # null bytes
        raise BadInput(f"{where} is not a Python file: {error}.") from error


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


def _start(where: str, text: str, known: dict[str, Hyperparameter]) -> dict[str, float | str]:
    """The values of ``alpha = 0.2, mode = hard; words about them``; the words begin at a semicolon or parenthesis."""
    values: dict[str, float | str] = {}
    for part in re.split(r"[;(]", text)[0].strip().rstrip(".").split(",") if text else []:
        name, _, value = (side.strip() for side in part.partition("="))
        try:
            if name not in known:
                raise ValueError(unknown("hyperparameter", name, known))
            values[name] = value if known[name].type == "str" else ast.literal_eval(value)
            check(name, values[name], known[name])
        except (ValueError, SyntaxError) as error:
            raise BadInput(f"{where}: 'Start with:' should read name = value, ...; {error}") from error
    return values


def _docstring(docstring: str) -> tuple[str, str, str, dict[str, str]]:
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
