"""``faceloss overlap``: what two sets of faces share."""

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A trained network: also finds people under another name who share no picture.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON lines: one for each thing shared, then the counts.")
@click.option("--show", type=click.IntRange(0), default=10, show_default=True, help="Lines of each kind; 0 is all.")
def overlap(first: str, second: str, model: Path | None, as_json: bool, show: int) -> None:
    """Find what A and B share: exact files, pictures encoded anew, identities of the same name, renamed identities.

    A and B are what `faceloss compare --data` and `--test` take. To keep a test apart from training, `compare`, `train`
    and `search` do this by themselves: see their --overlap.
    """
    from faceloss.cli.clean import read
    from faceloss.data.overlap import KINDS, evidence
    from faceloss.data.overlap import overlap as compare
    from faceloss.progress import Progress

    progress = Progress()
    (a, ours), (b, theirs) = read(first, model, progress), read(second, model, progress)
    found = compare(a, b, progress)
    people: list[Any] = []
    if model is not None:
        from faceloss.data.people import alike, unit

        people = alike(unit(ours), a.labels, unit(theirs), b.labels)
    progress.clear()
    rows = evidence(a, b, found, people)
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS}
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        click.echo(json.dumps({"kind": "counts", **counts}))
        return
    words = {
        "names": "identities of the same name",
        "files": "pairs of the same file",
        "pictures": "pairs of a picture and a copy encoded anew",
        "renamed": "people under another name",
    }
    for kind, number in counts.items():
        click.echo(f"{number:>7}  {words[kind]}")
        some = [row for row in rows if row["kind"] == kind]
        for row in some[: show or None]:
            click.echo(f"         {_line(row)}")
        if show and number > show:
            click.echo(f"         and {number - show} more (--show 0, --json)")


def _line(row: dict[str, Any]) -> str:
    facts = [f"{row['pictures']} shared pictures"] if row.get("pictures") else []
    facts += [f"{row['bits']} bits differ, correlation {row['correlation']:.3f}"] if row["kind"] == "pictures" else []
    facts += ["mirrored"] if row.get("mirrored") else []
    facts += [f"cosine {row['cosine']:.3f}, from {row['threshold']:.3f}"] if row.get("cosine") is not None else []
    return f"{row['first']}  =  {row['second']}" + (f"  ({'; '.join(facts)})" if facts else "")
