"""Studies whose records are written from a formula, and what the tests do with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from .searches import Searched
from .sections import failure_rows, group_rows, map_rows, open_set_rows, picture_rows
from .studies import Record, Study


class More(NamedTuple):
    """Rows about groups, open sets, failures and maps of a study, and the pictures beside failures."""

    groups: Callable[[Study], list[Record]]
    open_sets: Callable[[Study], list[Record]]
    failures: Callable[[Study], list[Record]]
    pictures: Callable[[list[Record], bool], list[Record]]
    maps: Callable[[Study], list[Record]]


@pytest.fixture(scope="session")
def more() -> More:
    return More(group_rows, open_set_rows, failure_rows, picture_rows, map_rows)


def write(folder: Path, records: list[Record], costs: list[Record] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    if costs is not None:
        (folder / "costs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in costs), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_study() -> type[Study]:
    return Study


@pytest.fixture(scope="session")
def make_searched() -> type[Searched]:
    return Searched


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return write


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    study = Study()
    return write(tmp_path_factory.mktemp("whole"), study.records(), study.costs())
