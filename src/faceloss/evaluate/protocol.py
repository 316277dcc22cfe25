"""A protocol is a small data file and a pure function.

The file (TOML) names the ``kind`` of comparison, its ``settings`` and, where a benchmark comes with lists, the
``files`` that hold them, each with its SHA-256, so that nobody is judged on other lists under the same name::

    title = "IJB-C 1:1"
    kind = "templates"

    [files.templates]                       # the name of the array: [N] or [M, ...], in the order of the embeddings
    path = "ijbc_face_tid_mid.txt"          # .npy, or text with columns between spaces or commas
    sha256 = "..."                          # 64 digits
    columns = [1]                           # which columns, from 0; all of them where nothing is said
    skip = 0                                # lines of a head

The function is that of the kind; it takes arrays and gives rows. Those that come with faceloss are in
``definitions``, and each has a generated twin (:mod:`faceloss.evaluate.twins`).
"""

import hashlib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.errors import BadInput, unknown
from faceloss.evaluate.cells import Judged, Measured, Progress, codes
from faceloss.evaluate.distractors import judge_distractors
from faceloss.evaluate.groups import MOST_GROUPS, GroupRate, judge_groups
from faceloss.evaluate.linear import hold_out
from faceloss.evaluate.openset import OpenSetCurve, judge_open_set
from faceloss.evaluate.pair_groups import judge_pair_groups, judge_pairs_by_group
from faceloss.evaluate.protocols import judge_closed_set, judge_matrix, judge_pairs, judge_rank
from faceloss.evaluate.robustness import Condition, Pairs, judge_robustness
from faceloss.evaluate.templates import judge_templates

Array = NDArray[Any]
Arrays = Mapping[str, Array]

ARRAYS = ("embeddings", "identities", "pairs", "groups", "roles", "templates", "media", "comparisons", "corrupted",
          "conditions")  # fmt: skip
PAIR_COLUMNS = {2: "two images", 3: "two images and same (0/1)", 4: "two images, same (0/1) and fold"}
DEFINITIONS = Path(__file__).parent / "definitions"


class Outcome(NamedTuple):
    """What a protocol found; the parts that it does not have are empty."""

    rows: tuple[Measured, ...] = ()
    groups: tuple[GroupRate, ...] = ()
    curves: tuple[OpenSetCurve, ...] = ()
    judged: tuple[Judged, ...] = ()  # with DET and histograms


class Protocol(NamedTuple):
    name: str
    title: str
    source: str
    kind: str
    needs: tuple[str, ...]
    settings: dict[str, Any]
    lists: dict[str, Array]  # arrays from the files it refers to
    hashes: dict[str, str]  # SHA-256 of these files


def pair_list(arrays: Arrays) -> tuple[Array, Array, Array, Array | None]:
    """first, second, same and fold of the array ``pairs``."""
    pairs, identities = arrays["pairs"], arrays.get("identities")
    if pairs.ndim != 2 or pairs.shape[1] not in PAIR_COLUMNS or pairs.dtype.kind not in "iu" or not len(pairs):
        allowed = "; ".join(f"{n} columns ({what})" for n, what in PAIR_COLUMNS.items())
        raise BadInput(f"pairs has shape {pairs.shape} and type {pairs.dtype}; it needs whole numbers in {allowed}.")
    first, second = pairs[:, 0], pairs[:, 1]
    if pairs.shape[1] > 2:
        same = pairs[:, 2]
    elif identities is None:
        raise BadInput("Pairs without identities need a third column: 1 for one person, else 0.")
    else:
        inside = pairs.min() >= 0 and pairs.max() < len(identities)
        same = identities[first] == identities[second] if inside else np.zeros(len(pairs), dtype=bool)
    return first, second, same, pairs[:, 3] if pairs.shape[1] > 3 else None


def _pairs(arrays: Arrays, progress: Progress | None) -> Outcome:
    judged = judge_pairs(arrays["embeddings"], *pair_list(arrays), arrays.get("identities"))
    return Outcome(judged.rows, judged=(judged,))


def _pairs_by_group(arrays: Arrays, progress: Progress | None) -> Outcome:
    given = arrays["embeddings"], *pair_list(arrays), arrays["groups"], arrays.get("identities")
    rows = judge_pairs_by_group(*given).rows
    several = 2 <= len({row.group for row in rows} - {""}) <= MOST_GROUPS
    return Outcome(rows, judge_pair_groups(*given) if several else ())


def _cross_matrix(
    arrays: Arrays, progress: Progress | None, fars: Sequence[float] | None = None, workers: int = 1
) -> Outcome:
    judged = judge_matrix(arrays["embeddings"], arrays["identities"], progress, fars=fars, workers=workers)
    return Outcome(judged.rows, judged=(judged,))


def _rank(arrays: Arrays, progress: Progress | None, workers: int = 1) -> Outcome:
    return Outcome(judge_rank(arrays["embeddings"], arrays["identities"], progress=progress, workers=workers).rows)


def _closed_set(arrays: Arrays, progress: Progress | None, min_images: int = 4, images: int = 2) -> Outcome:
    e, names, roles = arrays["embeddings"], arrays["identities"], arrays.get("roles")
    code, _ = codes(names, len(e))
    if roles is not None:
        train, held = np.flatnonzero(roles == "gallery"), np.flatnonzero(roles == "probe")
    else:
        train, held = hold_out(code, min_images, images)
    if not train.size or not held.size:
        raise BadInput(f"No identity has {min_images} images, so that none can be held out to be named.")
    return Outcome(judge_closed_set(e[train], names[train], e[held], names[held], progress).rows)


def _templates(arrays: Arrays, progress: Progress | None, fpirs: Any = (0.01, 0.1)) -> Outcome:
    given = [arrays.get(name) for name in ("media", "roles", "comparisons")]
    e, names = arrays["embeddings"], arrays.get("identities")
    found = judge_templates(e, names, arrays["templates"], *given, fpirs=fpirs, progress=progress)
    return Outcome(found.judged.rows, curves=found.curves, judged=(found.judged,))


def _distractors(arrays: Arrays, progress: Progress | None, **settings: Any) -> Outcome:
    e = arrays["embeddings"], arrays["identities"], arrays["roles"]
    return Outcome(judge_distractors(*e, **settings, progress=progress).rows)


def _open_set(arrays: Arrays, progress: Progress | None, **settings: Any) -> Outcome:
    e = arrays["embeddings"], arrays["identities"], arrays.get("roles")
    found = judge_open_set(*e, **settings, progress=progress)
    return Outcome(found.judged.rows, curves=found.curves)


def _groups(arrays: Arrays, progress: Progress | None, far: float | None = None) -> Outcome:
    e = arrays["embeddings"], arrays["identities"], arrays["groups"]
    return Outcome(groups=judge_groups(*e, far, progress))


def conditions_of(settings: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """The corruptions and levels that a protocol of the kind robustness asks for."""
    return tuple((name, level) for name in settings["corruptions"] for level in settings["levels"])


def _robustness(arrays: Arrays, progress: Progress | None, **settings: Any) -> Outcome:
    """``corrupted`` [K,N,D], or any sequence of K arrays, which is asked for one after the other; ``conditions`` [K]
    names them, "blur 3"."""
    names, given = [str(name) for name in arrays["conditions"]], arrays["corrupted"]
    if len(names) != len(given):
        raise BadInput(f"{len(names)} conditions were given for {len(given)} sets of corrupted embeddings.")
    asked = conditions_of(settings)
    for name, level in asked:
        if f"{name} {level}" not in names:
            raise BadInput(
                f"The conditions lack {name} {level}, which the protocol asks for; given: {', '.join(names)}."
            )

    def conditions() -> Iterator[Condition]:
        for number, (name, level) in enumerate(asked, start=1):
            yield Condition(name, level, given[names.index(f"{name} {level}")])
            if progress is not None:
                progress("robustness", number, len(asked))

    pairs = Pairs(*pair_list(arrays)[:3]) if "pairs" in arrays else None
    return Outcome(judge_robustness(arrays["embeddings"], conditions(), arrays.get("identities"), pairs))


class Kind(NamedTuple):
    judge: Callable[..., Outcome]
    needs: tuple[str, ...]
    settings: tuple[str, ...] = ()


KINDS = {
    "pairs": Kind(_pairs, ("pairs",)),
    "pairs by group": Kind(_pairs_by_group, ("pairs", "groups")),
    "cross-matrix": Kind(_cross_matrix, ("identities",)),
    "rank": Kind(_rank, ("identities",)),
    "closed set": Kind(_closed_set, ("identities",), ("min_images", "images")),
    "templates": Kind(_templates, ("templates",), ("fpirs",)),
    "distractors": Kind(_distractors, ("identities", "roles"), ("sizes", "fars", "fpirs", "seed")),
    "open set": Kind(_open_set, ("identities",), ("sizes", "fpirs", "seed")),
    "groups": Kind(_groups, ("identities", "groups"), ("far",)),
    "robustness": Kind(_robustness, ("corrupted", "conditions"), ("corruptions", "levels")),
}
RANGES = {"min_images": (2, 10**6), "images": (1, 10**6), "seed": (0, 2**63), "sizes": (1, 10**12), "levels": (1, 5)}
NAMES = ("corruptions",)  # settings that are lists of names; the others are numbers in RANGES, else (0, 1]


def names() -> tuple[str, ...]:
    """The protocols that come with faceloss."""
    return tuple(sorted(path.stem for path in DEFINITIONS.glob("*.toml")))


def load_protocol(given: str | Path) -> Protocol:
    """The protocol of that name, or of that file (ending in .toml), with the lists it refers to.

    Raises:
        BadInput: no such name or file, not a protocol, or a list that is missing or is not the one of the hash.
    """
    path = Path(given) if str(given).endswith(".toml") else DEFINITIONS / f"{given}.toml"
    if path.parent == DEFINITIONS and path.stem not in names():
        raise BadInput(unknown("protocol", str(given), names()) + " A file of your own ends in .toml.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"There is no protocol file {path}.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path} cannot be read as a protocol ({error}).") from None
    allowed = ("title", "source", "kind", "needs", "settings", "files")
    for key in document:
        if key not in allowed:
            raise BadInput(f"{path}: {unknown('key of a protocol', key, allowed)}")
    kind = document.get("kind")
    if kind not in KINDS:
        raise BadInput(f"{path}: {unknown('kind of protocol', str(kind), KINDS)}")
    settings = document.get("settings", {})
    for key, value in settings.items():
        if key not in KINDS[kind].settings:
            raise BadInput(f"{path}: {unknown(f'setting of the kind {kind}', key, KINDS[kind].settings or ('none',))}")
        if key in NAMES:
            if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
                raise BadInput(f"{path}: the setting {key} is {value}; it must be a list of names.")
            continue
        low, high = RANGES.get(key, (0, 1))
        numbers = value if isinstance(value, list) else [value]
        if not numbers or not all(isinstance(n, int | float) and low <= n <= high and (n or low) for n in numbers):
            raise BadInput(f"{path}: the setting {key} is {value}; it must be numbers between {low} and {high}.")
    lists = {name: _list(path, name, about) for name, about in document.get("files", {}).items()}
    needs = tuple(dict.fromkeys((*KINDS[kind].needs, *document.get("needs", ()))))
    return Protocol(
        path.stem, str(document.get("title", path.stem)), str(document.get("source", "")), kind, needs, settings,
        {name: array for name, (array, _) in lists.items()}, {name: sha for name, (_, sha) in lists.items()},
    )  # fmt: skip


def _list(protocol: Path, name: str, about: Any) -> tuple[Array, str]:
    if name not in ARRAYS[1:]:
        raise BadInput(f"{protocol}: {unknown('array', name, ARRAYS[1:])}")
    if not isinstance(about, dict) or not isinstance(about.get("path"), str):
        raise BadInput(f"{protocol}: files.{name} needs a path and a sha256.")
    for key in about:
        if key not in ("path", "sha256", "columns", "skip"):
            raise BadInput(f"{protocol}: {unknown(f'key of files.{name}', key, ('path', 'sha256', 'columns', 'skip'))}")
    path = protocol.parent / about["path"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{protocol}: its list {path} cannot be read ({error.strerror}).") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != about.get("sha256"):
        raise BadInput(
            f"{path} is not the list that {protocol.name} was made for: its SHA-256 is {digest}, the protocol says "
            f"{about.get('sha256', 'nothing')}."
        )
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return np.load(file, allow_pickle=False), digest
        lines = [line for line in content.decode("utf-8").splitlines() if line.strip()][about.get("skip", 0) :]
        rows = [[part.strip() for part in (line.split(",") if "," in line else line.split())] for line in lines]
        columns = about.get("columns", range(len(rows[0])))
        table = np.array([[row[k] for k in columns] for row in rows])
    except (ValueError, IndexError, TypeError) as error:
        raise BadInput(
            f"{path} cannot be read as a list with the columns {about.get('columns', 'all')} ({error})."
        ) from None
    with suppress(ValueError):  # names stay text
        table = table.astype(np.int64)
    return (table[:, 0] if table.shape[1] == 1 and name not in ("pairs", "comparisons") else table), digest


def judge_protocol(
    protocol: Protocol,
    arrays: Arrays,
    progress: Progress | None = None,
    *,
    fars: Sequence[float] | None = None,
    workers: int = 1,
) -> Outcome:
    """``arrays`` holds ``embeddings`` and what the protocol needs beside its own lists.

    ``fars`` and ``workers`` are for all pairs of a set and its ranks, see :func:`judge_matrix`.

    Raises:
        BadInput: an array is missing, or given twice, or cannot be meant.
    """
    twice = sorted(protocol.lists.keys() & arrays.keys())
    if twice:
        raise BadInput(f"{twice[0]} are given with the embeddings and by the protocol {protocol.name}; leave one out.")
    whole = {**arrays, **protocol.lists}
    for name in protocol.needs:
        if name not in whole:
            held = ", ".join(sorted(whole))
            raise BadInput(f"The protocol {protocol.name} needs an array {name}; given are: {held}.")
    large: dict[str, dict[str, Any]] = {
        "cross-matrix": {"fars": fars, "workers": workers},
        "rank": {"workers": workers},
    }
    return KINDS[protocol.kind].judge(whole, progress, **large.get(protocol.kind, {}), **protocol.settings)
