"""Write a set of faces anew: as a folder with an ``index.csv``, or as shards that WebDataset readers understand.

Image files are copied as they are, never encoded again; what is known of their preparation goes with them. The bytes
written depend on the images, their names and the options only: no times, owners or machine get in. A folder appears
under its name only when it is complete. Of generated faces its README says so (`faceloss.data.about`).
"""

import csv
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from faceloss.data.about import MARK
from faceloss.data.contract import NAME, Contract
from faceloss.data.entries import Entry, Source, is_image, silent
from faceloss.data.faces import Refused
from faceloss.data.keys import generator
from faceloss.errors import BadInput
from faceloss.files import could_not_write
from faceloss.progress import Callback


class Exported(NamedTuple):
    """What was written, and what had to be left out."""

    images: int
    identities: int
    shards: int  # 0 for a folder
    refused: tuple[Refused, ...]


def export_folder(
    source: Source, out: Path, progress: Callback = silent, *, contract: Contract | None = None
) -> Exported:
    """``OUT/identity/00000.jpg`` and ``OUT/index.csv``, which keeps identity, split, group and the name it had before.

    Characters that some file system forbids become ``_`` in the names of folders; the index has the identity as it is.
    """
    names = folder_names(sorted({entry.identity for entry in source.entries}))
    grouped = any(entry.group for entry in source.entries)
    refused = list(source.refused)

    def write(aside: Path) -> tuple[int, int]:
        counts: dict[str, int] = {}
        table = io.StringIO(newline="")
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["file", "identity", "split", *["group"] * grouped, "source"])
        for entry, data, ending in _readable(source.entries, refused, progress):
            number = counts.setdefault(entry.identity, 0)
            counts[entry.identity] += 1
            place = f"{names[entry.identity]}/{number:05d}{ending}"
            (aside / place).parent.mkdir(exist_ok=True)
            (aside / place).write_bytes(data)
            rows.writerow([place, entry.identity, entry.split, *[entry.group] * grouped, entry.file])
        (aside / "index.csv").write_text(table.getvalue(), encoding="utf-8", newline="")
        _mark(aside, source)
        _write_contract(aside, contract)
        return sum(counts.values()), len(counts)

    images, identities = _complete(out, write)
    return Exported(images, identities, 0, tuple(refused))


def export_shards(
    source: Source,
    out: Path,
    *,
    per_shard: int = 10_000,
    seed: int = 0,
    progress: Callback = silent,
    contract: Contract | None = None,
) -> Exported:
    """``OUT/00000.tar``, ... with ``per_shard`` samples each: ``KEY.cls`` (class number), ``KEY.jpg``, ``KEY.json``.

    The images are shuffled, keyed by ``seed``: neighbors in a shard are near each other in a stream, and shards sorted
    by identity would give it batches of a few people. `open_source` puts them in the order of their files again.
    """
    if per_shard < 1:
        raise BadInput(f"Shards of {per_shard} images are not possible; give at least 1.")
    number = {identity: i for i, identity in enumerate(sorted({entry.identity for entry in source.entries}))}
    order = generator(seed, "export").permutation(len(source.entries)).tolist()
    refused = list(source.refused)

    def write(aside: Path) -> tuple[int, int, int]:
        written, shards, people = 0, 0, set()
        archive: tarfile.TarFile | None = None
        try:
            for entry, data, ending in _readable([source.entries[row] for row in order], refused, progress):
                if archive is None or written % per_shard == 0:
                    if archive is not None:
                        archive.close()
                    archive = tarfile.open(aside / f"{shards:05d}.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
                    shards += 1
                known = {"file": entry.file, "group": entry.group, "identity": entry.identity, "split": entry.split}
                told = json.dumps({name: value for name, value in known.items() if value}, ensure_ascii=False)
                parts = {".cls": str(number[entry.identity]).encode(), ending: data, ".json": told.encode()}
                for suffix, content in parts.items():
                    member = tarfile.TarInfo(f"{written:09d}{suffix}")
                    member.size, member.mode = len(content), 0o644
                    archive.addfile(member, io.BytesIO(content))
                written += 1
                people.add(entry.identity)
        finally:
            if archive is not None:
                archive.close()
        _mark(aside, source)
        _write_contract(aside, contract)
        return written, len(people), shards

    return Exported(*_complete(out, write), tuple(refused))


def _mark(folder: Path, source: Source) -> None:
    if source.generated:
        (folder / "README.txt").write_text(f"{MARK}\n", encoding="utf-8", newline="")


def _write_contract(folder: Path, contract: Contract | None) -> None:
    if contract is not None:
        text = json.dumps(contract, indent=1, ensure_ascii=False) + "\n"
        (folder / NAME).write_text(text, encoding="utf-8", newline="")


def folder_names(identities: list[str]) -> dict[str, str]:
    """A folder for each identity, different also where upper and lower case are the same.

    >>> folder_names(["Ann", "ann", "../b"])
    {'Ann': 'Ann', 'ann': 'ann_2', '../b': '_._b'}
    """
    taken: set[str] = set()
    names = {}
    for identity in identities:
        plain = re.sub(r'[/\\:*?"<>|\x00-\x1f\x7f]', "_", identity)
        plain = re.sub(r"^\.|[. ]$", "_", plain).encode()[:100].decode(errors="ignore") or "_"
        name, again = plain, 2
        while name.casefold() in taken:
            name, again = f"{plain}_{again}", again + 1
        taken.add(name.casefold())
        names[identity] = name
    return names


_SIGNATURES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\0\0\0\x0cjP", ".jp2"),
)


def _ending(entry: Entry, data: bytes) -> str:
    """By the first bytes (images in record files have no name), else by name; "" for what is no image."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    for signature, ending in _SIGNATURES:
        if data.startswith(signature):
            return ending
    return os.path.splitext(entry.file)[1].lower() if data and is_image(entry.file) else ""


def _readable(
    entries: Sequence[Entry], refused: list[Refused], progress: Callback
) -> Iterator[tuple[Entry, bytes, str]]:
    for done, entry in enumerate(entries, 1):
        try:
            data = entry.read()
            ending = _ending(entry, data)
            if ending:
                yield entry, data, ending
            else:
                refused.append(Refused(entry.file, "not an image", entry.identity, entry.split))
        except (OSError, ValueError) as error:
            reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
            refused.append(Refused(entry.file, reason, entry.identity, entry.split))
        progress("copying images", done, len(entries))


Result = TypeVar("Result", bound=tuple[int, ...])


def _complete(out: Path, write: Callable[[Path], Result]) -> Result:
    """Let ``write`` fill a folder beside ``out`` and rename it; raises CouldNotFinish if the disk does not take it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists already and is not empty; name a new folder.")
    aside: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        result = write(aside)
        if result[0] == 0:
            raise BadInput("None of the images can be read; nothing was written.")
        os.chmod(aside, 0o755)
        os.rename(aside, out)
        return result
    except OSError as error:
        raise could_not_write(out, error) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
