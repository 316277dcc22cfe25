"""Every image is decoded once, into a memory map that is found again by what it contains.

    CACHE/<digest>/pixels.u8     [N,size,size,3] uint8
    CACHE/<digest>/index.json    which images are in it, in order, and which were refused, why
    CACHE/<digest>/prints-1.u64  [N] perceptual hash of each (`faceloss.data.duplicates`), by version: from when they
                                 were first asked for, which is where sets are compared

The digest covers every file's bytes, name, identity, split and group, the preprocessing and the size: whatever changes,
another folder is used, so nothing in the cache can be stale. All files are therefore read and hashed at each start
(about a second for ten thousand crops); decoding, the slow part, is skipped.

Of a set that is streamed, ``CACHE/<digest>-stream`` holds all but the pixels: each image is decoded once, to see that
it can be, and then again whenever it is asked for (`faceloss.data.encoded`). It is hashed on that occasion, because to
decode it anew for that would take four times as long.

A folder appears under its name only when complete (written aside, synced, renamed): killed or concurrent writers leave
at worst a ``tmp-`` folder, which is swept after a day.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from faceloss.data.decode import Unusable, decode, strict_warnings
from faceloss.data.duplicates import PRINTS, prints, prints_in_blocks
from faceloss.data.encoded import Encoded
from faceloss.data.entries import Entry, Source, silent
from faceloss.data.faces import Faces, Prints, Refused, Rows, digest
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.files import write_atomically
from faceloss.progress import Callback

_THREADS = max(1, min(4, os.cpu_count() or 1))  # Pillow decodes outside the interpreter lock
_WINDOW = 256  # decoded images that wait in memory for their turn
_PRINTS = f"prints-{PRINTS}.u64"


def cache_folder(cache: Path | None) -> Path:
    """The given folder, else $FACELOSS_CACHE, else $XDG_CACHE_HOME/faceloss, else ~/.cache/faceloss."""
    if cache is not None:
        return Path(cache)
    if given := os.environ.get("FACELOSS_CACHE"):
        return Path(given)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "faceloss"
    return Path("~/.cache/faceloss").expanduser()


class _Held(NamedTuple):
    """What a folder of the cache holds of the entries of a source."""

    pixels: npt.NDArray[np.uint8] | None  # None: they are streamed
    kept: list[int]  # rows
    reasons: dict[int, str]  # by refused row


class _KeptPrints:
    """The perceptual hashes of all images of a folder: those kept there, else computed and from now on kept."""

    def __init__(self, folder: Path, pixels: npt.NDArray[np.uint8] | Rows) -> None:
        self._folder, self._pixels = folder, pixels
        self._found: npt.NDArray[np.uint64] | None = None

    def __call__(self, progress: Callback) -> npt.NDArray[np.uint64]:
        if self._found is None:
            self._found = _open_prints(self._folder, len(self._pixels))
        if self._found is None:
            self._found = prints_in_blocks(self._pixels, progress)
            with suppress(OSError, CouldNotFinish):  # it only costs time to have none
                write_atomically(self._folder / _PRINTS, self._found.tobytes())
        return self._found


def read_faces(
    source: Source, size: int, cache: Path | None = None, progress: Callback = silent, *, stream: bool = False
) -> Faces:
    """Decode a source, or find it in the cache; raises BadInput if no image of it can be used.

    With ``stream``, no decoded image is kept: ``pixels`` decodes those that are asked for.
    """
    if not 8 <= size <= 1024:
        raise BadInput(f"An image size of {size} pixels is not possible; give 8 to 1024.")
    hashed, refused = _hash_all(source.entries, progress)
    described = ((entry.file, entry.identity, entry.split, entry.group, sha) for entry, sha in hashed)
    key = digest(described, size)
    folder = cache_folder(cache) / (f"{key}-stream" if stream else key)
    found = _open(folder, size, len(hashed), stream)
    if found is None and hashed:
        _build(folder, hashed, size, stream, progress)
        found = _open(folder, size, len(hashed), stream)
    if found is None and hashed:
        raise CouldNotFinish(f"The cache {folder} could not be read back; delete it and start again.")
    _, kept, reasons = found or (None, [], {})
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
    assert found is not None
    entries, hashes = [hashed[row][0] for row in kept], tuple(hashed[row][1] for row in kept)
    pixels = _streamed(entries, hashes, size) if found.pixels is None else found.pixels
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
        hashes=hashes,
        refused=ledger,
        digest=key,
        generated=source.generated,
        prints=Prints(_KeptPrints(folder, pixels), np.arange(len(kept))),
    )


def _streamed(entries: list[Entry], hashes: tuple[str, ...], size: int) -> Rows:
    warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks about odd files, which were looked at before
    shards = np.array([entry.place[0] for entry in entries], dtype=np.int64)
    return Rows(Encoded(tuple(entries), hashes, size, shards), np.arange(len(entries)))


def _hash_all(entries: tuple[Entry, ...], progress: Callback) -> tuple[list[tuple[Entry, str]], list[Refused]]:
    def work(entry: Entry) -> str | Refused:
        try:
            return hashlib.sha256(entry.read()).hexdigest()
        except FileNotFoundError:
            reason = "no such file"
        except (OSError, ValueError) as error:  # ValueError: a NUL character in a name
            reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        return Refused(entry.file, reason, entry.identity, entry.split)

    order = sorted(range(len(entries)), key=lambda row: entries[row].place)
    results: dict[int, str | Refused] = {}
    for row, result in zip(order, _in_order(work, [entries[row] for row in order]), strict=True):
        results[row] = result
        progress("reading images", len(results), len(entries))
    found = [(entry, results[row]) for row, entry in enumerate(entries)]
    hashed = [(entry, result) for entry, result in found if isinstance(result, str)]
    return hashed, [result for _, result in found if isinstance(result, Refused)]


Item = TypeVar("Item")
Result = TypeVar("Result")


def _in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    with ThreadPoolExecutor(_THREADS) as pool:
        rest = iter(items)
        while window := tuple(islice(rest, _WINDOW)):
            yield from pool.map(work, window)


def _open(folder: Path, size: int, images: int, stream: bool) -> _Held | None:
    """What a cache folder holds; None if there is none, or a damaged one."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        kept = [int(row) for row in index["kept"]]
        reasons = {int(row): str(reason) for row, reason in index["refused"].items()}
        shape = (len(kept), size, size, 3)
        if sorted([*kept, *reasons]) != list(range(images)):
            return None
        if stream:
            return _Held(None, kept, reasons)
        if (folder / "pixels.u8").stat().st_size != int(np.prod(shape)):
            return None
        if not kept:
            return _Held(np.zeros(shape, np.uint8), kept, reasons)
        pixels = np.memmap(folder / "pixels.u8", dtype=np.uint8, mode="r", shape=shape)
        return _Held(pixels, kept, reasons)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _open_prints(folder: Path, images: int) -> npt.NDArray[np.uint64] | None:
    try:
        found = np.fromfile(folder / _PRINTS, dtype=np.uint64)
    except OSError:
        return None
    return found if len(found) == images else None


def _build(folder: Path, hashed: list[tuple[Entry, str]], size: int, stream: bool, progress: Callback) -> None:
    """Decode everything into ``folder``, which appears complete or not at all."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        aside = Path(tempfile.mkdtemp(prefix="tmp-", dir=folder.parent))
    except OSError as error:
        raise _stopped(folder.parent, error) from None
    try:
        _write(aside, hashed, size, stream, progress)
        if folder.exists() and _open(folder, size, len(hashed), stream) is None:
            with suppress(FileNotFoundError):  # another writer may have done it first
                os.rename(folder, aside / "damaged")  # deleted below
        complete = aside / "complete"
        try:
            os.rename(complete, folder)
        except OSError:
            if _open(folder, size, len(hashed), stream) is None:  # not simply somebody who finished before us
                raise
    except OSError as error:
        raise _stopped(folder.parent, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(aside: Path, hashed: list[tuple[Entry, str]], size: int, stream: bool, progress: Callback) -> None:
    def work(item: tuple[Entry, str]) -> tuple[bytes, bytes] | str:
        entry, sha = item
        try:
            data = entry.read()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != sha:
            raise CouldNotFinish(f"{entry.file} changed while it was read; start again when nothing writes to it.")
        try:
            pixels = decode(data, size)
            return (b"", prints(pixels[None]).tobytes()) if stream else (pixels.tobytes(), b"")
        except Unusable as reason:
            return str(reason)

    kept: dict[int, bytes] = {}  # perceptual hashes by row, b"" where they are not wanted yet
    refused: dict[int, str] = {}
    complete = aside / "complete"
    complete.mkdir()
    order = sorted(range(len(hashed)), key=lambda row: hashed[row][0].place) if stream else range(len(hashed))
    # Written, not mapped: on a full disk write() fails with an error, a mapped page with a dead process.
    with open(complete / "pixels.u8", "wb") as file, strict_warnings():
        for row, result in zip(order, _in_order(work, [hashed[row] for row in order]), strict=True):
            if isinstance(result, str):
                refused[row] = result
            else:
                pixels, kept[row] = result
                file.write(pixels)
            progress("decoding images", len(kept) + len(refused), len(hashed))
        _sync(file.fileno(), file.flush)
    if stream:
        with open(complete / _PRINTS, "wb") as file:
            file.writelines(kept[row] for row in sorted(kept))
            _sync(file.fileno(), file.flush)
    with open(complete / "index.json", "w", encoding="utf-8") as index:
        json.dump({"size": size, "kept": sorted(kept), "refused": dict(sorted(refused.items()))}, index)
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
