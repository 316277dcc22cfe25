"""`faceloss overlap` and `faceloss clean`, and the choice of what leaves a study, as a user meets them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from faceloss.cli.main import _run

Cli = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., tuple[int, str, str]]
SMALL = [
    "--epochs", "1", "--set", "net_options.width=4", "--set", "batch=16", "--set", "size=32", "--set", "dim=16",
    "--set", "precision=fp32",
]  # fmt: skip


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a command line in this process: (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        code = _run([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def sets(painter: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """16 people; and 6 guests, of whom one has the name of a person, one a file, one is a person encoded anew."""
    ours = painter(tmp_path / "ours", 16, 6)
    guests = painter(tmp_path / "guests", 6, 6, seed=9, prefix="guest")
    (guests / "guest_00").rename(guests / "PERSON 01")
    (guests / "guest_01" / "copy.png").write_bytes((ours / "person_02" / "03.png").read_bytes())
    for number in range(6):
        with Image.open(ours / "person_03" / f"{number:02d}.png") as image:
            image.save(guests / "guest_02" / f"again-{number:02d}.jpg", quality=80)
    return ours, guests


def test_overlap_lists_every_kind_with_its_evidence(here: Here, sets: tuple[Path, Path]) -> None:
    code, out, err = here("overlap", *sets, "--json")
    assert code == 0, err
    *found, counts = [json.loads(line) for line in out.splitlines()]
    assert counts == {"kind": "counts", "names": 1, "files": 1, "pictures": 6, "renamed": 1}
    assert found[0] == {"kind": "names", "first": "person_01", "second": "PERSON 01"}
    assert (found[1]["first"], found[1]["second"]) == ("person_02/03.png", "guest_01/copy.png")
    assert all(row["correlation"] >= 0.96 and row["bits"] <= 8 for row in found[2:8])
    assert found[8] == {"kind": "renamed", "first": "person_03", "second": "guest_02", "pictures": 6}
    code, out, err = here("overlap", *sets, "--show", "2")
    assert code == 0, err
    assert "person_03  =  guest_02  (6 shared pictures)" in out
    assert "and 4 more" in out


@pytest.mark.parametrize("choice", ["drop-from-train", "drop-from-test", "keep"])
def test_a_study_does_with_the_overlap_as_it_is_told(
    here: Here, sets: tuple[Path, Path], tmp_path: Path, choice: str
) -> None:
    ours, guests = sets
    out = tmp_path / "runs"
    words = ["train", "--data", ours, "--test", guests, "--loss", "softmax", *SMALL, "--out", out]
    code, _, err = here(*words, *([] if choice == "drop-from-train" else ["--overlap", choice]))
    assert code == 0, err
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    train, test = (next(r for r in lines if r["kind"] == "data" and r["role"] == role) for role in ("train", "test"))
    page = (out / "report.html").read_text()
    told = test if choice == "drop-from-test" else train
    removed = {"drop-from-train": (3, 18), "drop-from-test": (3, 6 + 7 + 12), "keep": (0, 0)}[choice]
    assert (told["overlap_identities"], told["overlap_images"]) == removed
    assert told["overlap_kinds"] == {"names": 1, "files": 1, "pictures": 6, "renamed": 1}
    assert told["overlap"] == choice
    assert train["identities"] == (13 if choice == "drop-from-train" else 16)
    assert test["identities"] == (3 if choice == "drop-from-test" else 6)
    assert "1 identity by name, 1 image file, 6 pictures encoded anew and 1 identity under another name" in page
    assert ("tests know people of training" in page) == (choice == "keep")


def test_clean_proposes_and_applies_only_when_asked(here: Here, sets: tuple[Path, Path], tmp_path: Path) -> None:
    ours, _ = sets
    (ours / "person_00" / "zz.png").write_bytes((ours / "person_00" / "00.png").read_bytes())
    with Image.open(ours / "person_04" / "01.png") as image:
        image.save(ours / "person_04" / "zz.jpg", quality=80)
    before = sorted(path.name for path in ours.rglob("*"))
    code, out, err = here("clean", ours, "--list", tmp_path / "p.jsonl")
    assert code == 0, err
    assert out.splitlines()[0] == "98 images of 16 identities; 2 proposals."
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(line["file"], line["exact"]) for line in lines] == [
        ("person_00/zz.png", True),
        ("person_04/zz.jpg", False),
    ]
    code, out, err = here("clean", ours, "--apply", tmp_path / "left.csv")
    assert code == 0, err
    assert "96 images of 16 identities" in out
    assert len((tmp_path / "left.csv").read_text().splitlines()) == 97
    assert sorted(path.name for path in ours.rglob("*")) == before
    code, _, err = here("clean", ours, "--list", tmp_path / "p.txt")
    assert code == 2
    assert "written as .csv or .jsonl" in err


def test_a_model_tells_people_who_share_no_picture(here: Here, painter: Callable[..., Path], tmp_path: Path) -> None:
    ours = painter(tmp_path / "ours", 12, 12)
    out = tmp_path / "model"
    longer = [word if word != "1" else "12" for word in SMALL]
    code, _, err = here("train", "--data", ours, "--loss", "softmax", *longer, "--out", out)
    assert code == 0, err
    (ours / "zoe").mkdir()
    for number in range(6, 12):
        (ours / "person_05" / f"{number:02d}.png").rename(ours / "zoe" / f"{number:02d}.png")
    for number in range(4):
        (ours / f"person_0{number}" / "00.png").rename(ours / f"person_0{number + 6}" / "wrong.png")
    code, _, err = here("clean", ours, "--model", out, "--list", tmp_path / "p.jsonl")
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(row["identity"], row["other_identity"]) for row in lines if row["kind"] == "renamed"] == [
        ("zoe", "person_05")
    ]
    assert [(row["file"], row["other_identity"]) for row in lines if row["kind"] == "wrong picture"] == [
        (f"person_0{number + 6}/wrong.png", f"person_0{number}") for number in range(4)
    ]
    assert len(lines) == 5
