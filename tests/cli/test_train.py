"""`faceloss train`: one network for its own sake, handed over with its contract, used as the command says."""

import hashlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from faceloss.cli.main import _run
from faceloss.compare.model import INPUT, load
from faceloss.compare.prepare import prepare
from faceloss.compare.run import build_state, embedder, model
from faceloss.compare.study import Competitor, Run, Single, Study
from faceloss.data.decode import PREPROCESSING
from faceloss.data.load import load_faces
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.losses import outside
from faceloss.train import checkpoint
from faceloss.train.settings import Recipe

Cli = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., tuple[int, str, str]]
SMALL = [
    "--epochs", "4", "--set", "net_options.width=4", "--set", "batch=16", "--set", "size=32", "--set", "dim=16",
    "--set", "learning_rate=0.05", "--set", "precision=fp32", "--set", "images_per_identity=2",
]  # fmt: skip
LOSS = ["--loss", "arcface(s=10,m=0.1)", "--seed", "3"]


def rows(out: Path, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    return [row for row in lines if row["kind"] == kind]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command line in this process: exit code, what was printed, errors."""

    def run(*words: object) -> tuple[int, str, str]:
        code = _run([*map(str, words)])
        return code, *capsys.readouterr()

    yield run
    for name in outside.added():
        outside.drop(name)


@pytest.fixture(scope="module")
def trained(faceloss: Cli, toy_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a training without a test, and what the command printed."""
    out = tmp_path_factory.mktemp("train") / "mine"
    done = faceloss("train", "--data", toy_faces, *LOSS, *SMALL, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "arcface (s=10, m=0.1) on 128 images of 16 identities" in done.stderr
    assert "arning" not in done.stderr
    assert "note: It is not known how the faces of people train were aligned" in done.stderr
    return out, done.stdout


def test_one_network_is_trained_on_all_faces(trained: tuple[Path, str]) -> None:
    out, _ = trained
    (study,) = rows(out, "study")
    assert study["seeds"] == [3]
    assert study["losses"] == ["arcface (s=10, m=0.1)"]
    assert "faceloss train --data" in str(study["command"])
    (run,) = rows(out, "run")
    assert (run["label"], run["status"], run["seed"]) == ("arcface (s=10, m=0.1)", "finished", 3)
    (data,) = rows(out, "data")  # neither validation nor test
    assert (data["role"], data["identities"], data["images"]) == ("train", 16, 128)
    first, *_, last = rows(out, "epoch")
    assert last["loss_value"] < first["loss_value"]  # type: ignore[operator]
    assert "val_eer" not in last
    assert [rows(out, kind) for kind in ("result", "summary", "difference")] == [[], [], []]
    assert "There was no test" in (out / "report.html").read_text()


def test_the_command_that_is_recorded_trains_the_same_again(
    trained: tuple[Path, str], here: Here, tmp_path: Path
) -> None:
    words = shlex.split(str(rows(trained[0], "study")[0]["command"]))
    out = tmp_path / "again"
    code, _, err = here(*words[1:-1], out, "--set", "precision=fp32")
    assert code == 0, err
    assert (out / "model.safetensors").read_bytes() == (trained[0] / "model.safetensors").read_bytes()


def test_the_model_is_handed_over_with_its_contract(trained: tuple[Path, str]) -> None:
    out, said = trained
    contract = json.loads((out / "model.json").read_text())
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert contract["files"] == {"model.safetensors": digest}
    assert contract["facts"]["trained_with"]["hyperparameters"]["m"] == 0.1
    assert contract["facts"]["trained_with"]["seed"] == 3
    assert contract["facts"]["faces"] is None
    assert len(contract["facts"]["mean_face"]) == 2 * 32 * 32 * 3
    assert said.splitlines()[:3] == [str(out / name) for name in ("model.safetensors", "model.json", "report.html")]


def test_it_is_used_as_the_command_says(trained: tuple[Path, str], toy_faces: Path) -> None:
    _, said = trained
    faces = load_faces(toy_faces, size=32)
    names: dict[str, object] = {"crops": faces.pixels}
    exec(said.partition("\n\n")[2], names)
    got = names["embeddings"]
    assert isinstance(got, np.ndarray)
    assert got.shape == (128, 16)
    directions = got / np.linalg.norm(got, axis=1, keepdims=True)
    same = faces.labels[:, None] == faces.labels[None]
    cosines = directions @ directions.T
    assert cosines[same].mean() > cosines[~same].mean() + 0.1


def test_resuming_what_is_done_changes_nothing(trained: tuple[Path, str], faceloss: Cli) -> None:
    out, said = trained
    before = {path: path.read_bytes() for path in out.glob("*") if path.is_file()}
    again = faceloss("resume", out)
    assert again.returncode == 0, again.stderr
    assert again.stdout == said
    assert {path: path.read_bytes() for path in out.glob("*") if path.is_file()} == before


@pytest.mark.faults
def test_stopped_and_resumed_it_is_the_same_model(
    trained: tuple[Path, str], faceloss: Cli, toy_faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    command = [sys.executable, "-m", "faceloss", "train", "--data", toy_faces, *LOSS, *SMALL]
    command += ["--set", "checkpoint_seconds=0", "--out", out]
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(out.glob("runs/*/checkpoint*.json")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert f"faceloss resume {out}" in stderr
    assert not (out / "model.safetensors").exists()
    done = faceloss("resume", out)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").read_bytes() == (trained[0] / "model.safetensors").read_bytes()
    assert (out / "model.json").read_bytes() == (trained[0] / "model.json").read_bytes()


def test_validation_and_a_test_of_ones_own(
    here: Here, toy_faces: Path, painter: Callable[..., Path], tmp_path: Path
) -> None:
    guests = painter(tmp_path / "guests", 20, 4, seed=9, prefix="guest")
    (guests / "Person 00").mkdir()
    for number in (0, 1):  # one of the trained is in the test, too
        (guests / "Person 00" / f"{number}.png").write_bytes((toy_faces / "person_00" / f"0{number}.png").read_bytes())
    words = ["--val", "0.2", "--test", guests, "--out", tmp_path / "mine"]
    code, _, err = here("train", "--data", toy_faces, *LOSS, *SMALL, *words)
    assert code == 0, err
    found = {row["role"]: row["identities"] for row in rows(tmp_path / "mine", "data")}
    assert found["test"] == 21
    assert found["val"] + found["train"] == 15  # type: ignore[operator]
    assert found["val"] == 2  # a fifth of 16 is 3; one of them is a guest
    assert all(0 <= row["val_eer"] <= 1 for row in rows(tmp_path / "mine", "epoch"))  # type: ignore[operator]
    measured = {row["metric"] for row in rows(tmp_path / "mine", "result") if row["value"] is not None}
    assert {"eer", "tar", "rank"} <= measured
    assert rows(tmp_path / "mine", "difference") == []


def test_a_loss_file_of_ones_own(here: Here, toy_faces: Path, tmp_path: Path) -> None:
    file = Path(__file__).parents[1] / "mine.py"
    words = ["--loss", f"{file}(m=0.2)", "--budget", "256", "--out", tmp_path / "mine"]
    code, _, err = here("train", "--data", toy_faces, *SMALL[2:], *words)
    assert code == 0, err
    (study,) = rows(tmp_path / "mine", "study")
    assert "--loss 'mine.py(m=0.2)'" in str(study["command"])
    assert study["epochs"] == 2  # a budget of 256 images is twice all of them
    assert rows(tmp_path / "mine", "run")[0]["hyperparameters"] == {"m": 0.2}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Missing option '--loss'"),
        (["--loss", "arcfase"], "did you mean 'arcface'?"),
        (["--loss", "softmax,arcface"], "'softmax,arcface' is not a loss"),
        (["--loss", "all"], "There is no loss named 'all'"),
        (["--loss", "arcface(mm=1)"], "did you mean 'm'?"),
        (["--loss", "arcface", "--seed", "-1"], "'--seed': -1"),
        (["--loss", "arcface", "--val", "1"], "'--val': 1"),
        (["--loss", "arcface", "--val", "0.99"], "leaves 0 identities"),
        (["--loss", "arcface", "--test", "/nowhere"], "/nowhere"),
        (["--loss", "/nowhere.py"], "/nowhere.py"),
        (["--loss", "arcface", "--set", "epocks=3"], "did you mean 'epochs'?"),
    ],
)
def test_a_slip_gets_one_sentence(here: Here, toy_faces: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    code, _, err = here("train", "--data", toy_faces, *words, "--out", tmp_path / "mine")
    assert code == 2, err
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "mine" / "model.json").exists()


def test_the_folder_of_another_study_is_left_alone(trained: tuple[Path, str], here: Here, toy_faces: Path) -> None:
    out, _ = trained
    code, _, err = here("train", "--data", toy_faces, "--loss", "cosface", *SMALL, "--out", out)
    assert code == 2
    assert "holds another study" in err


@pytest.mark.parametrize("how", ["diverged", "collapsed"])
def test_no_model_is_handed_over_that_cannot_be_used(here: Here, toy_faces: Path, tmp_path: Path, how: str) -> None:
    old, new = {"diverged": ("learning_rate=0.05", "learning_rate=1e9"), "collapsed": ("dim=16", "dim=1")}[how]
    words = [new if word == old else word for word in SMALL]  # with one dimension all faces lie on a line
    words += ["--loss", "softmax", "--set", "clip=0", "--out", tmp_path / "mine"]
    code, said, err = here("train", "--data", toy_faces, *words)
    assert code == 3, err
    assert f"faceloss: softmax {how} (" in err
    assert "no model to hand over" in err
    assert said == ""
    assert not (tmp_path / "mine" / "model.json").exists()


def test_a_model_has_the_embeddings_that_were_judged(tmp_path: Path) -> None:
    """Those of the net and the projection of the loss; crops of another size are refused."""
    study = Study(
        data="builtin", losses=("tpe",), recipe=Recipe(net_options={"width": 4}, dim=8, size=32, precision="fp32")
    )
    state = build_state(Run("id", Competitor("tpe", "tpe", {"size": 3}, "identity-balanced"), 3), study, 5)
    tensors, facts = model(state)
    facts |= {"net": "small", "net_options": {"width": 4}, "size": 32, "flip_test": True, "trained_with": {"loss": "a"}}
    facts |= {"preprocessing": PREPROCESSING, "input": INPUT}
    checkpoint.save(tmp_path, "model", tensors, facts)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    got, want = load(tmp_path)(pixels), embedder(state, study)(pixels)
    assert got.shape == (6, 3)
    np.testing.assert_allclose(got, want, atol=1e-6)
    with pytest.raises(BadInput, match=r"Crops must be uint8 \[N, 32, 32, 3\]; given uint8 \[6, 16, 32, 3\]"):
        load(tmp_path)(pixels[:, ::2])
    with pytest.raises(BadInput, match=r"Crops must be uint8 .* given float64"):
        load(tmp_path)(pixels / 255)
    facts["projection"] = facts["projection"] | {"does": "something else"}
    checkpoint.save(tmp_path, "model", tensors, facts)
    with pytest.raises(BadInput, match="which only the code of that loss can apply"):
        load(tmp_path)
    with pytest.raises(BadInput, match=r"holds no model\.json"):
        load(tmp_path / "elsewhere")


def test_a_model_that_was_changed_is_refused(trained: tuple[Path, str], tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained[0] / name).read_bytes())
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CouldNotFinish, match="SHA-256 differs"):
        load(tmp_path)


def test_what_data_names_as_its_test_is_judged(painter: Callable[..., Path], tmp_path: Path) -> None:
    for split, prefix in (("train", "a"), ("test", "b")):
        painter(tmp_path / "people" / split, 4, 4, prefix=prefix, seed=ord(prefix))
    bench = prepare(Study(data=str(tmp_path / "people"), losses=("softmax",), single=Single(), recipe=Recipe(size=32)))
    assert [len(test.faces.identities) for test in bench.tests] == [4]
    assert len(bench.train.identities) == 4
    assert bench.val is None
