"""Tensors as safetensors, everything else as JSON; written so that a crash or a full disk loses nothing.

A checkpoint is the files of its tensors and ``NAME.json``, which holds the bookkeeping and those files' names and
SHA-256, and is replaced in one rename. Until that rename the old checkpoint is the valid one, so there is no moment at
which none is.

One process writes one file. Several write one each into a folder, through ``torch.distributed.checkpoint``: rows of the
classes that a process holds are in its file, with their place among all, and all else is in that of process 0.
Either is read by any number of processes.
"""

import hashlib
import json
import secrets
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from faceloss.errors import CouldNotFinish
from faceloss.files import could_not_write, read_shared, write_atomically
from faceloss.losses.shards import Shards
from faceloss.train.ranks import ONE, Ranks

Held = Mapping[str, Shards]  # names of tensors with rows by class, or what their names begin with -> of which classes


def save(
    folder: Path,
    name: str,
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    held: Held | None = None,
    ranks: Ranks = ONE,
) -> None:
    """Write the checkpoint ``name`` into ``folder``: ``tensors`` and the JSON-serializable ``facts``.

    All of ``ranks`` call it; ``facts`` are those of process 0, and so are tensors that are not in ``held``.
    """
    ready = {}
    for key, value in tensors.items():
        part, plain = _part(key, value.shape, held), value.detach().cpu().contiguous().clone()
        ready[key] = plain.view(part.high - part.low, -1, *plain.shape[1:]) if part else plain
    files = _save_one(folder, name, ready) if ranks.size == 1 else _save_parts(folder, name, ready, held, ranks)

    def replace() -> None:
        document = {"files": files, "facts": facts}
        write_atomically(folder / f"{name}.json", json.dumps(document, indent=1, sort_keys=True).encode())
        remove(folder, name, keep={Path(file).parts[0] for file in files} | {f"{name}.json"})

    ranks.alone(replace)


def load(
    folder: Path, name: str, held: Held | None = None, ranks: Ranks = ONE
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint ``name`` of ``folder``, or None when there is none; of tensors in ``held`` the rows held here.

    Raises:
        CouldNotFinish: a file is missing, was changed (SHA-256), or is not a checkpoint.
    """
    index = folder / f"{name}.json"
    document = ranks.alone(lambda: _document(index))
    if document is None:
        return None
    files: dict[str, str] = document["files"]
    ranks.each(lambda: _check(index, {file: files[file] for file in sorted(files)[ranks.rank :: ranks.size]}))
    from torch.distributed.checkpoint import load as load_parts  # type: ignore[attr-defined]  # takes a second

    reader = _reader(folder, list(files))
    read, parts = {}, {}
    for key, about in reader.read_metadata().state_dict_metadata.items():
        parts[key] = part = _part(key, about.size, held)
        rows = about.size if part is None else (part.high - part.low, *about.size[1:])
        empty = torch.empty(rows, dtype=about.properties.dtype)
        read[key] = empty if part is None else _spread(empty, part, ranks)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        load_parts(read, storage_reader=reader, no_dist=ranks.size == 1)
    local = {key: value.to_local() if hasattr(value, "to_local") else value for key, value in read.items()}
    return {key: value.flatten(0, 1) if parts[key] else value for key, value in local.items()}, document["facts"]


def remove(folder: Path, name: str, keep: set[str] | None = None) -> None:
    """Delete the files of the checkpoint ``name`` and of what was begun and not finished, but those in ``keep``."""
    for old in (*folder.glob(f"{name}-*"), folder / f"{name}.json"):
        if old.name in (keep or ()):
            continue
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)


def _save_one(folder: Path, name: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    content = tensors_to_bytes(tensors)
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:12]}.safetensors"
    write_atomically(folder / file, content)
    return {file: digest}


def _save_parts(folder: Path, name: str, tensors: dict[str, Tensor], held: Held | None, ranks: Ranks) -> dict[str, str]:
    from torch.distributed.checkpoint import HuggingFaceStorageWriter  # type: ignore[attr-defined]
    from torch.distributed.checkpoint import save as save_parts  # type: ignore[attr-defined]
    from torch.distributed.checkpoint.api import CheckpointException

    place = folder / ranks.alone(lambda: f"{name}-{secrets.token_hex(6)}")
    parts = {key: _part(key, value.shape, held) for key, value in tensors.items()}
    whole = {key: _spread(tensors[key], part, ranks) for key, part in parts.items() if part}
    if ranks.rank == 0:  # else torch takes each of these from whichever process has the least to write
        whole |= {key: value for key, value in tensors.items() if not parts[key]}
    try:
        save_parts(whole, storage_writer=HuggingFaceStorageWriter(str(place), save_distributed=True))
    except CheckpointException as failed:
        error = next(iter(failed.failures.values()))[0]
        raise could_not_write(place, error) if isinstance(error, OSError) else error from failed
    mine = f"shard-{ranks.rank + 1:05d}-*.safetensors"
    each = ranks.each(lambda: {f"{place.name}/{file.name}": _digest(file) for file in place.glob(mine)})
    files = {file: digest for found in each for file, digest in found.items()}
    if missing := [file for file in files if not (folder / file).exists()]:
        raise CouldNotFinish(f"{folder / missing[0]} cannot be seen by process {ranks.rank}; all need one shared disk.")
    return files


def _part(key: str, shape: Any, held: Held | None) -> Shards | None:
    """Which classes the rows of the tensor are of; None where they are of none."""
    found = (held or {}).get(key) or (held or {}).get(key.rpartition(".")[0])
    return found if len(shape) else None  # the step of a moment has no rows


def _spread(local: Tensor, part: Shards, ranks: Ranks) -> Tensor:
    """``local``, the rows held here, as a part of the rows of all classes."""
    if ranks.size == 1:
        return local
    from torch.distributed.tensor import DTensor, Shard

    shape = torch.Size((part.classes, *local.shape[1:]))
    return DTensor.from_local(local, ranks.mesh, [Shard(0)], run_check=False, shape=shape, stride=local.stride())


def _document(index: Path) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(read_shared(index))
        files, _ = document["files"], document["facts"]
        if not files or any(Path(file).is_absolute() or ".." in Path(file).parts for file in files):
            raise ValueError("it names files elsewhere")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(index, f"{type(error).__name__}: {error}") from error
    return document


def _check(index: Path, files: dict[str, str]) -> None:
    for file, expected in files.items():
        try:
            digest = _digest(index.parent / file)
        except OSError as error:
            raise _damaged(index, f"{type(error).__name__}: {error}") from error
        if digest != expected:
            raise _damaged(index, "its tensors are not those that were saved: SHA-256 differs")


def _digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _damaged(index: Path, why: str) -> CouldNotFinish:
    return CouldNotFinish(
        f"The checkpoint {index} is damaged ({why}); delete that file to start this run again from its beginning."
    )


def _reader(folder: Path, files: list[str]) -> Any:
    """A reader of these ``files`` of ``folder`` and of no others that may be there."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader  # type: ignore[attr-defined]
    from torch.distributed.checkpoint.filesystem import FileSystem

    class These(FileSystem):
        def ls(self, path: Any) -> list[str]:
            return [str(folder / file) for file in files]

    reader = HuggingFaceStorageReader(str(folder))
    reader.fs = These()
    return reader
