"""Draw the generated faces that ship with the package: ``src/faceloss/data/builtin_faces.tar``.

    pip install -e '.[faces]'
    python tools/make_faces.py                                  # about six minutes on one core
    python tools/make_faces.py --sheet docs/figures/builtin_faces.png --identities 8 --images 10

No photograph and no real person is involved: heads come from the Anny body model, everything else is computed.
The same versions of Anny, torch, NumPy and Pillow give the same bytes; every number drawn is keyed by
(seed, identity, image), so neither the number of workers nor the number of identities changes a picture.
"""

import argparse
import csv
import io
import multiprocessing
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from faces_head import Head, load_head
from faces_paint import picture
from faces_people import Person, person, shot
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TAR = ROOT / "src" / "faceloss" / "data" / "builtin_faces.tar"
README = """Generated faces of faceloss
===========================

{identities} identities x {images} images, {size} x {size} RGB JPEG, drawn by tools/make_faces.py with seed {seed}.
No photograph was used and no real person is shown.

identities.csv holds what each head was made of: the phenotype of the body model (gender 0 female .. 1 male,
age 0 newborn .. 1 old, and the three shares of origin as the model names them) and the color of skin, hair and iris.

Heads: Anny {version} (https://github.com/naver/anny, Copyright NAVER Corp., Apache-2.0), whose body data come from
MakeHuman / MPFB2 and the Face Units pack by Mika Suominen, both under CC0 1.0. The images are under Apache-2.0 like
the rest of faceloss.
"""
COLUMNS = ("gender", "age", "african", "asian", "caucasian")

_HEAD: Head | None = None  # set before the workers are forked, so that they share it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, default=160)
    parser.add_argument("--images", type=int, default=24, help="images per identity")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TAR, help="the tar to write (default: the one in the package)")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet (rows = identities) instead of the tar")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()

    global _HEAD
    _HEAD = load_head()
    start = time.perf_counter()
    jobs = [(given.seed, identity, given.images, given.size) for identity in range(given.identities)]
    pictures = []
    for done, row in enumerate(_drawn(jobs, given.workers), start=1):
        pictures.append(row)
        seconds = time.perf_counter() - start
        print(f"\r{done}/{len(jobs)} identities, {seconds:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)

    if given.sheet:
        write_sheet(given.sheet, pictures, given.size)
        return
    people = [person(_HEAD, given.seed, identity) for identity in range(given.identities)]
    texts = {"README.txt": _readme(given), "identities.csv": _table(people)}
    write_tar(given.out, texts, pictures)
    print(f"{given.out}: {given.out.stat().st_size} bytes, {len(jobs) * given.images} images")


def _drawn(jobs: list[tuple[int, int, int, int]], workers: int) -> Iterator[list[bytes]]:
    if workers == 1:
        yield from map(draw, jobs)
        return
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap(draw, jobs)


def draw(job: tuple[int, int, int, int]) -> list[bytes]:
    """All pictures of one identity, as JPEG files."""
    seed, identity, images, size = job
    assert _HEAD is not None
    who = person(_HEAD, seed, identity)
    return [
        picture(_HEAD, who, shot(_HEAD, who, seed, identity, image), seed, identity, image, size)
        for image in range(images)
    ]


def write_tar(path: Path, texts: dict[str, str], pictures: list[list[bytes]]) -> None:
    """The texts in the root, then ``p000/00.jpg``, in order; nothing in the file depends on when or by whom."""
    files = [(name, text.encode()) for name, text in texts.items()]
    files += [(f"p{i:03}/{k:02}.jpg", data) for i, row in enumerate(pictures) for k, data in enumerate(row)]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def write_sheet(path: Path, pictures: list[list[bytes]], size: int) -> None:
    """One row per identity."""
    sheet = Image.new("RGB", (size * len(pictures[0]), size * len(pictures)))
    for i, row in enumerate(pictures):
        for k, data in enumerate(row):
            sheet.paste(Image.open(io.BytesIO(data)), (k * size, i * size))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(path, optimize=True)  # a palette halves the file


def _readme(given: argparse.Namespace) -> str:
    from importlib.metadata import version

    return README.format(**vars(given), version=version("anny"))


def _table(people: list[Person]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["identity", *COLUMNS, "skin", "hair", "iris"])
    for i, who in enumerate(people):
        colors = ["#" + bytes(int(c * 255) for c in color.clip(0, 1)).hex() for color in (who.skin, who.hair, who.iris)]
        table.writerow([f"p{i:03}", *(f"{who.phenotype[name]:.3f}" for name in COLUMNS), *colors])
    return text.getvalue()


if __name__ == "__main__":
    main()
