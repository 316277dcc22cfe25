"""``faceloss losses``: what losses there are, without loading any of them; and what one of them does at each angle."""

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from faceloss.cli.chart import Glyphs, Line, chart, glyphs
from faceloss.errors import BadInput

if TYPE_CHECKING:
    from faceloss.losses import Description
    from faceloss.losses.ruler import Measured

WIDEST = 100  # columns of prose


@click.command()
@click.argument("what", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def losses(what: tuple[str, ...], as_json: bool) -> int:
    """List the losses; show one: formula, paper, hyperparameters with defaults, deviations, what was checked, and how
    the target logit and the margin go with the angle; or check one.

    `faceloss losses show NAME` and `faceloss losses check NAME`, where NAME may also be the path of a loss file of your
    own, and hyperparameters may be given: `faceloss losses show "arcface(m=0.3)"`. `check` asks of the loss
    what every loss must do, says what fails, and ends with code 1 if anything does.
    """
    from faceloss import losses as room

    if what and (what[0] not in ("show", "check") or len(what) != 2):
        raise BadInput(
            f"'losses {' '.join(what)}' is not a question; ask: losses, losses show NAME, or losses check FILE.py."
        )
    if what and what[0] == "check":
        from faceloss.cli.loss_check import check_loss

        return check_loss(*parse(what[1]), as_json)
    if what:
        started = time.monotonic()
        name, given = parse(what[1])
        if given:
            _refuse_impossible(name, given, what[1])
        facts = room.describe(name)
        if as_json:
            click.echo(json.dumps(_plain(facts) | ({"given": given} if given else {}), indent=1))
            return 0
        drawing = _drawing(facts, given, glyphs(sys.stdout.encoding), _patient(started))
        click.echo(f"{_sheet(facts, given)}\n\n{drawing}")
        return 0
    all_facts = []
    for name in room.names():
        try:
            all_facts.append(room.describe(name))
        except BadInput as error:  # a plug-in that cannot be used takes nothing else away
            click.echo(f"faceloss: {error}", err=True)
    if as_json:
        click.echo(json.dumps([_plain(facts) for facts in all_facts], indent=1))
        return 0
    click.echo(_listing(all_facts))
    return 0


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Loss and hyperparameters of NAME, "NAME(m=0.3)", FILE.py or "FILE.py(m=0.3)"; a file becomes known.

    Raises:
        BadInput: a text of another form, no loss of that name, or a file that is no loss.
    """
    if "(" not in text and ".py" not in text:
        return text.strip(), {}
    from faceloss.compare.outside import FILE, add_files
    from faceloss.compare.study import parse_loss

    return parse_loss(add_files([text], [])[0] if FILE.fullmatch(text) else text)


def _refuse_impossible(name: str, given: dict[str, Any], text: str) -> None:
    """Try hyperparameters before anything is drawn, so that a slip is one sentence."""
    from faceloss import losses as room

    try:
        room.build(name, dim=max(3, int(given.get("size", 3))), classes=2, **given)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{text}: {error}") from error


def _listing(all_facts: "list[Description]") -> str:
    """All losses by family, in the order of ``FAMILIES``."""
    from faceloss.losses import FAMILIES

    width = max(len(facts.name) for facts in all_facts) + 4
    own = sorted({facts.family for facts in all_facts} - set(FAMILIES))
    parts = []
    for family in (*FAMILIES, *own):
        members = [facts for facts in all_facts if facts.family == family]
        rows = [_hang(f"  {facts.name}".ljust(width), facts.title) for facts in members]
        parts += ["\n".join([family, *rows])] if rows else []
    parts.append("faceloss losses show NAME tells formula, paper, defaults and deviations, and draws the loss.")
    return "\n\n".join(parts)


def _plain(facts: "Description") -> dict[str, Any]:
    document: dict[str, Any] = facts._asdict()
    document["hyperparameters"] = {
        name: hyperparameter._asdict() for name, hyperparameter in facts.hyperparameters.items()
    }
    return document


def _sheet(facts: "Description", given: dict[str, Any]) -> str:
    rows = []
    for name, known in facts.hyperparameters.items():
        default = "no default, give a value" if known.default is None else f"{known.default}"
        value = f"{given[name]}, here; {default} by default" if name in given else default
        rows.append(_hang(f"  {name} = ", f"{value}  ({' | '.join(known.choices) or known.type})"))
    start = ", ".join(f"{name} = {value}" for name, value in facts.start.items())
    parts = [
        _hang(f"{facts.name}: ", facts.title, 0),
        facts.formula,
        "\n\n".join(block if block.startswith("    ") else _hang("", block) for block in facts.summary.split("\n\n")),
        _hang("Paper: ", facts.paper, 2),
        _hang("Family: ", facts.family, 2),
        _hang("Deviations: ", facts.deviations, 2),
        _hang("Checked: ", facts.checked, 2),
        _hang("Batches: ", facts.batches, 2),
        *_course(facts, given),
        "Hyperparameters:" + ("\n" + "\n".join(rows) if rows else " none"),
        *([f"Nothing is published for these; start with {start}"] if start else []),
    ]
    return "\n\n".join(part for part in parts if part.strip())


def _course(facts: "Description", given: dict[str, Any]) -> list[str]:
    """What the course of a loss does, in words and in numbers."""
    if not facts.course:
        return []
    from faceloss import losses as room
    from faceloss.losses.courses import in_words

    values = in_words(room.course(facts.name, **given))
    said = f"Here {values}." if values else "At these hyperparameters nothing moves."
    return [_hang("Course: ", f"{facts.course} {said}", 2)]


def _hang(start: str, text: str, indent: int | None = None) -> str:
    """Text that begins with ``start``; on a terminal its lines end at the edge and go on ``indent`` columns in."""
    if not sys.stdout.isatty():
        return start + text
    width = min(shutil.get_terminal_size().columns, WIDEST)
    further = " " * (len(start) if indent is None else indent)
    return textwrap.fill(start + text, width, subsequent_indent=further, break_on_hyphens=False)


def _drawing(
    facts: "Description", given: dict[str, Any], drawn: Glyphs, progress: Callable[[str, int, int], None]
) -> str:
    """The curves of the loss, or a sentence on why there are none."""
    missing = [name for name, known in facts.hyperparameters.items() if known.default is None and name not in given]
    if missing:
        values = ", ".join(f"{name}=..." for name in missing)
        return f"No curve without values for {', '.join(missing)}: faceloss losses show '{facts.name}({values})'."
    from faceloss.losses.ruler import in_words, measure_named

    measured = measure_named(facts.name, progress=progress, **given)
    progress("", 0, 0)
    charts = _class_charts(measured, drawn) + _pair_charts(measured, drawn)
    return "\n\n".join([*charts, *(_hang("", remark) for remark in in_words(measured))])


def _class_charts(measured: "Measured", drawn: Glyphs) -> list[str]:
    curve = measured.classes
    if curve is None:
        return []
    mine, plain = Line("this loss", drawn.curve, curve.target), Line("plain softmax", drawn.reference, curve.cos)
    zero = Line("plain softmax", drawn.reference, [0.0] * len(curve.nats))
    return [
        chart("Target logit / s, by the angle to the own class", [mine, plain], drawn, ends=(0, 180)),
        chart("Nats taken from the target", [mine._replace(values=curve.nats), zero], drawn, rows=9, ends=(0, 180)),
    ]


def _pair_charts(measured: "Measured", drawn: Glyphs) -> list[str]:
    curve = measured.pairs
    if curve is None:
        return []
    genuine, impostor = Line("genuine", drawn.curve, curve.genuine), Line("impostor", drawn.second, curve.impostor)
    forces = [genuine._replace(values=curve.genuine_force), impostor._replace(values=curve.impostor_force)]
    return [
        chart("Loss of two faces, by the angle between them", [genuine, impostor], drawn, ends=(0, 180)),
        chart("Force, per radian (above 0: together)", forces, drawn, rows=9, ends=(0, 180)),
    ]


def _patient(started: float) -> Callable[[str, int, int], None]:
    """A progress line that appears after two seconds, and goes when told of 0 of 0."""
    from faceloss.progress import Progress

    progress = Progress()

    def show(what: str, done: int, total: int) -> None:
        if total == 0:
            progress.clear()
        elif time.monotonic() - started > 2:
            progress(what, done, total)

    return show
