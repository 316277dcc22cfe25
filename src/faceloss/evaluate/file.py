"""Judge a file of embeddings, or of scores, made anywhere."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.cells import Measured
from faceloss.evaluate.protocol import ARRAYS, Outcome, Protocol, judge_protocol, load_protocol
from faceloss.evaluate.scores import COLUMNS, judge_table, read_scores
from faceloss.evaluate.twins import twin

Array = NDArray[Any]
BUILTIN = "builtin"


class Input(NamedTuple):
    """What a file holds: arrays to be judged, or the columns of scores."""

    arrays: dict[str, Array]
    scores: dict[str, Array]

    def digests(self, protocol: Protocol | None) -> tuple[str, str]:
        """SHA-256 of the test, everything but embeddings and scores, and of what is judged on it."""
        own = {name: array for name, array in {**self.arrays, **self.scores}.items() if name in ("embeddings", "score")}
        rest = {name: array for name, array in {**self.arrays, **self.scores}.items() if name not in own}
        test = _digest(rest | (protocol.lists if protocol else {}))
        return test, _digest(own)


def _digest(arrays: dict[str, Array]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def read_input(path: str | Path, protocol: Protocol | None = None) -> Input:
    """The arrays of ``path``: an ``.npz`` with ``embeddings`` and what belongs to them, an ``.npy`` of embeddings, a
    ``.csv`` or ``.npz`` of scores (:mod:`faceloss.evaluate.scores`), or the word ``builtin`` for the protocol's twin.
    """
    if str(path) == BUILTIN:
        if protocol is None or protocol.lists:
            raise BadInput(
                "builtin is the generated twin of a protocol; name one that comes with faceloss: --protocol."
            )
        return Input(twin(protocol.name), {})
    place = Path(path)
    if place.suffix.lower() == ".csv":
        return Input({}, read_scores(place))
    try:
        with open(place, "rb") as raw:
            held = np.load(raw, allow_pickle=False)
            if isinstance(held, np.ndarray):
                arrays = {"embeddings": held}
            else:
                with held:
                    arrays = {name: held[name] for name in (*ARRAYS, *COLUMNS) if name in held}
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}; give an .npz file with arrays embeddings and identities.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as reason:
        raise BadInput(
            f"{path} cannot be read as an .npz file of plain arrays ({reason}); write it with numpy.savez."
        ) from None
    if "embeddings" not in arrays and {"label", "score"} & arrays.keys():
        return Input({}, read_scores(place))
    if "embeddings" not in arrays:
        raise BadInput(f"{path} holds no array named embeddings; it needs embeddings [N, D] and identities [N].")
    arrays = {name: array for name, array in arrays.items() if name in ARRAYS}
    if "identities" not in arrays and protocol is None:
        raise BadInput(f"{path} holds no array named identities; it needs embeddings [N, D] and identities [N].")
    return Input(arrays, {})


def judge_input(
    given: Input,
    protocol: Protocol | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    fars: Sequence[float] | None = None,
    workers: int = 1,
) -> Outcome:
    """The outcome of ``protocol``, or without one of all that fit: the pair list where there is one, every pair of the
    set, leave-one-out ranks, and groups where images have one."""
    if given.scores:
        if protocol is not None and protocol.kind != "pairs":
            raise BadInput(
                f"Scores without embeddings are judged as pairs; the protocol {protocol.name} needs embeddings."
            )
        judged = judge_table(given.scores)
        return Outcome(judged.rows, judged=(judged,))
    if protocol is not None:
        return judge_protocol(protocol, given.arrays, progress, fars=fars, workers=workers)
    fitting = ["lfw"] if "pairs" in given.arrays else []
    fitting += ["cross-matrix", "rank"]
    fitting += ["groups"] if np.unique(given.arrays.get("groups", "")).size > 1 else []
    parts = [
        judge_protocol(load_protocol(name), given.arrays, progress, fars=fars, workers=workers) for name in fitting
    ]
    return Outcome(
        tuple(row for part in parts for row in part.rows),
        tuple(row for part in parts for row in part.groups),
        tuple(curve for part in parts for curve in part.curves),
        tuple(judged for part in parts for judged in part.judged),
    )


def evaluate_file(
    path: str | Path,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    fars: Sequence[float] | None = None,
    workers: int = 1,
) -> list[Measured]:
    """Measured rows of an ``.npz`` with ``embeddings`` [N,D], ``identities`` [N] (strings or integers) and optionally
    ``pairs``.

    ``pairs`` is [M,2] (same follows from the identities), [M,3] (with the same-flag) or [M,4] (with the fold). Every
    pair of the set and leave-one-out ranks are judged always, the pair list where there is one. ``fars`` asks for TAR
    at these FARs alone, which is much faster on large sets; up to ``workers`` processes share what takes long.
    """
    return list(judge_input(read_input(path), None, progress, fars=fars, workers=workers).rows)


def repeated(embeddings: Array, identities: Array | None) -> str:
    """A sentence on embeddings that are equal to the bit, or ""."""
    rows = np.ascontiguousarray(embeddings)
    if rows.ndim != 2 or not rows.size:
        return ""
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    many = int(len(rows) - counts.size)
    if not many:
        return ""
    text = f"{many:,} of {len(rows):,} embeddings repeat another one to the bit"
    if identities is not None and identities.shape == (len(rows),):
        people = np.unique(np.stack([place.ravel(), np.unique(identities, return_inverse=True)[1].ravel()]), axis=1)
        across = int(np.count_nonzero(np.bincount(people[0]) > 1))
        text += f"; {across:,} of them are shared by two identities" if across else ", all within one identity"
    return f"{text}: the same image twice makes every number look surer, and mostly better, than it is."
