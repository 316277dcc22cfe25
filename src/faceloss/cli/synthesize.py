"""``faceloss synthesize``: a set of generated faces with known causes."""

import shlex
from pathlib import Path
from typing import Any

import click

RANGES = ("yaw", "pitch", "light", "ambient", "expression", "noise", "blur")
NUMBERS = ("light_side", "age_gap", "occlusion", "hats", "glasses")


@click.command()
@click.option("--identities", default=160, show_default=True, type=click.IntRange(1), help="How many people.")
@click.option("--images", default=24, show_default=True, type=click.IntRange(1), help="Of each, at most.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same settings: same bytes.")
@click.option("--size", default=64, show_default=True, help="Height and width: 64, 96 or 112 pixels.")
@click.option("--out", type=click.Path(path_type=Path), help="The new folder; default runs/faces-IDxIMAGES-seedSEED.")
@click.option("--as", "form", default="folder", show_default=True, help="folder, shards (a row of .tar), or tar (one).")
@click.option("--per-shard", type=click.IntRange(1), default=10_000, show_default=True, help="Images in each shard.")
@click.option("--workers", type=click.IntRange(1), help="Processes; default: one for each core.")
@click.option("--oversampling", default=3, show_default=True, help="Points a pixel and side; 2 is faster, and coarser.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Also a contact sheet of the first people, as a PNG.")
@click.option("--yaw", metavar="SD:MOST", help="To the side, radians.  [default: 0.24:0.61]")
@click.option("--pitch", metavar="SD:MOST", help="Up and down, radians.  [default: 0.11:0.27]")
@click.option("--light-side", type=float, help="Largest angle of the key light, radians.  [default: 1.3]")
@click.option("--light", metavar="LOW:HIGH", help="Strength of the key light.  [default: 0.45:1.25]")
@click.option("--ambient", metavar="LOW:HIGH", help="Strength of the light from everywhere.  [default: 0.28:0.6]")
@click.option("--expression", metavar="LOW:HIGH", help="0 neutral .. 1 what the model can do.  [default: 0.1:0.75]")
@click.option("--age-gap", type=float, help="Years between images of one person, at most.  [default: 0]")
@click.option("--occlusion", type=float, help="Share of images with something in front.  [default: 0.08]")
@click.option("--hats", type=float, help="Share of images with a hat.  [default: 0.08]")
@click.option("--glasses", type=float, help="Share of images with glasses.  [default: 0.08]")
@click.option("--noise", metavar="LOW:HIGH", help="Standard deviation, gray levels of 255.  [default: 0.5:5]")
@click.option("--blur", metavar="LOW:HIGH", help="Standard deviation, pixels.  [default: 0:0.75]")
@click.option("--groups", metavar="NAME=SHARE,..", help="Main origin: african, asian, caucasian.  [default: as drawn]")
@click.option("--group-images", metavar="NAME=FACTOR,..", help="Images of a group's people, as a factor of --images.")
@click.option("--imbalance", default=1.0, help="Images of the largest identity over the smallest, exponential between.")
@click.option("--tail", default=0.0, help="Long tail instead: rank r has r^-TAIL times the images of the first (Zipf).")
@click.option("--least", default=1, show_default=True, help="Images that every identity keeps.")
@click.option("--twins", metavar="SHARE:DISTANCE", help="Pairs of near-twins; 0 the same head .. 1 strangers.")
@click.option("--label-noise", metavar="flip=RATE,outlier=RATE", help="Somebody else's label; nobody of the set.")
def synthesize(
    identities: int,
    images: int,
    seed: int,
    size: int,
    out: Path | None,
    form: str,
    per_shard: int,
    workers: int | None,
    oversampling: int,
    sheet: Path | None,
    imbalance: float,
    tail: float,
    least: int,
    **controls: Any,
) -> None:
    """Draw a set of generated faces into a new folder, with the truth about every picture; no real person is shown.

    OUT/images.csv tells how each picture was taken and who it really shows, OUT/identities.csv what each head was made
    of. The defaults are the built-in faces. A control changes what it names and leaves the rest of each picture as it
    was. Needs pip install 'faceloss[synthetic]' once. Interrupted? The same command continues, to the same bytes.
    """
    from faceloss.threads import cores, single_threaded_numpy

    single_threaded_numpy()
    from faceloss.data.generated.controls import Cast
    from faceloss.data.generated.synthesize import synthesize as run
    from faceloss.progress import Progress

    look, cast = _look(controls), Cast(**_cast(controls), imbalance=imbalance, tail=tail, least=least)
    out = out or Path("runs", f"faces-{identities}x{images}-seed{seed}")
    progress = Progress()
    with progress.continuable():
        done = run(
            out,
            identities=identities,
            images=images,
            seed=seed,
            size=size,
            look=look,
            cast=cast,
            form=form,
            per_shard=per_shard,
            oversampling=oversampling,
            workers=workers or cores(),
            progress=progress,
        )
    data = out / "faces.tar" if form == "tar" else out
    if sheet:
        from faceloss.data.generated.sheet import write_sheet

        write_sheet(data, sheet)
    wrong = [f"{done.flipped} under another's label"] * bool(done.flipped)
    wrong += [f"{done.outliers} of nobody of the set"] * bool(done.outliers)
    twins = f", {done.twins} near-twins among them" if done.twins else ""
    noise = f" ({', '.join(wrong)})" if wrong else ""
    click.echo(f"{done.images} images{noise} of {done.identities} identities{twins}: {out / 'README.md'}")
    click.echo(f"Next: faceloss compare --data {shlex.quote(str(data))} --out runs/mine")


def _look(given: dict[str, Any]) -> Any:
    from faceloss.data.generated.controls import Look, parse_range

    found: dict[str, Any] = {name: given[name] for name in NUMBERS if given[name] is not None}
    for name in RANGES:
        if given[name] is not None:
            found[name] = parse_range(f"--{name}", given[name])
    return Look(**found)


def _cast(given: dict[str, Any]) -> dict[str, Any]:
    from faceloss.data.generated.controls import parse_range, parse_shares
    from faceloss.data.generated.head import ORIGINS

    found: dict[str, Any] = parse_shares("--label-noise", given["label_noise"] or "", ("flip", "outlier"))
    for name in ("groups", "group_images"):
        found[name] = parse_shares(f"--{name.replace('_', '-')}", given[name] or "", ORIGINS)
    if given["twins"] is not None:
        share, distance = parse_range("--twins", given["twins"])
        found["twins"] = share
        if ":" in given["twins"]:
            found["twin_distance"] = distance
    return found
