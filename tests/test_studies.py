"""Studies whose records are kept: page and table are rebuilt from the records, and LAB.md is not stale."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from faceloss import losses
from faceloss.compare.study import parse_loss
from faceloss.report import write_report

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    """The module of a study, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "studies" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real_faces() -> ModuleType:
    return load("real_faces")


@pytest.fixture(scope="module")
def every_loss() -> ModuleType:
    return load("every_loss")


@pytest.fixture(scope="module")
def search() -> ModuleType:
    """It imports real_faces, which lies beside it."""
    sys.path.insert(0, str(ROOT / "studies"))
    try:
        return load("search")
    finally:
        sys.path.pop(0)


KEPT = sorted(path.parent for path in (ROOT / "studies" / "records").glob("*/records.jsonl"))


def test_there_are_kept_records() -> None:
    assert KEPT


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_the_table_in_the_lab_log_is_that_of_the_records(
    real_faces: ModuleType, every_loss: ModuleType, search: ModuleType, kept: Path
) -> None:
    searches = dict.fromkeys(("search", "search_real", "search_real_decisive"), search)
    study = {"every_loss": every_loss, **searches}.get(kept.name, real_faces)
    assert study.table(kept) in (ROOT / "LAB.md").read_text()


@pytest.mark.parametrize("kept", [kept for kept in KEPT if kept.name != "every_loss"], ids=lambda kept: kept.name)
def test_the_records_are_those_of_the_study_of_their_name(
    real_faces: ModuleType, search: ModuleType, kept: Path
) -> None:
    searches = {
        "search": lambda: search.builtin(5),
        "search_real": lambda: search.real(3),
        "search_real_decisive": lambda: search.real(5, search.DECISIVE),
    }
    studies = {**real_faces.STUDIES, **searches}
    study = studies[kept.name]()
    recorded = json.loads((kept / "records.jsonl").read_text().splitlines()[0])
    assert (recorded["title"], len(recorded["seeds"])) == (study.title, study.seeds)
    assert (recorded["epochs"], recorded["batch"]) == (study.recipe.epochs, study.recipe.batch)
    named = [parse_loss(specification)[0] for specification in study.losses]
    found = [label.partition(" ")[0] for label in recorded["losses"] if "balanced" not in label]
    assert found == (named if named[0] == "softmax" else ["softmax", *named])


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_the_page_is_rebuilt_from_the_records_alone(tmp_path: Path, kept: Path) -> None:
    for name in ("records.jsonl", "costs.jsonl"):
        (tmp_path / name).write_bytes((kept / name).read_bytes())
    page = write_report(tmp_path).read_text()
    study = json.loads((kept / "records.jsonl").read_text().splitlines()[0])
    assert study["title"] in page
    assert ("builtin" if kept.name in ("every_loss", "search") else "lfw") in page


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_records_hold_no_path_of_one_machine_and_no_picture(kept: Path) -> None:
    text = (kept / "records.jsonl").read_text() + (kept / "costs.jsonl").read_text()
    assert not any(word in text for word in ("/root", "/home", "/work", "/tmp", "base64"))
    assert len(text) < 4_000_000


def test_every_loss_has_a_row_and_those_that_depart_from_their_paper_two(every_loss: ModuleType) -> None:
    chosen = every_loss.study()
    names = [parse_loss(text)[0] for text in chosen.losses]
    assert set(names) == set(losses.own_names())
    twice = {name for name in names if names.count(name) > 1}
    warmed = {name for name in names if "warmup" in losses.describe(name).hyperparameters}
    assert twice == warmed | {"subcenter_arcface", "coco"}
    assert all(parse_loss(text)[1].get("warmup", 0) == 0 for text in every_loss.PUBLISHED)


@pytest.mark.parametrize(
    ("gain", "lost", "said"),
    [
        ({"high": -0.06}, 0, "clearly"),
        ({"high": -0.04}, 0, "yes"),
        ({"high": 0.0}, 0, "no"),
        ({"high": -0.2}, 1, "no"),
        (None, 3, "no"),
    ],
)
def test_a_loss_has_learnt_what_untrained_nets_do_not_know(
    every_loss: ModuleType, gain: dict[str, float] | None, lost: int, said: str
) -> None:
    assert every_loss.learnt(gain, lost) == said


@pytest.mark.real
def test_the_study_gathers_its_identities(
    real_faces: ModuleType, real_faces_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sets are unpacked, the split is as documented, and nobody of LFW is in validation."""
    monkeypatch.setattr(real_faces, "DATA", tmp_path)
    real_faces.gather(real_faces_folder)
    rows = [line.rsplit(",", 2) for line in (tmp_path / "train.csv").read_text().splitlines()[1:]]
    people = {split: {identity for _, identity, s in rows if s == split} for split in ("train", "val", "test_closed")}
    assert len(people["train"]) == 80 + 242
    assert sum(split == "train" for *_, split in rows) == 11_843 + 4_467
    assert people["val"] & people["train"] == set()
    assert len(people["val"]) == 25 - 15 + 54 - 4
