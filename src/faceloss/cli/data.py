"""``faceloss data``: what public face sets are, and sets written anew as a folder or as shards."""

import shlex
from pathlib import Path

import click


@click.group()
def data() -> None:
    """Look up public face sets, and write a set anew.

    `faceloss data export DATA OUT --as shards` turns any set that faceloss reads into another form.
    """


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

    DATA is anything that `faceloss compare --data` reads. The same images give the same bytes.
    """
    from faceloss.data.export import export_folder, export_shards
    from faceloss.data.load import open_named
    from faceloss.progress import Progress

    progress = Progress()
    faces = open_named(source)
    if form == "folder":
        done = export_folder(faces, out, progress)
    else:
        done = export_shards(faces, out, per_shard=per_shard, seed=seed, progress=progress)
    progress.clear()
    shards = f" in {done.shards} shards" if form == "shards" else ""
    click.echo(f"{done.images} images of {done.identities} identities{shards}; {len(done.refused)} left out.")
    for refused in done.refused[:10]:
        click.echo(f"  {refused.file}: {refused.reason}")
    if len(done.refused) > 10:
        click.echo(f"  and {len(done.refused) - 10} more")
    click.echo(f"Next: faceloss compare --data {shlex.quote(str(out))} --out runs/mine")
