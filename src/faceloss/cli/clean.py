"""``faceloss clean``: what is likely wrong in a set of faces."""

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("data")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A trained network: also finds wrong pictures, and people under two names who share no picture.",
)
@click.option(
    "--list", "listed", type=click.Path(path_type=Path), metavar="FILE", help="All proposals: .csv or .jsonl."
)
@click.option(
    "--apply",
    "out",
    type=click.Path(path_type=Path),
    metavar="OUT.csv",
    help="Do what is proposed: a new list of what is left, for --data. DATA itself is never changed.",
)
def clean(data: str, model: Path | None, listed: Path | None, out: Path | None) -> None:
    """Propose what to drop or merge in DATA: copies of a picture, one person under two names, wrong pictures.

    DATA is what `faceloss compare --data` takes. Look at the list with its evidence before you apply it: pictures that
    a network finds hard are also those that it can learn from.
    """
    from faceloss.data.clean import ENDINGS, apply, counts, propose, write_proposals
    from faceloss.errors import BadInput
    from faceloss.progress import Progress

    if listed is not None and listed.suffix.lower() not in ENDINGS:
        raise BadInput(f"--list {listed}: the proposals are written as .csv or .jsonl.")
    progress = Progress()
    faces, embeddings = read(data, model, progress)
    proposals = propose(faces, embeddings, progress)
    progress.clear()
    if listed is not None:
        write_proposals(proposals, listed)
    found = counts(proposals)
    click.echo(f"{len(faces)} images of {len(faces.identities)} identities; {len(proposals)} proposals.")
    for kind, number in found.items():
        click.echo(f"  {number:>6}  {kind}")
    if out is not None:
        images, identities = apply(faces, Path(data), proposals, out)
        click.echo(f"{out}: {images} images of {identities} identities")


def read(data: str, model: Path | None, progress: Any, size: int = 112) -> tuple[Any, Any]:
    """The faces behind ``data``, or the images of a pair list, and their embeddings where there is a ``model``."""
    from faceloss.data.faces import Faces
    from faceloss.data.pairs import load_test

    network = None
    if model is not None:
        from faceloss.compare.model import load_model

        network = load_model(model)
    loaded = load_test(data, size=network.size if network else size, progress=progress)
    faces = loaded if isinstance(loaded, Faces) else loaded.faces
    if network is None:
        return faces, None
    from faceloss.compare.contracts import like_the_model

    remedy = "Prepare both alike, or leave out --model."
    if sentence := like_the_model(data, faces, network.contract.get("faces"), False, remedy):
        progress.say(f"note: {sentence}")
    return faces, embeddings_of(network, faces, progress)


def embeddings_of(network: Any, faces: Any, progress: Any) -> Any:
    """[N,D] float32, a block of images at a time."""
    import numpy as np

    blocks = []
    for start in range(0, len(faces), 1024):
        blocks.append(network.embedder(np.array(faces.pixels[start : start + 1024])))
        progress("embedding", min(start + 1024, len(faces)), len(faces))
    return np.concatenate(blocks)
