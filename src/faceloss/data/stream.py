"""Shards as a stream: for sets that are larger than memory and cache, one decoded image after the other.

Only an index is in memory, about 24 bytes for each image. An epoch is a fixed order that depends on (seed, epoch): the
shards are shuffled, taken a few at a time (a window), and the images of a window are shuffled among each other, so that
no more than a window of files is read at once and no image is ever skipped over. A place in the order is therefore
enough to go on from, on as many ranks as there are then.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from faceloss.data.decode import Unusable, decode, strict_warnings
from faceloss.data.entries import silent
from faceloss.data.faces import Refused
from faceloss.data.keys import generator
from faceloss.data.shards import pad, samples
from faceloss.data.tar import read_range
from faceloss.errors import BadInput
from faceloss.progress import Callback

_AHEAD = 128  # images that are decoded before they are asked for
_THREADS = 4  # Pillow decodes outside the interpreter lock


@dataclass(frozen=True, eq=False)
class Index:
    """Where the N images of some shards are, shard after shard, and who is shown in them."""

    shards: tuple[Path, ...]
    first: npt.NDArray[np.int64]  # [shards + 1] number of the first image of each shard; the last one is N
    offset: npt.NDArray[np.int64]  # [N] bytes
    size: npt.NDArray[np.int64]  # [N] bytes
    labels: npt.NDArray[np.int64]  # [N] index into identities
    identities: tuple[str, ...]
    refused: tuple[Refused, ...]

    def __len__(self) -> int:
        return len(self.labels)


class Streamed(NamedTuple):
    """One image of a stream."""

    place: int  # in the order of the epoch; ``start=place + 1`` goes on behind it
    number: int  # in the index
    label: int
    pixels: npt.NDArray[np.uint8] | None  # [size,size,3] RGB; None where the image cannot be used
    reason: str  # why it cannot, else ""


def index_shards(shards: Sequence[Path], progress: Callback = silent) -> Index:
    """Read the tables of contents and the labels of all shards; no image is read.

    Raises BadInput if a shard is cut or no archive, or none holds a labeled image.
    """
    refused: list[Refused] = []
    names: dict[str, int] = {}
    first, parts = [0], []
    for done, path in enumerate(shards, 1):
        found = [
            (sample.offset, sample.size, names.setdefault(sample.identity, len(names)))
            for sample in samples(path, refused, prefix=f"{path.stem}/")
        ]
        parts.append(np.array(found, dtype=np.int64).reshape(-1, 3))
        first.append(first[-1] + len(found))
        progress("reading shards", done, len(shards))
    if not names:
        raise BadInput(
            f"None of the {len(shards)} shards holds a labeled image; each KEY.jpg needs KEY.cls or KEY.json."
        )
    padded = pad(set(names))
    identities = sorted(padded.values())
    rank = {name: label for label, name in enumerate(identities)}
    relabel = np.array([rank[padded[name]] for name in names], dtype=np.int64)  # names are in order of appearance
    table = np.concatenate(parts)
    return Index(
        shards=tuple(shards),
        first=np.array(first, dtype=np.int64),
        offset=table[:, 0].copy(),
        size=table[:, 1].copy(),
        labels=relabel[table[:, 2]],
        identities=tuple(identities),
        refused=tuple(refused),
    )


def windows(index: Index, *, seed: int, epoch: int, window: int = 8) -> Iterator[npt.NDArray[np.int64]]:
    """The numbers of all N images in the order of an epoch, cut at the windows of ``window`` shards."""
    if window < 1:
        raise BadInput(f"A window of {window} shards is not possible; give at least 1.")
    shards = generator(seed, epoch, "shards").permutation(len(index.shards))
    for start in range(0, len(shards), window):
        inside = [np.arange(index.first[s], index.first[s + 1]) for s in shards[start : start + window].tolist()]
        yield generator(seed, epoch, "window", start).permutation(np.concatenate(inside))


def stream(
    index: Index,
    *,
    size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    window: int = 8,
) -> Iterator[Streamed]:
    """The images of one epoch for one of ``world`` ranks, decoded to ``size`` pixels, from place ``start`` on.

    Rank r gets the places start + r, start + r + world, ...; all ranks get the same number of images, so up to
    world - 1 images at the end of an epoch are not shown. Taken together, the places of all ranks are the same
    whatever ``world`` is, and a stream that goes on at a multiple of ``world`` is the one that was not interrupted.
    An image that cannot be used keeps its place (``pixels`` is None), so that the ranks stay in step.
    """
    if not (0 <= rank < world and 0 <= start <= len(index)):
        raise BadInput(
            f"Rank {rank} of {world} from place {start} on is not possible; there are {len(index)} images, "
            "and ranks count from 0."
        )
    end = start + (len(index) - start) // world * world
    with ThreadPoolExecutor(_THREADS) as pool:
        for places, numbers in _chunks(index, start + rank, end, world, seed, epoch, window):
            with strict_warnings():  # around whole chunks: these settings belong to the process, not to a generator
                done = list(pool.map(lambda number: _decode(index, number, size), numbers))
            for place, number, (pixels, reason) in zip(places, numbers, done, strict=True):
                yield Streamed(place, number, int(index.labels[number]), pixels, reason)


def _chunks(
    index: Index, start: int, end: int, step: int, seed: int, epoch: int, window: int
) -> Iterator[tuple[list[int], list[int]]]:
    """(places, numbers) of every ``step``-th image from ``start`` to ``end``, a few at a time."""
    base = 0
    for order in windows(index, seed=seed, epoch=epoch, window=window):
        behind = max(start - base, (start - base) % step)  # the first of our places that is in this window
        places = np.arange(base + behind, min(base + len(order), end), step)
        for cut in range(0, len(places), _AHEAD):
            chunk = places[cut : cut + _AHEAD]
            yield chunk.tolist(), order[chunk - base].tolist()
        base += len(order)


def _decode(index: Index, number: int, size: int) -> tuple[npt.NDArray[np.uint8] | None, str]:
    shard = int(np.searchsorted(index.first, number, side="right")) - 1
    try:
        data = read_range(str(index.shards[shard]), int(index.offset[number]), int(index.size[number]))
        return decode(data, size), ""
    except Unusable as reason:
        return None, str(reason)
    except OSError as error:
        return None, f"cannot be read ({error.strerror or error})"
