"""Cards of public face sets: what each is, who may use it, where a person gets it, how faceloss reads it.

One file for each set in the folder ``cards``. Nothing is ever downloaded. What a card states was looked up in its
``sources``, but for the fields it names in ``recalled``: those are from memory, to be checked before they are quoted.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceloss.errors import BadInput, unknown

_FOLDER = Path(__file__).with_name("cards")
STATUSES = {
    "available": "the owner's page gives it to anybody",
    "on request": "the owner gives it for an agreement or a request",
    "derived": "made from a set that its owner withdrew",
    "withdrawn": "the owner no longer gives it to anybody",
}


@dataclass(frozen=True)
class Card:
    """One public set of faces."""

    name: str
    title: str
    use: str  # "train" or "test"
    what: str
    status: str  # one of STATUSES
    license: str
    get: str  # the owner's page or paper
    files: tuple[str, ...]
    how: tuple[str, ...]  # commands of faceloss
    sources: tuple[str, ...]
    identities: int | None = None  # None: not known for sure
    images: int | None = None
    notes: tuple[str, ...] = ()
    recalled: tuple[str, ...] = ()  # fields stated from memory


def names() -> tuple[str, ...]:
    """The sets that have a card."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def load_card(name: str) -> Card:
    """The card of that name, regardless of case, spaces and underscores; raises BadInput if there is none."""
    plain = name.strip().casefold().replace("_", "-").replace(" ", "-")
    if plain not in names():
        raise BadInput(unknown("set of faces", name, names()))
    told: dict[str, Any] = tomllib.loads((_FOLDER / f"{plain}.toml").read_text(encoding="utf-8"))
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Card(name=plain, **fields)
