"""LMDB databases of encoded images; needs the extra ``lmdb``.

There is no one layout; these three are read, the first that fits:

    list     a text file with lines ``key label``: the only .txt in the folder of the database, or NAME.txt beside NAME
    numbered ``image-000000001`` and ``label-000000001``, from 1 to ``num-samples``
    paths    every key is ``identity/.../name``, as in a folder of faces

Pickled records (databases with ``__keys__``) are not understood: unpickling runs whatever their author wrote.
"""

import os
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from faceloss.data.entries import Entry, Source, arrange, finish, is_hidden, shown
from faceloss.data.faces import Refused
from faceloss.data.shards import pad
from faceloss.errors import BadInput

# LMDB allows a file to be opened once in a process; whoever reads it shares what is open.
_open: "weakref.WeakValueDictionary[str, Any]" = weakref.WeakValueDictionary()


def is_lmdb(path: Path) -> bool:
    """A folder with ``data.mdb``, or a file that ends in ``.lmdb`` or ``.mdb``."""
    return (path / "data.mdb").is_file() if path.is_dir() else path.suffix.lower() in (".lmdb", ".mdb")


def open_lmdb(path: Path, *, flat: bool = False) -> Source:
    """The labeled images of a database; raises BadInput if it is cut, none, or laid out in another way."""
    database = _database(path)
    import lmdb

    listing = _listing(path)
    try:
        with database.begin() as reading:
            if listing is not None:
                rows = _listed(listing)
            elif reading.get(b"num-samples") is not None:
                rows = _numbered(reading, path)
            else:
                return _paths(path, database, [bytes(key) for key in reading.cursor().iternext(values=False)], flat)
    except lmdb.Error as error:
        raise BadInput(f"{path} is garbled ({error}); get it anew.") from None
    names = pad({label for _, label in rows})
    refused: list[Refused] = []
    entries: dict[bytes, Entry] = {}
    for key, label in rows:
        if key in entries:
            refused.append(Refused(_name(key), "listed twice", names[label]))
        else:
            entries[key] = Entry(_name(key), names[label], "", "", partial(_read, database, key))
    return finish(path.resolve().stem, entries.values(), refused)


def _database(path: Path) -> Any:
    try:
        import lmdb
    except ImportError:
        raise BadInput(
            f"{path} is an LMDB database, which needs the extra lmdb; install it with: pip install 'faceloss[lmdb]'"
        ) from None
    place = os.path.realpath(path)
    database = _open.get(place)
    file = path / "data.mdb" if path.is_dir() else path
    try:
        if database is None:
            # No lock file is written: the data are only read, and may lie where nothing can be written.
            database = lmdb.open(place, subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
        needed = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
        if file.stat().st_size < needed:  # reading what is not there would end the process
            raise BadInput(f"{file} was cut: it has {file.stat().st_size} bytes of {needed}; get it anew.")
    except (lmdb.Error, OSError) as error:
        raise BadInput(f"{file} is no readable LMDB database ({error}); get it anew.") from None
    _open[place] = database
    return database


def _listing(path: Path) -> Path | None:
    beside = path.with_suffix(".txt")
    inside = sorted(path.glob("*.txt")) if path.is_dir() else []
    if len(inside) > 1:
        raise BadInput(f"{path} has {len(inside)} lists of keys ({', '.join(p.name for p in inside)}); leave one.")
    return inside[0] if inside else beside if beside.is_file() else None


def _listed(listing: Path) -> list[tuple[bytes, str]]:
    rows = []
    try:
        lines = listing.read_bytes().splitlines()
    except OSError as error:
        raise BadInput(f"{listing} cannot be read: {error.strerror or error}.") from None
    for number, line in enumerate(lines, 1):
        parts = line.rsplit(None, 1)  # keys may have spaces in them
        if len(parts) == 2:
            rows.append((parts[0].strip(), _name(parts[1])))
        elif parts:
            raise BadInput(f"Line {number} of {listing} is no key with its label; write: key label.")
    if not rows:
        raise BadInput(f"{listing} lists no images; write a line for each: key label.")
    return rows


def _numbered(reading: Any, path: Path) -> list[tuple[bytes, str]]:
    told = bytes(reading.get(b"num-samples"))
    if not told.strip().isdigit() or not 0 < int(told) <= reading.stat()["entries"]:
        raise BadInput(f"{path} says that it holds {_name(told)!r} images, which it cannot; get it anew.")
    rows = []
    for number in range(1, int(told) + 1):
        label = reading.get(b"label-%09d" % number)
        if label is None:
            raise BadInput(f"{path} has no label-{number:09d}, though it says that it holds {int(told)} images.")
        rows.append((b"image-%09d" % number, _name(bytes(label)).strip()))
    return rows


def _paths(path: Path, database: Any, keys: list[bytes], flat: bool) -> Source:
    parts: list[tuple[Sequence[str], Callable[[], bytes]]] = []
    for key in keys:
        names = [name for name in _name(key).split("/") if name]
        if names and not any(is_hidden(name) for name in names):
            parts.append((names, partial(_read, database, key)))
    if not any(len(names) > 1 for names, _ in parts) and not flat:
        raise BadInput(
            f"The keys of {path} do not say who is shown; put a list of them beside it, "
            f"{path.with_suffix('.txt').name}, with a line for each image: key label."
        )
    entries, refused = arrange(parts, str(path), flat=flat)
    return finish(path.resolve().stem, entries, refused)


def _name(text: bytes) -> str:
    return shown(os.fsdecode(text))


def _read(database: Any, key: bytes) -> bytes:
    import lmdb

    try:
        with database.begin() as reading:
            data = reading.get(key)
    except lmdb.Error as error:  # a garbled page
        raise OSError(str(error)) from None
    if data is None:
        raise FileNotFoundError(f"no key {_name(key)}")
    return bytes(data)
