"""``faceloss prepare``: photographs become aligned crops with a ledger."""

import shlex
from pathlib import Path

import click


@click.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", default="112", show_default=True, help="Of the crops: 112, 112x96 (height x width), 96 or 64.")
@click.option("--image", default="png", show_default=True, help="How crops are stored: png, or jpeg of quality 95.")
@click.option(
    "--faces", default="largest", show_default=True, help="Of several faces: largest, central, all, drop, or error."
)
@click.option("--none", "missing", default="drop", show_default=True, help="No usable face: drop the file, or error.")
@click.option(
    "--min-face", default="20,5%", show_default=True, help="Smallest face: pixels and share of the shorter side."
)
@click.option("--min-score", default=0.9, show_default=True, help="Of the detector, 0 to 1.")
@click.option("--max-outside", default=0.25, show_default=True, help="Share of a crop that may lie beyond the border.")
@click.option("--detector", default="mtcnn", show_default=True, help="mtcnn, or a YuNet model of yours (FILE.onnx).")
@click.option("--processes", type=click.IntRange(1), help="Default: one for each core.")
@click.option("--sheets", is_flag=True, help="Show crops on the page; it is then as private as the photographs.")
def prepare(
    photos: Path,
    out: Path,
    size: str,
    image: str,
    faces: str,
    missing: str,
    min_face: str,
    min_score: float,
    max_outside: float,
    detector: str,
    processes: int | None,
    sheets: bool,
) -> None:
    """Find the faces in PHOTOS, align and crop them into the new folder OUT, and account for every file.

    PHOTOS is a folder of photographs, one sub-folder per person, the same as a .tar, or a .csv with file and identity;
    it is never written to. `faceloss compare --data OUT` reads the result. OUT/prepare.html and OUT/ledger.csv tell
    what became of each file. Interrupted? The same command continues, and the result is the same to the byte.
    """
    from faceloss.data.photographs.prepare import prepare as run
    from faceloss.data.photographs.select import policy
    from faceloss.progress import Progress
    from faceloss.report.prepared import write_prepared
    from faceloss.threads import cores, single_threaded_numpy

    single_threaded_numpy()
    selection = policy(faces, missing, min_face, min_score, max_outside)
    progress = Progress()
    with progress.continuable():
        done = run(
            photos,
            out,
            size=size,
            image=image,
            selection=selection,
            detector=detector,
            processes=processes or cores(),
            progress=progress,
        )
    page = write_prepared(out, sheets=sheets)
    people = f" of {done.identities} people" if done.identities else ""
    click.echo(
        f"{done.files} files: {done.kept} kept, {done.changed} kept after a conversion, {done.dropped} dropped; "
        f"{done.crops} crops{people}."
    )
    for reason, count in done.reasons.items():
        click.echo(f"  {count:>6}  {reason}")
    click.echo(page)
    if done.identities > 1:
        click.echo(f"Next: faceloss compare --data {shlex.quote(str(out))} --out runs/mine")
