"""``faceloss data``: what public face sets are, and sets written anew as a folder or as shards."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from faceloss.data.cards import Card


@click.group()
def data() -> None:
    """Look up public face sets, and write a set anew.

    `faceloss data list` names public sets, with license and withdrawal; `faceloss data export DATA OUT --as shards`
    turns any set that faceloss reads into another form. Nothing is downloaded.
    """


@data.command(name="list")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, one set each.")
def list_(name: str | None, as_json: bool) -> None:
    """The public sets of faces, or all about the set NAME: license, where to get it, how to use it here.

    Nothing is downloaded: whether you may use a set is between you and its owner. A figure with a ~ is from memory.
    """
    import dataclasses
    import json

    from faceloss.data.cards import load_card, names

    cards = [load_card(each) for each in ([name] if name else names())]
    if as_json:
        for card in cards:
            click.echo(json.dumps(dataclasses.asdict(card), ensure_ascii=False))
    elif name:
        click.echo(_told(cards[0]))
    else:
        wide = max(len(card.name) for card in cards)
        click.echo(f"{'set':<{wide}}  use    identities       images  status")
        for card in sorted(cards, key=lambda card: (card.use, card.name)):
            people, images = (_number(card, field) for field in ("identities", "images"))
            click.echo(f"{card.name:<{wide}}  {card.use:<5}  {people:>10}  {images:>11}  {card.status}")
        click.echo("\nAll about one: faceloss data list NAME. A figure with a ~ is from memory.")


def _number(card: "Card", field: str) -> str:
    value = getattr(card, field)
    return "?" if value is None else ("~" if field in card.recalled else "") + f"{value:,}"


def _told(card: "Card") -> str:
    from faceloss.data.cards import STATUSES

    mark = dict.fromkeys(card.recalled, " (from memory)")
    lines = [f"{card.title}", f"  {card.what}{mark.get('what', '')}", ""]
    rows: list[tuple[str, str]] = [
        ("name", card.name),
        ("use", card.use),
        ("identities", _number(card, "identities")),
        ("images", _number(card, "images")),
        ("status", f"{card.status}: {STATUSES[card.status]}{mark.get('status', '')}"),
        ("license", card.license + mark.get("license", "")),
        ("get it", card.get + mark.get("get", "")),
    ]
    for label, field in (("files", "files"), ("use here", "how"), ("notes", "notes"), ("sources", "sources")):
        texts = getattr(card, field)
        rows += [(label if not at else "", text + mark.get(field, "")) for at, text in enumerate(texts)]
    return "\n".join(lines + [f"  {label:<10}  {text}" for label, text in rows])


@data.command()
@click.argument("source", metavar="DATA")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--as", "form", type=click.Choice(["folder", "shards"]), required=True, help="Files with an index, or tar archives."
)
@click.option("--per-shard", type=click.IntRange(1), default=10_000, show_default=True, help="Images in each archive.")
@click.option("--seed", default=0, show_default=True, help="Of the order in which images are shuffled into shards.")
def export(source: str, out: Path, form: str, per_shard: int, seed: int) -> None:
    """Write the images of DATA into the new folder OUT; they are copied as they are, never encoded again.

    DATA is anything that `faceloss compare --data` reads. The same images give the same bytes. A contract.json of DATA,
    which says how its faces were aligned, goes with them.
    """
    from faceloss.data.contract import contract_of
    from faceloss.data.export import export_folder, export_shards
    from faceloss.data.load import open_named
    from faceloss.progress import Progress

    progress = Progress()
    faces = open_named(source)
    contract = contract_of(source, faces)
    if form == "folder":
        done = export_folder(faces, out, progress, contract=contract)
    else:
        done = export_shards(faces, out, per_shard=per_shard, seed=seed, progress=progress, contract=contract)
    progress.clear()
    shards = f" in {done.shards} shards" if form == "shards" else ""
    click.echo(f"{done.images} images of {done.identities} identities{shards}; {len(done.refused)} left out.")
    for refused in done.refused[:10]:
        click.echo(f"  {refused.file}: {refused.reason}")
    if len(done.refused) > 10:
        click.echo(f"  and {len(done.refused) - 10} more")
    click.echo(f"Next: faceloss compare --data {shlex.quote(str(out))} --out runs/mine")
