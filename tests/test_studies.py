"""Studies whose records are kept: page and table are rebuilt from the records, and LAB.md is not stale."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from faceloss.report import write_report

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def real_faces() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_faces", ROOT / "studies" / "real_faces.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KEPT = sorted(path.parent for path in (ROOT / "studies" / "records").glob("*/records.jsonl"))


def test_there_are_kept_records() -> None:
    assert KEPT


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_the_table_in_the_lab_log_is_that_of_the_records(real_faces: ModuleType, kept: Path) -> None:
    assert real_faces.table(kept) in (ROOT / "LAB.md").read_text()


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_the_records_are_those_of_the_study_of_their_name(real_faces: ModuleType, kept: Path) -> None:
    study = real_faces.STUDIES[kept.name]()
    recorded = json.loads((kept / "records.jsonl").read_text().splitlines()[0])
    assert (recorded["title"], len(recorded["seeds"])) == (study.title, study.seeds)
    assert (recorded["epochs"], recorded["batch"]) == (study.recipe.epochs, study.recipe.batch)
    assert [label.partition(" ")[0] for label in recorded["losses"] if "balanced" not in label] == [
        specification.partition("(")[0] for specification in study.losses
    ]


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_the_page_is_rebuilt_from_the_records_alone(tmp_path: Path, kept: Path) -> None:
    for name in ("records.jsonl", "costs.jsonl"):
        (tmp_path / name).write_bytes((kept / name).read_bytes())
    page = write_report(tmp_path).read_text()
    study = json.loads((kept / "records.jsonl").read_text().splitlines()[0])
    assert study["title"] in page
    assert "lfw" in page


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.name)
def test_records_hold_no_path_of_one_machine_and_no_picture(kept: Path) -> None:
    text = (kept / "records.jsonl").read_text() + (kept / "costs.jsonl").read_text()
    assert not any(word in text for word in ("/root", "/home", "/work", "/tmp", "base64"))
    assert len(text) < 3_000_000


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
