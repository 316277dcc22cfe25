"""The preprocessing contract of a set of faces: what a network must be fed with to see what it saw in training.

The most frequent silent fault of real face systems is another color order, alignment or scaling at use than in
training. ``contract.json`` beside the images says it all in plain JSON. It is found

    in the folder          of a folder of faces, of shards {000..004}.tar, of an LMDB, of a train.rec
    in the archive         of a .tar of folders, at its top or in the one folder around everything
    beside the file        of a .csv, a .rec, a shard, a .bin or another list of pairs, or a .tar that holds none

and travels with the set, into its records, into checkpoints and with the model. A set without one is of unknown
preparation: nothing is assumed about it, and nothing can be checked.
"""

import json
import os
from pathlib import Path
from typing import Any

from faceloss.data.entries import Source
from faceloss.errors import BadInput

NAME = "contract.json"
VERSION = 1
NEEDED = ("size", "channels", "template", "transform", "interpolation", "outside", "normalization", "flip")
DECIDES = (*NEEDED, "decoding")
"""What two sets must have in common. Detector, choice of faces and file format are told, and may differ."""

Contract = dict[str, Any]


def read_contract(folder: Path) -> Contract | None:
    """The contract of a folder of faces; None if it has none.

    Raises:
        BadInput: a contract that cannot be read, of another version, or without a part that decides about pixels.
    """
    path = folder / NAME
    try:
        return _parse(path.read_bytes(), str(path)) if path.is_file() else None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}).") from None


def contract_of(path: str | os.PathLike[str], source: Source) -> Contract | None:
    """The contract of the set ``source`` that was opened at ``path``; None if it has none. Raises as `read_contract`.

    The built-in faces (``builtin``) have one of their own: they were rendered, and fit no template of photographs.
    """
    if os.fspath(path) == "builtin":
        return BUILTIN
    if source.contract is not None:
        return _parse(source.contract(), f"{NAME} in {path}")
    place = Path(path)
    return read_contract(place if place.is_dir() else place.parent)


def _parse(data: bytes, where: str) -> Contract:
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} cannot be read as a preprocessing contract ({error}).") from None
    if not isinstance(found, dict) or found.get("contract") != VERSION:
        raise BadInput(
            f"{where} is no preprocessing contract of version {VERSION}; prepare the photographs anew, or give the "
            "file another name if it is something else."
        )
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise BadInput(f"{where} does not say {', '.join(missing)}; prepare the photographs anew.")
    return found


def decisive(contract: Contract | None) -> Contract | None:
    """The part of a contract that decides about pixels, which is what is recorded; None where there is none."""
    return None if contract is None else {name: contract[name] for name in DECIDES if name in contract}


def differences(ours: Contract, theirs: Contract) -> list[str]:
    """What two contracts say differently, in words: "size (112 x 112, not 96 x 96)"; empty where they agree."""
    found = []
    for name in DECIDES:
        if name not in ours or name not in theirs or ours[name] == theirs[name]:
            continue
        left, right = _told(name, ours[name]), _told(name, theirs[name])
        if left == right:
            if name == "template" and ours["size"] != theirs["size"]:
                continue  # the same template at another size
            right = "of another kind"
        found.append(f"{name} ({left}, not {right})")
    return found


def _told(name: str, value: Any) -> str:
    if name == "size" and isinstance(value, dict):
        return f"{value.get('width')} x {value.get('height')}"
    if name == "template" and isinstance(value, dict):
        return f"{value.get('name')} {value.get('version')}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def must_agree(what: str, ours: Contract | None, whose: str, theirs: Contract | None, remedy: str) -> None:
    """Refuse faces (``what``) that were prepared otherwise than those of ``whose``; ``remedy`` says what to do.

    Where one of the two is unknown, nothing is refused: see `unknown`.

    Raises:
        BadInput: names the differing parts.
    """
    if ours is None or theirs is None:
        return
    if parts := differences(ours, theirs):
        raise BadInput(f"{what} was prepared otherwise than {whose}: {'; '.join(parts)}. {remedy}")


def unknown(sets: dict[str, Contract | None]) -> str:
    """A sentence on the sets, by name, of unknown preparation; "" where there is none."""
    names = [name for name, contract in sets.items() if contract is None]
    if not names:
        return ""
    return (
        f"It is not known how the faces of {', '.join(names)} were aligned and cropped (no {NAME}), so it cannot be "
        "checked that training, tests and use have it in common."
    )


BUILTIN: Contract = {
    "contract": VERSION,
    "size": {"height": 64, "width": 64},
    "channels": "RGB",
    "template": {"name": "built-in faces", "version": 1},
    "transform": "rendered",
    "interpolation": "rendered",
    "outside": "a rendered background",
    "normalization": {"mean": 127.5, "std": 127.5, "formula": "(value - mean) / std"},
    "flip": "crops are as in the picture; embeddings of a crop and of its mirror image may be added",
}
