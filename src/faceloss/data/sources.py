"""Where images come from: a list of entries (file, identity, split, group, how to read it), in a fixed order.

    folder   FOLDER/identity/.../image.jpg           the sub-folder is the identity, anything below it is allowed
    tar      the same inside an uncompressed archive; read in place, nothing is ever extracted
    csv      columns file, identity (or id), and where known split, group
    rec      InsightFace's train.rec (and train.idx), or the folder it is in
    shards   archives of samples KEY.jpg with KEY.cls or KEY.json: one of them, {000..004}.tar, or the folder of all
    lmdb     a database of encoded images, with a list of keys and labels; see `faceloss.data.lmdb`
    arrow    a Hugging Face dataset saved to disk; see `faceloss.data.arrow`

Three conveniences for folders and archives: one common folder around everything is looked through; top-level folders
that are all named train, val, validation or test are taken as splits; a folder with an ``index.csv`` is read by it.

What an ``identities.csv`` and a README in the root of a folder or archive tell is in `faceloss.data.about`.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from faceloss.data.about import belongs, told
from faceloss.data.arrow import is_arrow, open_arrow
from faceloss.data.entries import Source, arrange, finish, is_hidden, is_image, read_file, shown
from faceloss.data.faces import Refused
from faceloss.data.lmdb import is_lmdb, open_lmdb
from faceloss.data.records import open_records
from faceloss.data.shards import expand, is_shard, open_shards
from faceloss.data.table import open_table
from faceloss.data.tar import open_tar
from faceloss.errors import BadInput


def open_source(path: str | os.PathLike[str], *, flat: bool = False, every: bool = False) -> Source:
    """The images behind a path: a folder, a ``.tar`` or a ``.csv``; raises BadInput with what to do otherwise.

    ``flat`` allows images outside any folder; ``every`` takes every file of a folder, whatever its name, and lists what
    is hidden among the refused.
    """
    place = Path(path)
    if is_lmdb(place) and place.exists():
        return open_lmdb(place, flat=flat)
    if is_arrow(place):
        return open_arrow(place)
    if place.is_dir():
        return open_folder(place, flat=flat, every=every)
    kinds = (
        "give a folder with one sub-folder per identity, the same as a .tar, a .csv with file and identity, "
        "an InsightFace .rec, or WebDataset shards as {000..004}.tar"
    )
    if not place.exists() and ".." in place.name and "{" in place.name:
        return open_shards(expand(place), shown(place.resolve().parent.name))
    if not place.exists():
        raise BadInput(f"There is no {place}; {kinds}.")
    if not place.is_file():
        raise BadInput(f"{place} is neither a folder nor a file; {kinds}.")
    ending = place.suffix.lower()
    if ending == ".csv":
        return open_table(place, flat=flat)
    if ending == ".tar":
        return open_shards([place], shown(place.stem)) if is_shard(place) else open_tar(place, flat=flat)
    if ending == ".rec":
        return open_records(place)
    if is_image(place.name):
        raise BadInput(f"{place} is a single image; {kinds}.")
    if place.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", ".7z")):
        raise BadInput(f"{place} is packed in a way that cannot be read in place; unpack it, then {kinds}.")
    raise BadInput(f"{place} is no set of faces; {kinds}.")


def open_folder(root: Path, *, flat: bool = False, every: bool = False) -> Source:
    """FOLDER/identity/image, or what FOLDER/index.csv or FOLDER/train.rec lists if there is one."""
    source = _folder(root, flat=flat, every=every)
    beside = [name for name in sorted(os.listdir(root)) if belongs(name) and (root / name).is_file()]
    return told(source, {name: partial(read_file, os.fspath(root / name)) for name in beside}, str(root))


def _folder(root: Path, *, flat: bool, every: bool) -> Source:
    if (root / "index.csv").is_file():
        return open_table(root / "index.csv", flat=flat)
    if (root / "train.rec").is_file():
        return open_records(root / "train.rec")
    listed: list[tuple[Sequence[str], Callable[[], bytes]]] = []
    refused: list[Refused] = []
    seen: set[tuple[int, int]] = set()

    def walk(folder: str, parts: tuple[str, ...]) -> None:
        # Every folder is entered once, under the first of its names: links can neither loop nor multiply images.
        try:
            found = os.stat(folder)
            if (found.st_dev, found.st_ino) in seen:
                refused.append(Refused("/".join(parts), "a link to a folder that was already read"))
                return
            seen.add((found.st_dev, found.st_ino))
            with os.scandir(folder) as scan:
                inside = sorted(scan, key=lambda item: os.fsencode(item.name))
        except OSError as error:
            if not parts:
                raise BadInput(f"{root} cannot be read: {error.strerror or error}.") from None
            refused.append(Refused("/".join(parts), f"folder cannot be read ({error.strerror or error})"))
            return
        for item in inside:
            below = (*parts, shown(item.name))
            if is_hidden(item.name):
                if every:
                    refused.append(Refused("/".join(below), "hidden"))
            elif _is_dir(item):
                walk(item.path, below)
            elif every or is_image(item.name):
                listed.append((below, partial(read_file, item.path)))

    walk(os.fspath(root), ())
    shards = [] if listed else sorted(root.glob("*.tar"))
    if shards and is_shard(shards[0]):
        return open_shards(shards, shown(root.resolve().name))
    if not listed:
        raise BadInput(f"{root} holds no images; a folder of faces has one sub-folder of images per identity.")
    entries, misplaced = arrange(listed, str(root), flat=flat)
    return finish(root.resolve().name, entries, refused + misplaced)


def _is_dir(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link that points at itself
        return False
