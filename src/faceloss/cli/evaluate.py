"""``faceloss evaluate``: judge embeddings from anywhere."""

import json
from pathlib import Path

import click


@click.command()
@click.argument("embeddings", type=click.Path(path_type=Path))
@click.option("--far", "fars", type=float, multiple=True, help="Only TAR at this FAR (and ranks): fast on large sets.")
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, one measured number each.")
def evaluate(embeddings: Path, fars: tuple[float, ...], as_json: bool) -> None:
    """Judge the file EMBEDDINGS.npz: arrays embeddings [N,D], identities [N] and, if wanted, pairs [M,2..4].

    Without pairs every pair of images counts (the full cross-matrix). A pair is two rows of embeddings, and may be
    followed by whether it is of one person (0 or 1) and by its fold.

    With more than 10,000 million pairs (141,000 images) EER, AUC and the TARs at larger FARs are left out.
    """
    from faceloss.evaluate import evaluate_file
    from faceloss.progress import Progress
    from faceloss.threads import cores

    progress = Progress()
    rows = evaluate_file(embeddings, progress, fars=fars or None, workers=cores())
    progress.clear()
    for row in rows:
        if as_json:
            facts = {k: v for k, v in row._asdict().items() if k not in ("influence", "subjects")}
            click.echo(json.dumps(facts))
            continue
        at = f" at {'FAR ' if row.metric == 'tar' else ''}{row.at:g}" if row.at is not None else ""
        name = f"{row.protocol}: {row.metric}{at}"
        if row.value is None:
            click.echo(f"{name:<38} {row.status}")
        else:
            interval = f"[{row.low:.4f}, {row.high:.4f}]" if row.low is not None else ""
            click.echo(f"{name:<38} {row.value:.4f}  {interval}  ({row.pairs} comparisons)")
    for note in dict.fromkeys(row.note for row in rows if row.value is not None and row.note and not as_json):
        click.echo(f"Note: {note}.")
