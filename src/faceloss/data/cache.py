"""Every image is decoded once, into a memory map that is found again by what it contains.

    CACHE/<digest>/pixels.u8     [N,size,size,3] uint8
    CACHE/<digest>/index.json    which images are in it, in order, and which were refused, why

The digest covers every file's bytes, name, identity, split and group, the preprocessing and the size: whatever changes,
another folder is used, so nothing in the cache can be stale. All files are therefore read and hashed at each start
(about a second for ten thousand crops); decoding, the slow part, is skipped.

A folder appears under its name only when complete (written aside, synced, renamed): killed or concurrent writers leave
at worst a ``tmp-`` folder, which is swept after a day.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from faceloss.data.decode import Unusable, decode, strict_warnings
from faceloss.data.entries import Entry, Source, silent
from faceloss.data.faces import Faces, Refused, digest
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.progress import Callback

_THREADS = max(1, min(4, os.cpu_count() or 1))  # Pillow decodes outside the interpreter lock
_WINDOW = 256  # decoded images that wait in memory for their turn


def cache_folder(cache: Path | None) -> Path:
    """The given folder, else $FACELOSS_CACHE, else $XDG_CACHE_HOME/faceloss, else ~/.cache/faceloss."""
    if cache is not None:
        return Path(cache)
    if given := os.environ.get("FACELOSS_CACHE"):
        return Path(given)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "faceloss"
    return Path("~/.cache/faceloss").expanduser()


def read_faces(source: Source, size: int, cache: Path | None = None, progress: Callback = silent) -> Faces:
    """Decode a source, or find it in the cache; raises BadInput if no image of it can be used."""
    if not 8 <= size <= 1024:
        raise BadInput(f"An image size of {size} pixels is not possible; give 8 to 1024.")
    hashed, refused = _hash_all(source.entries, progress)
    described = ((entry.file, entry.identity, entry.split, entry.group, sha) for entry, sha in hashed)
    key = digest(described, size)
    folder = cache_folder(cache) / key
    found = _open(folder, size, len(hashed))
    if found is None and hashed:
        _build(folder, hashed, size, progress)
        found = _open(folder, size, len(hashed))
    if found is None and hashed:
        raise CouldNotFinish(f"The cache {folder} could not be read back; delete it and start again.")
    pixels, kept, reasons = found or (np.zeros((0, size, size, 3), np.uint8), [], {})
    refused += [
        Refused(entry.file, reasons[row], entry.identity, entry.split)
        for row, (entry, _) in enumerate(hashed)
        if row in reasons
    ]
    ledger = tuple(sorted((*source.refused, *refused)))
    if not kept:
        raise BadInput(
            f"None of the {len(source.entries)} images of {source.name} can be used; "
            f"the first one, {ledger[0].file}: {ledger[0].reason}."
        )
    entries = [hashed[row][0] for row in kept]
    identities = tuple(sorted({entry.identity for entry in entries}))
    label = {identity: number for number, identity in enumerate(identities)}
    return Faces(
        name=source.name,
        pixels=pixels,
        labels=np.array([label[entry.identity] for entry in entries], dtype=np.int64),
        identities=identities,
        files=tuple(entry.file for entry in entries),
        splits=tuple(entry.split for entry in entries),
        groups=tuple(entry.group for entry in entries),
        hashes=tuple(hashed[row][1] for row in kept),
        refused=ledger,
        digest=key,
        generated=source.generated,
    )


def _hash_all(entries: tuple[Entry, ...], progress: Callback) -> tuple[list[tuple[Entry, str]], list[Refused]]:
    def work(entry: Entry) -> str | Refused:
        try:
            return hashlib.sha256(entry.read()).hexdigest()
        except FileNotFoundError:
            reason = "no such file"
        except (OSError, ValueError) as error:  # ValueError: a NUL character in a name
            reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        return Refused(entry.file, reason, entry.identity, entry.split)

    hashed: list[tuple[Entry, str]] = []
    refused: list[Refused] = []
    for entry, result in zip(entries, _in_order(work, entries), strict=True):
        if isinstance(result, str):
            hashed.append((entry, result))
        else:
            refused.append(result)
        progress("reading images", len(hashed) + len(refused), len(entries))
    return hashed, refused


Item = TypeVar("Item")
Result = TypeVar("Result")


def _in_order(work: Callable[[Item], Result], items: tuple[Item, ...]) -> Iterator[Result]:
    with ThreadPoolExecutor(_THREADS) as pool:
        rest = iter(items)
        while window := tuple(islice(rest, _WINDOW)):
            yield from pool.map(work, window)


def _open(folder: Path, size: int, images: int) -> tuple[npt.NDArray[np.uint8], list[int], dict[int, str]] | None:
    """(pixels, rows kept, reason by refused row) of a cache folder; None if there is none, or a damaged one."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        kept = [int(row) for row in index["kept"]]
        reasons = {int(row): str(reason) for row, reason in index["refused"].items()}
        shape = (len(kept), size, size, 3)
        if sorted([*kept, *reasons]) != list(range(images)):
            return None
        if (folder / "pixels.u8").stat().st_size != int(np.prod(shape)):
            return None
        if not kept:
            return np.zeros(shape, np.uint8), kept, reasons
        return np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r", shape=shape), kept, reasons
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _build(folder: Path, hashed: list[tuple[Entry, str]], size: int, progress: Callback) -> None:
    """Decode everything into ``folder``, which appears complete or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        aside = Path(tempfile.mkdtemp(prefix="tmp-", dir=folder.parent))
    except OSError as error:
        raise _stopped(folder.parent, error) from None
    try:
        _write(aside, hashed, size, progress)
        if folder.exists() and _open(folder, size, len(hashed)) is None:
            with suppress(FileNotFoundError):  # another writer may have done it first
                os.rename(folder, aside / "damaged")  # deleted below
        complete = aside / "complete"
        try:
            os.rename(complete, folder)
        except OSError:
            if _open(folder, size, len(hashed)) is None:  # not simply somebody who finished before us
                raise
    except OSError as error:
        raise _stopped(folder.parent, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(aside: Path, hashed: list[tuple[Entry, str]], size: int, progress: Callback) -> None:
    def work(item: tuple[Entry, str]) -> npt.NDArray[np.uint8] | str:
        entry, sha = item
        try:
            data = entry.read()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != sha:
            raise CouldNotFinish(f"{entry.file} changed while it was read; start again when nothing writes to it.")
        try:
            return decode(data, size)
        except Unusable as reason:
            return str(reason)

    kept: list[int] = []
    refused: dict[int, str] = {}
    complete = aside / "complete"
    complete.mkdir()
    # Written, not mapped: on a full disk write() fails with an error, a mapped page with a dead process.
    with open(complete / "pixels.u8", "wb") as file, strict_warnings():
        for row, result in enumerate(_in_order(work, tuple(hashed))):
            if isinstance(result, str):
                refused[row] = result
            else:
                kept.append(row)
                file.write(result.tobytes())
            progress("decoding images", row + 1, len(hashed))
        _sync(file.fileno(), file.flush)
    with open(complete / "index.json", "w", encoding="utf-8") as index:
        json.dump({"size": size, "kept": kept, "refused": refused}, index)
        _sync(index.fileno(), index.flush)


def _sync(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)


def _sweep(parent: Path) -> None:
    """Remove what killed writers left behind more than a day ago."""
    for left in parent.glob("tmp-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 86_400:
                shutil.rmtree(left, ignore_errors=True)


def _stopped(cache: Path, error: OSError) -> CouldNotFinish:
    return CouldNotFinish(
        f"The decoded images cannot be written to the cache {cache} ({error.strerror or error}); "
        "make room there, or name another folder with the environment variable FACELOSS_CACHE."
    )
