"""Detection and alignment on real photographs, beside what two other detectors found and beside aligned sets."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from faceloss.data.cache import read_faces
from faceloss.data.contract import read_contract
from faceloss.data.photographs.align import similarity, template, warp
from faceloss.data.photographs.detector import choose_detector, open_detector
from faceloss.data.photographs.prepare import prepare, read_ledger
from faceloss.data.photographs.select import Selection
from faceloss.data.sources import open_source

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("detection")]
POINTS = ("leye", "reye", "nose", "lmouth", "rmouth")


@pytest.fixture(scope="module")
def photographs(real_faces_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """130 unaligned photographs, of which 60 are of LFW."""
    folder = tmp_path_factory.mktemp("real")
    with tarfile.open(real_faces_folder / "raw_sample.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder / "raw_sample"


@pytest.fixture(scope="module")
def ledger(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them prepared; nothing is dropped for its place in the picture."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(photographs / "images", out, selection=Selection(many="central", outside=1.0, score=0.5), processes=2)
    return out


def known(photographs: Path, detector: str) -> dict[str, np.ndarray]:
    with open(photographs / "landmarks.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 130
    return {
        row["file"]: np.array([[float(row[f"{detector}_{point}_{axis}"]) for axis in "xy"] for point in POINTS])
        for row in rows
        if row[f"{detector}_leye_x"]
    }


def test_every_photograph_is_in_the_ledger_with_its_crop_or_a_reason(photographs: Path, ledger: Path) -> None:
    rows = list(read_ledger(ledger / "ledger.jsonl"))
    given = {str(path.relative_to(photographs / "images")) for path in (photographs / "images").rglob("*.*")}
    assert {row["file"] for row in rows} == given
    assert len(rows) == 130
    dropped = {row["file"]: row["reason"] for row in rows if row["status"] == "dropped"}
    assert set(dropped.values()) <= {"no face found", "only small faces", "only doubtful faces"}
    assert len(dropped) <= 3
    faces = read_faces(open_source(ledger, flat=True), 112)  # the photographs name nobody
    assert len(faces) == 130 - len(dropped)
    assert faces.refused == ()
    assert read_contract(ledger) is not None
    crops = {face["crop"]: face["sha256"] for row in rows for face in row["faces"] if face["crop"]}
    assert dict(zip(faces.files, faces.hashes, strict=True)) == crops
    assert faces.pixels.std(axis=(1, 2, 3)).min() > 10


@pytest.mark.parametrize("detector", ["mtcnn", "yunet"])
def test_landmarks_are_where_other_detectors_find_them(photographs: Path, ledger: Path, detector: str) -> None:
    """Within 0.15 eye distances on average for 95 % of 130 photographs: of that face, not of another in the picture."""
    theirs = known(photographs, detector)
    near = 0
    for row in read_ledger(ledger / "ledger.jsonl"):
        if row["file"] in theirs and row["faces"]:
            right = theirs[row["file"]]
            apart = [np.linalg.norm(np.array(f["landmarks"]) - right, axis=1).mean() for f in row["faces"]]
            near += min(apart) < 0.15 * np.linalg.norm(right[0] - right[1])
    assert len(theirs) >= 129
    assert near / 130 >= 0.95


def aligned(real_faces_folder: Path, names: list[str]) -> dict[str, Image.Image]:
    with tarfile.open(real_faces_folder / "lfw.tar") as archive:
        found = {name: archive.extractfile(f"lfw/images/{name}") for name in names}
        return {name: Image.open(io.BytesIO(file.read())).convert("RGB") for name, file in found.items() if file}


def test_crops_of_lfw_match_its_aligned_set(real_faces_folder: Path, photographs: Path, ledger: Path) -> None:
    """The same detector looks at both crops: its landmarks differ by less than 3 of 112 pixels on average."""
    kept = {r["file"]: face for r in read_ledger(ledger / "ledger.jsonl") for face in r["faces"] if face["crop"]}
    pairs = {file: "/".join(file.split("__")[1:]) for file in kept if file.startswith("lfw__")}
    assert len(pairs) == 60
    theirs = aligned(real_faces_folder, list(pairs.values()))
    detector, target = open_detector(choose_detector("mtcnn")), template("112").landmarks
    errors = []
    for file, name in pairs.items():
        with Image.open(ledger / kept[file]["crop"]) as ours:
            pictures = [ImageOps.expand(ours, 40), ImageOps.expand(theirs[name], 40)]
        seen = [
            min((face.landmarks - 40 for face in faces), key=lambda points: np.abs(points - target).mean())
            for faces in detector.detect(pictures, [40.0, 40.0])
        ]
        errors.append(np.linalg.norm(seen[0] - seen[1], axis=1).mean())
    assert min(errors) > 0.01
    assert np.mean(errors) < 3
    # With the landmarks they were made from, the aligned crops come out nearly to the pixel: template, transform and
    # half pixels are theirs; what is left is JPEG and another interpolation. A shift of half a pixel would be seen.
    yunet, off, shifted = known(photographs, "yunet"), [], []
    for file, name in pairs.items():
        with Image.open(photographs / "images" / file) as picture:
            rgb = picture.convert("RGB")
        right = np.asarray(theirs[name], float)
        for move, differences in ((0.0, off), (0.5, shifted)):
            crop = warp(rgb, similarity(yunet[file] + [move, 0], target), (112, 112))
            differences.append(np.abs(np.asarray(crop, float) - right).mean())
    assert np.mean(off) < 2.5
    assert np.mean(shifted) > 1.15 * np.mean(off)


def test_the_contract_is_that_of_the_aligned_sets(ledger: Path) -> None:
    """The template as the README of the aligned sets gives it, to two decimals."""
    found = json.loads((ledger / "contract.json").read_text(encoding="utf-8"))["template"]["landmarks"]
    given = [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]
    np.testing.assert_allclose(found, given, atol=0.006)
