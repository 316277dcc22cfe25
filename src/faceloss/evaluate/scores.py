"""Scores in and out: pairs that were compared elsewhere, as ``.csv`` or ``.npz``.

    label    1 of one person, 0 of two                       score    a number, higher for more alike
    first, second   who is on the two images (optional)      fold     whole number (optional)

In a ``.csv`` these are columns under a head line, in an ``.npz`` arrays of equal length.
"""

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceloss.errors import BadInput, unknown
from faceloss.evaluate.cells import Judged, pair_cosines
from faceloss.evaluate.protocols import judge_scores

COLUMNS = ("label", "score", "first", "second", "fold")
Table = dict[str, NDArray[Any]]


def read_scores(path: str | Path) -> Table:
    """The columns of a file of scores; raises BadInput with one sentence where it cannot be meant."""
    place = Path(path)
    table = _csv(place) if place.suffix.lower() == ".csv" else _npz(place)
    for name in ("label", "score"):
        if name not in table:
            raise BadInput(f"{place} holds no {name}; scores need the columns label (1 or 0) and score.")
    if ("first" in table) != ("second" in table):
        raise BadInput(f"{place} names one subject of each pair; give both, first and second, or neither.")
    sizes = {len(column) for column in table.values()}
    if len(sizes) > 1 or any(column.ndim != 1 for column in table.values()):
        raise BadInput(f"The columns of {place} differ in length ({sorted(sizes)}); give one value each per pair.")
    return table


def _npz(place: Path) -> Table:
    try:
        with open(place, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in COLUMNS if name in file}
    except FileNotFoundError:
        raise BadInput(f"There is no file {place}.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as reason:
        raise BadInput(f"{place} cannot be read as an .npz file of plain arrays ({reason}).") from None


def read_text(place: Path) -> str:
    """The text of a file in UTF-8; raises BadInput where there is none."""
    try:
        return place.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"There is no file {place}.") from None
    except (OSError, UnicodeDecodeError) as reason:
        raise BadInput(f"{place} cannot be read as text ({reason}).") from None


def _csv(place: Path) -> Table:
    rows = [row for row in csv.reader(io.StringIO(read_text(place))) if row]
    head = [name.strip() for name in rows[0]] if rows else []
    for name in head:
        if name not in COLUMNS:
            raise BadInput(f"{place}: {unknown('column of scores', name, COLUMNS)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise BadInput(f"{place}, row {number}: {len(row)} values under {len(head)} names of columns.")
    columns = {name: [row[k].strip() for row in rows[1:]] for k, name in enumerate(head)}
    table: Table = {name: np.array(values, dtype=np.str_) for name, values in columns.items()}
    for name, kind in (("label", np.int64), ("score", np.float64), ("fold", np.int64)):
        if name in table:
            try:
                table[name] = table[name].astype(kind)
            except ValueError:
                raise BadInput(f"{place}: the column {name} holds a value that is not a number.") from None
    return table


def judge_table(table: Table) -> Judged:
    """What :func:`faceloss.evaluate.protocols.judge_scores` says of the columns that :func:`read_scores` gave."""
    return judge_scores(table["score"], table["label"], table.get("first"), table.get("second"), table.get("fold"))


def scores_of(
    embeddings: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    same: ArrayLike,
    fold: ArrayLike | None = None,
    identities: ArrayLike | None = None,
) -> Table:
    """The table of a pair list: cosines in float64, with the subjects and folds that are known."""
    e = np.asarray(embeddings, dtype=np.float64)
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    a, b = np.asarray(first), np.asarray(second)
    table: Table = {"label": np.asarray(same).astype(np.int64), "score": pair_cosines(e, a, b)}
    if identities is not None:
        table |= {"first": np.asarray(identities)[a], "second": np.asarray(identities)[b]}
    return table if fold is None else table | {"fold": np.asarray(fold)}


def to_bytes(table: Table, ending: str) -> bytes:
    """The content of a ``.csv`` or ``.npz`` file; numbers so that they read back to the bit."""
    if ending == ".npz":
        archive = io.BytesIO()
        np.savez(archive, **table)  # type: ignore[arg-type]
        return archive.getvalue()
    if ending != ".csv":
        raise BadInput(f"Scores are written as .csv or .npz, not as '{ending}'.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    return text.getvalue().encode()
