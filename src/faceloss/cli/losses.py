"""``faceloss losses``: what losses there are, without loading any of them."""

import json
from typing import Any

import click

from faceloss.errors import BadInput


@click.command()
@click.argument("what", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def losses(what: tuple[str, ...], as_json: bool) -> None:
    """List the losses, or `faceloss losses show NAME`: formula, paper, hyperparameters with defaults, deviations."""
    from faceloss import losses as room

    if what and (what[0] != "show" or len(what) != 2):
        raise BadInput(f"'losses {' '.join(what)}' is not a question; ask: losses, or losses show NAME.")
    if what:
        facts = room.describe(what[1])
        click.echo(json.dumps(_plain(facts), indent=1) if as_json else _sheet(facts))
        return
    all_facts = [room.describe(name) for name in room.names()]
    if as_json:
        click.echo(json.dumps([_plain(facts) for facts in all_facts], indent=1))
        return
    width = max(len(facts.name) for facts in all_facts)
    for facts in all_facts:
        click.echo(f"{facts.name:<{width}}  {facts.title}")
    click.echo("\nfaceloss losses show NAME tells formula, paper, defaults and deviations.")


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
    parts = [
        f"{facts.name}: {facts.title}",
        facts.formula,
        facts.summary,
        f"Paper: {facts.paper}",
        f"Deviations: {facts.deviations}",
        f"Batches: {facts.batches}",
        "Hyperparameters:" + ("\n" + "\n".join(rows) if rows else " none"),
    ]
    return "\n\n".join(parts)
