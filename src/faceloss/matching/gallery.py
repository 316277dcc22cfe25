"""The vectors that probes are searched in: in memory, in a file, or prepared in a folder for many searches.

A gallery need not fit into memory: it is gone through in chunks, each read once. A prepared gallery holds the int8
numbers, too, which are a quarter of the bytes; of the float32 vectors only those of pairs near a decision are read.

    folder/vectors.npy   [N,D] float32 of unit length
    folder/values.npy    [n,d] int8, padded with zeros to multiples of 64
    folder/bounds.npy    [3,n] float64: size, length, residual
    folder/gallery.json  count, dim, scale, turned

With P probes a search takes max(bytes / reading rate, 2 P N D / product rate): one that reads 1 GB/s at 400 G int8
operations a second is bound by its products from 200 probes on.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from faceloss.errors import BadInput
from faceloss.matching.screen import GROUP, Screened, Side, best_scale, screened, side
from faceloss.matching.vectors import checked, mapped, unit
from faceloss.matching.workers import Arrays

Progress = Callable[[str, int, int], None]

CHUNK = 16384  # vectors at a time


@dataclass(frozen=True)
class Gallery:
    """Where vectors come from, chunk by chunk."""

    vectors: Tensor  # [N,D] float32, maybe mapped from a file
    normalized: bool  # of length 1 already
    prepared: Side | None = None  # int8, in the order of the vectors
    path: Path | None = None  # where another process finds it

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.vectors)

    def ranges(self, edges: tuple[int, ...] = ()) -> list[tuple[int, int]]:
        """(start, stop) of the chunks; none reaches over one of the ``edges``."""
        cuts = sorted({*range(0, len(self), CHUNK), *(edge for edge in edges if 0 < edge < len(self)), len(self)})
        return list(itertools.pairwise(cuts))

    def unit(self, rows: slice | Tensor) -> Tensor:
        """[.,D] float32 of length 1."""
        return (checked if self.normalized else unit)(self.vectors[rows], "gallery vectors")

    def scaled(self, kind: str) -> tuple[float, bool]:
        """The scale of int8 values, and whether they are turned."""
        if self.prepared is not None:
            return self.prepared.scale, self.prepared.turned
        if kind != "int8":
            return 1.0, False
        some = unit(self.vectors[:: max(1, len(self) // 1024)][:1024], "gallery vectors")
        return best_scale(some, levels=(1.0,))  # clipped ones would spoil the bound of their group

    def chunk(self, start: int, stop: int, kind: str, scaled: tuple[float, bool] | None, device: str) -> Screened:
        """The vectors from ``start`` to ``stop``; ``origin`` counts from ``start``."""
        if self.prepared is not None and kind == "int8" and start % GROUP == 0:
            part = self.prepared.part(slice(start, stop + -stop % GROUP))
            origin = torch.arange(len(part.values), device=device)
            origin = torch.where(origin < stop - start, origin, -1)
            return Screened(part.to(device), origin, self.vectors[start:stop].to(device), True)
        rows = self.vectors[start:stop] if self.normalized else self.unit(slice(start, stop))
        made = screened(kind, rows.to(device).float(), scaled, sort=False)  # they may be of half precision
        size = made.side.size[made.origin >= 0]
        if not bool(((size > 0) & torch.isfinite(size)).all()):
            self.unit(slice(start, stop))  # says what is wrong
        return made


def gallery(vectors: ArrayLike | Tensor | Gallery, *, normalized: bool = False) -> Gallery:
    """Vectors [N,D] in memory (or mapped by the caller) as a gallery; ``normalized`` says that they have length 1."""
    if isinstance(vectors, Gallery):
        return vectors
    x = vectors if isinstance(vectors, Tensor) else torch.from_numpy(np.asarray(vectors))
    if x.ndim != 2 or not x.numel():
        raise BadInput(f"The gallery has shape {tuple(x.shape)}; give a row of numbers per image.")
    return Gallery(x, normalized)


def quantized(vectors: ArrayLike | Tensor | Gallery) -> Gallery:
    """A gallery in memory with its int8 numbers made beforehand: a quarter more memory, for more than one search."""
    source = gallery(vectors)
    x = (checked if source.normalized else unit)(source.vectors, "gallery vectors")
    return Gallery(x, True, side("int8", x, gallery(x, normalized=True).scaled("int8")))


def open_gallery(path: str | Path) -> Gallery:
    """The embeddings of an .npy file, or a folder written by ``prepare``; nothing is read yet."""
    path = Path(path)
    if path.suffix == ".npy":
        return replace(gallery(mapped(path)), path=path)
    try:
        facts = json.loads((path / "gallery.json").read_text())
        scale, turned = float(facts["scale"]), bool(facts["turned"])
        count, dim = int(facts["count"]), int(facts["dim"])
    except (OSError, ValueError, KeyError, TypeError) as reason:
        raise BadInput(f"{path} is no prepared gallery ({reason}); give an .npy file, or prepare it anew.") from None
    vectors, values, bounds = (mapped(path / f"{name}.npy") for name in ("vectors", "values", "bounds"))
    rows = count + -count % GROUP
    shapes = (tuple(vectors.shape), tuple(values.shape), tuple(bounds.shape))
    wanted = ((count, dim), (rows, dim + -dim % GROUP), (3, rows))
    if shapes != wanted:
        raise BadInput(f"The arrays in {path} have shapes {shapes} instead of {wanted}; prepare the gallery anew.")
    return Gallery(vectors, True, Side("int8", values, scale, turned, bounds[0], bounds[1], bounds[2]), path)


def prepare(
    parts: Iterator[ArrayLike], count: int, dim: int, folder: str | Path, progress: Progress | None = None
) -> Gallery:
    """Write a gallery of ``count`` vectors of ``dim`` numbers, which come in ``parts`` [.,dim] of any length, raw or
    unit, to ``folder``; 5 bytes a number, one chunk in memory."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gallery.json").unlink(missing_ok=True)  # whole only when this is there again
    rows, width = count + -count % GROUP, dim + -dim % GROUP

    def array(name: str, dtype: type, shape: tuple[int, ...]) -> np.memmap:
        return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)

    vectors, values = array("vectors", np.float32, (count, dim)), array("values", np.int8, (rows, width))
    bounds = array("bounds", np.float64, (3, rows))
    scaled: tuple[float, bool] | None = None
    start = 0
    for x in _rechunked(parts, dim):
        stop = start + len(x)
        if stop > count:
            raise BadInput(f"The gallery was to hold {count:,} vectors, and more came; give the right number.")
        scaled = scaled or gallery(x, normalized=True).scaled("int8")
        made = side("int8", x, scaled)
        there = slice(start, start + len(made.values))
        vectors[start:stop], values[there] = x.numpy(), made.values.numpy()
        bounds[:, there] = torch.stack([made.size, made.length, made.residual]).numpy()
        start = stop
        if progress is not None:
            progress("gallery", start, count)
    if start != count or scaled is None:
        raise BadInput(f"The gallery was to hold {count:,} vectors, only {start:,} came; give the right number.")
    for written in (vectors, values, bounds):
        written.flush()
    facts = {"count": count, "dim": dim, "scale": scaled[0], "turned": scaled[1]}
    (folder / "gallery.json").write_text(json.dumps(facts))
    return open_gallery(folder)


def _rechunked(parts: Iterator[ArrayLike], dim: int) -> Iterator[Tensor]:
    """The vectors of ``parts`` at length 1, CHUNK at a time."""
    held: list[Tensor] = []
    for part in parts:
        held.append(unit(part, "gallery vectors", dim))
        while sum(map(len, held)) >= CHUNK:
            joined = torch.cat(held)
            yield joined[:CHUNK]
            held = [joined[CHUNK:]] if len(joined) > CHUNK else []
    if held:
        yield torch.cat(held)


class Source(NamedTuple):
    """What a task needs to open a gallery, maybe in another process."""

    path: Path | None
    normalized: bool
    made: tuple[float, bool] | None  # scale and turn of int8 numbers that came with it


def shared(source: Gallery, arrays: Arrays) -> Source:
    """A gallery in memory goes into ``arrays``."""
    if source.path is not None:
        return Source(source.path, source.normalized, None)
    arrays["gallery"] = source.vectors
    if source.prepared is None:
        return Source(None, source.normalized, None)
    _, values, scale, turned, size, length, residual = source.prepared
    arrays |= {"gallery.values": values, "gallery.bounds": torch.stack([size, length, residual])}
    return Source(None, True, (scale, turned))


def opened(arrays: Arrays, source: Source) -> Gallery:
    """The gallery of :func:`shared`."""
    if source.path is not None:
        return open_gallery(source.path)
    if source.made is None:
        return gallery(arrays["gallery"], normalized=source.normalized)
    bounds = arrays["gallery.bounds"]
    made = Side("int8", arrays["gallery.values"], *source.made, bounds[0], bounds[1], bounds[2])
    return Gallery(arrays["gallery"], True, made)
