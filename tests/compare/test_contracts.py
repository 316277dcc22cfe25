"""Contracts where images meet a model: a study's tests, going on, a model judged on other faces, the doctor."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloss.cli import doctor
from faceloss.cli.main import _run
from faceloss.compare.contracts import as_begun, like_the_model
from faceloss.compare.doctor import examine
from faceloss.compare.engine import compare
from faceloss.compare.model import embedded, load_model
from faceloss.compare.prepare import prepare
from faceloss.compare.records import command
from faceloss.compare.run import execute
from faceloss.compare.study import Study, competitors, plan
from faceloss.data.appearance import from_text, mean_faces, to_text
from faceloss.data.contract import NAME, decisive
from faceloss.data.load import load_faces
from faceloss.data.photographs.contract import contract
from faceloss.errors import BadInput
from faceloss.report.facts import preparation
from faceloss.report.kinds import Data
from faceloss.train import checkpoint
from faceloss.train.loop import Stopped
from faceloss.train.settings import Recipe

RECIPE = Recipe(epochs=1, size=32, dim=8, batch=16, images_per_identity=2, net_options={"width": 4}, device="cpu")
SILENT = lambda what, done, total: None  # noqa: E731


def prepared(size: str = "112") -> dict[str, object]:
    return contract(size, "png", {"name": "mtcnn"}, {"many": "largest"})


@pytest.fixture(scope="module")
def sets(painter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training faces and three tests: prepared alike, otherwise, and nobody knows how."""
    place = tmp_path_factory.mktemp("sets")
    for number, (name, said) in enumerate({"train": "112", "alike": "112", "other": "64", "unknown": ""}.items()):
        painter(place / name, 20 if name == "train" else 6, 6, seed=number, prefix=name)
        if said:
            (place / name / NAME).write_text(json.dumps(prepared(said)))
    return place


def study(sets: Path, *tests: str, **more: object) -> Study:
    return Study(
        data=str(sets / "train"), tests=tuple(str(sets / test) for test in tests), losses=("cosface(s=10,m=0.1)",),
        seeds=1, recipe=RECIPE, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    asked = study(sets, "alike")
    bench = prepare(asked)
    run = plan(asked, competitors(asked, len(bench.train.identities)), bench.digests)[-1]
    folder = tmp_path_factory.mktemp("run") / "run"
    assert execute(run, asked, bench, folder).startswith(("finished", "collapsed"))
    return folder


def test_a_test_prepared_otherwise_is_refused_unless_it_was_said(sets: Path) -> None:
    bench = prepare(study(sets, "alike", "unknown"))
    known = {row["name"].rpartition("/")[2]: row["contract"] for row in bench.records}
    assert known["alike"] == known["train train"] == known["train val"] == decisive(prepared())
    assert known["unknown"] is None
    with pytest.raises(
        BadInput, match=r"other was prepared otherwise than .*train: size \(64 x 64, not 112 x 112\)\. .*--any"
    ):
        prepare(study(sets, "alike", "other"))
    asked = study(sets, "other", any_contract=True)
    records = prepare(asked).records
    assert [row["contract"]["size"]["width"] for row in records if row["role"] != "val"] == [112, 64]
    assert "--any-contract" in command(asked)


def test_going_on_with_sets_prepared_otherwise_is_refused(sets: Path, tmp_path: Path) -> None:
    records = prepare(study(sets, "alike")).records
    as_begun(records, tmp_path)  # nothing was begun
    (tmp_path / "plan.json").write_text(json.dumps({"data": records, "runs": []}))
    as_begun(records, tmp_path)
    now = [{**row, "contract": decisive(prepared("96"))} for row in records]
    with pytest.raises(BadInput, match=r"of now was prepared otherwise than that of .*size \(96 x 96, not 112 x 112\)"):
        as_begun(now, tmp_path)
    as_begun([{**row, "contract": None} for row in records], tmp_path)  # nobody knows any more
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(BadInput, match="cannot be read"):
        as_begun(records, tmp_path)
    out = tmp_path / "runs"
    out.mkdir()
    (out / "study.json").write_text(study(sets, "alike").model_dump_json())
    (out / "plan.json").write_text(json.dumps({"data": now, "runs": []}))
    with pytest.raises(
        BadInput, match=r"of now was prepared otherwise than that of .*runs: size \(112 x 112, not 96 x 96"
    ):
        compare(study(sets, "alike"), out)
    assert not (out / "runs").exists()


def test_a_checkpoint_knows_what_it_was_trained_on(sets: Path, tmp_path: Path) -> None:
    asked = study(sets)
    bench = prepare(asked)
    run = plan(asked, competitors(asked, len(bench.train.identities)), bench.digests)[-1]
    asks = iter([False, True])
    with pytest.raises(Stopped):
        execute(run, asked, bench, tmp_path / "run", stop=lambda: next(asks))
    saved = checkpoint.load(tmp_path / "run", "checkpoint")
    assert saved is not None
    assert saved[1]["faces"] == decisive(prepared())
    assert saved[1]["step"] == 2
    shutil.copytree(sets / "train", tmp_path / "train")
    (tmp_path / "train" / NAME).write_text(json.dumps(prepared("64")))
    other = prepare(asked.model_copy(update={"data": str(tmp_path / "train")}))
    with pytest.raises(BadInput, match=r"was prepared otherwise than what .*checkpoint\.json was trained on: size"):
        execute(run, asked, other, tmp_path / "run")
    assert execute(run, asked, bench, tmp_path / "run").startswith(("finished", "collapsed"))


def test_a_model_refuses_faces_prepared_otherwise(sets: Path, trained: Path) -> None:
    model = load_model(trained)
    assert model.contract["faces"] == decisive(prepared())
    said: list[str] = []
    embedded(model, str(sets / "alike"), say=said.append)
    assert said == []
    with pytest.raises(
        BadInput, match=r"other was prepared otherwise than the faces that the model was trained on: size"
    ):
        embedded(model, str(sets / "other"))
    arrays, _ = embedded(model, str(sets / "other"), any_contract=True)
    assert len(arrays["embeddings"]) == 36
    embedded(model, str(sets / "unknown"), say=said.append)
    assert len(said) == 1
    assert "not known how the faces of" in said[0]
    faces = load_faces(sets / "alike", size=32)
    assert "the model's training" in like_the_model("x", faces, None, False)


@pytest.mark.parametrize(
    "words", [["evaluate", "{model}", "--data", "{other}"], ["clean", "{other}", "--model", "{model}"]]
)
def test_the_command_line_says_it_in_one_sentence(
    sets: Path, trained: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(model=trained, other=sets / "other") for word in words]
    assert _run(given) == 2
    assert (
        "was prepared otherwise than the faces that the model was trained on: size (64 x 64" in capsys.readouterr().err
    )
    if words[0] == "evaluate":
        assert _run([*given, "--any-contract", "--protocol", "rank"]) == 0


def test_the_page_says_what_is_known() -> None:
    def row(role: str, size: str) -> Data:
        return Data(role, role, 9, 3, contract=prepared(size) if size else None)

    assert preparation((row("train", "112"), row("test", "112"))).startswith(
        "All faces were prepared alike: arcface 1, 112 x"
    )
    assert "not known" in preparation((row("train", ""),))
    assert "Of some faces" in preparation((row("train", "112"), row("test", "")))
    assert preparation((row("train", "112"), row("test", "64"))).startswith(
        "The faces were not prepared alike; they differ in size and template. train (train): arcface 1, 112 x 112"
    )


def test_the_doctor_looks_at_faces_beside_a_model(tmp_path: Path) -> None:
    """A model that saw half of the people of the built-in faces is shown the others, as they are and with faults."""
    faces = load_faces("builtin", size=64)
    some = np.flatnonzero(np.arange(len(faces)) % 12 == 0)
    train, use = some[faces.labels[some] % 2 == 0], some[faces.labels[some] % 2 == 1]
    model = {"faces": None, "mean_face": to_text(faces.take(train))}

    def write(name: str, change: Callable[[np.ndarray], np.ndarray]) -> str:
        for row in use.tolist():
            file = tmp_path / name / faces.files[row]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(change(faces.pixels[row]))).save(file.with_suffix(".bmp"))
        return str(tmp_path / name)

    right = examine(write("right", lambda image: image), model, 64, SILENT)
    assert right.problems == []
    assert any("half a pixel is less than" in sentence for sentence in right.open)
    assert any("no contract.json" in sentence for sentence in right.open)
    for name, change, words in (
        ("bgr", lambda image: image[..., ::-1], "the channels are swapped"),
        ("dark", lambda image: np.rint(image / 255).astype(np.uint8), "nearly black"),
        ("view", lambda image: image[6:58, 6:58], "aligned to another template"),
    ):
        examined = examine(write(name, change), model, 64, SILENT)
        assert len(examined.problems) == 1, examined.problems
        assert words in examined.problems[0]
    (tmp_path / "view" / NAME).write_text(json.dumps(prepared("96")))
    told = examine(str(tmp_path / "view"), None, 64, SILENT)
    assert told.problems == [told.problems[0]]
    assert "64 of 64 files are not of the size 96 x 96 that contract.json says" in told.problems[0]
    other = examine(str(tmp_path / "view"), {**model, "faces": decisive(prepared())}, 64, SILENT)
    assert any("size (96 x 96, not 112 x 112)" in sentence for sentence in other.problems)
    with pytest.raises(BadInput, match="mean face in the contract of the model is damaged"):
        examine(str(tmp_path / "right"), {**model, "mean_face": "abc"}, 64, SILENT)
    older = examine(str(tmp_path / "right"), {"faces": None}, 64, SILENT)
    assert any("does not say what its training faces look like" in sentence for sentence in older.open)


def test_the_doctor_on_the_command_line(sets: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(trained)
    there = mean_faces(prepare(study(sets, "alike")).train).mean(0)
    assert np.abs(from_text(model.contract["mean_face"]) - there).max() <= 0.5
    problems = doctor._faces(str(sets / "other"), trained)
    assert any("was prepared otherwise than the faces that the model was trained on: size" in line for line in problems)
    said = capsys.readouterr().out
    assert "faces: 36 images of 6 identities (0 refused)" in said
    assert "contract: aligned to arcface 1, 64 x 64" in said
    assert doctor._pipeline() == []
    assert "half a pixel to the right" in capsys.readouterr().out
    assert _run(["doctor", "--model", str(trained)]) == 2
