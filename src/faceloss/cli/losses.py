"""``faceloss losses``: what losses there are, without loading any of them."""

import json
from typing import Any

import click

from faceloss.errors import BadInput


@click.command()
@click.argument("what", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def losses(what: tuple[str, ...], as_json: bool) -> int:
    """List the losses; show one: formula, paper, hyperparameters with defaults, deviations; or check one.

    `faceloss losses show NAME` and `faceloss losses check NAME`, where NAME may also be the path of a loss file of your
    own. `check` asks of the loss what every loss must do, says what fails, and ends with code 1 if anything does.
    """
    from faceloss import losses as room

    if what and (what[0] not in ("show", "check") or len(what) != 2):
        raise BadInput(
            f"'losses {' '.join(what)}' is not a question; ask: losses, losses show NAME, or losses check FILE.py."
        )
    if what and what[0] == "check":
        from faceloss.cli.loss_check import check_loss

        return check_loss(what[1], as_json)
    if what:
        facts = room.describe(room.add(what[1]) if what[1].endswith(".py") else what[1])
        click.echo(json.dumps(_plain(facts), indent=1) if as_json else _sheet(facts))
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
    width = max(len(facts.name) for facts in all_facts)
    for facts in all_facts:
        click.echo(f"{facts.name:<{width}}  {facts.title}")
    click.echo("\nfaceloss losses show NAME tells formula, paper, defaults and deviations.")
    return 0


def _plain(facts: Any) -> dict[str, Any]:
    document: dict[str, Any] = facts._asdict()
    document["hyperparameters"] = {
        name: hyperparameter._asdict() for name, hyperparameter in facts.hyperparameters.items()
    }
    return document


def _sheet(facts: Any) -> str:
    rows = [
        f"  {name} = {'no default, give a value' if h.default is None else h.default}"
        f"  ({' | '.join(h.choices) or h.type})"
        for name, h in facts.hyperparameters.items()
    ]
    start = ", ".join(f"{name} = {value}" for name, value in facts.start.items())
    parts = [
        f"{facts.name}: {facts.title}",
        facts.formula,
        facts.summary,
        f"Paper: {facts.paper}",
        f"Deviations: {facts.deviations}",
        f"Batches: {facts.batches}",
        "Hyperparameters:" + ("\n" + "\n".join(rows) if rows else " none"),
        *([f"Nothing is published for these; start with {start}"] if start else []),
    ]
    return "\n\n".join(parts)
