"""Losses from a user's file and from a plug-in in a comparison: run, kept, resumed, refused; and all losses at once."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faceloss import losses
from faceloss.compare.outside import add_files, settle, use
from faceloss.compare.study import Study, competitors, expand, plan
from faceloss.errors import BadInput
from faceloss.losses import outside

Cli = Callable[..., subprocess.CompletedProcess[str]]
SMALL = [
    "--epochs", "2", "--seeds", "1", "--set", "net_options.width=4", "--set", "batch=16", "--set", "size=32",
    "--set", "dim=16", "--set", "learning_rate=0.05", "--set", "precision=fp32", "--set", "images_per_identity=2",
]  # fmt: skip
MINE = (Path(__file__).parents[1] / "mine.py").read_text(encoding="utf-8")
RAISING = MINE.replace(
    "    return cos - m\n", "    if cos.mean() < 1:\n        raise RuntimeError('out\\nof luck')\n    return cos\n"
)
ENTRIES = "[faceloss.losses]\nringed = ringed_loss\n"


def rows(out: Path, kind: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    yield
    for name in outside.added():
        outside.drop(name)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which a package brings the loss "ringed"."""
    place = tmp_path_factory.mktemp("site")
    (place / "ringed_loss.py").write_text(MINE)
    info = place / "rings-1.2.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(ENTRIES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rings\nVersion: 1.2\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture(scope="module")
def finished(
    faceloss: Cli, toy_faces: Path, tmp_path_factory: pytest.TempPathFactory, installed: dict[str, str]
) -> tuple[Path, Path]:
    """The runs folder of a comparison in two workers, and the folder of the user's files."""
    place = tmp_path_factory.mktemp("finished")
    files = place / "secret_folder_of_the_user"
    files.mkdir()
    (files / "mine.py").write_text(MINE)
    (files / "unlucky.py").write_text(RAISING)
    out = place / "runs"
    words = ["--losses", "cosface(s=10,m=0.1),ringed", "--loss", files / "mine.py", "--loss", files / "unlucky.py"]
    words += ["--loss", f"{files / 'mine.py'}(m=0.4)"]
    done = faceloss("compare", "--data", toy_faces, *words, *SMALL, "--workers", 2, "--out", out, env=installed)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "failed: unlucky seed 0" in done.stderr
    return out, files


def test_a_file_and_a_plugin_run_like_a_built_in_loss(finished: tuple[Path, Path]) -> None:
    out, _ = finished
    found = {row["label"]: row for row in rows(out, "run")}
    assert list(found) == ["softmax", "cosface (s=10, m=0.1)", "ringed", "mine", "unlucky", "mine (m=0.4)"]
    assert found["mine"]["status"] == found["ringed"]["status"] == "finished"
    assert found["mine"]["hyperparameters"] == {"m": 0.1}
    values = {
        label: [(row["metric"], row["at"], row["value"]) for row in rows(out, "summary") if row["label"] == label]
        for label in found
    }
    assert values["mine"] == values["ringed"] == values["cosface (s=10, m=0.1)"]
    assert values["mine"] != values["mine (m=0.4)"]
    assert len(values["mine"]) > 3
    assert "mine (m=0.4)" in (out / "report.html").read_text()


def test_a_loss_that_raises_is_a_failed_run_with_the_reason(finished: tuple[Path, Path]) -> None:
    out, _ = finished
    run = next(row for row in rows(out, "run") if row["label"] == "unlucky")
    assert run["status"] == "failed"
    assert run["reason"] == "the loss raised RuntimeError: out of luck (unlucky.py, line 20)"
    assert "out of luck" in (out / "report.html").read_text()
    assert {r["verdict"] for r in rows(out, "difference") if r["label"] == "unlucky"} == {"not measurable"}


def test_what_is_kept_is_the_source_and_its_hash_and_no_path_of_the_user(finished: tuple[Path, Path]) -> None:
    out, files = finished
    assert (out / "losses" / "mine.py").read_text() == MINE
    study = rows(out, "study")[0]
    hashes = {name: hashlib.sha256((files / f"{name}.py").read_bytes()).hexdigest() for name in ("mine", "unlucky")}
    assert study["loss_files"] == hashes
    assert study["plugins"] == {"ringed": "rings 1.2"}
    assert "--loss mine.py --loss unlucky.py" in str(study["command"])
    for path in [out / "records.jsonl", out / "study.json", out / "plan.json", out / "report.html"]:
        assert files.name not in path.read_text()


def test_resumed_after_the_file_was_edited_the_kept_copy_runs(
    finished: tuple[Path, Path], faceloss: Cli, installed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    shutil.copytree(finished[0], out)
    for run in out.glob("runs/mine-*"):
        shutil.rmtree(run)
    (out / "records.jsonl").unlink()
    files = finished[1]
    (files / "mine.py").write_text("this is no loss any more")
    try:
        done = faceloss("resume", out, "--workers", 1, env=installed)
        assert done.returncode == 0, done.stderr
        assert "2 to do" in done.stderr
        assert (out / "records.jsonl").read_bytes() == (finished[0] / "records.jsonl").read_bytes()
        reported = faceloss("report", out)  # needs neither file nor plug-in
        assert reported.returncode == 0, reported.stderr
    finally:
        (files / "mine.py").write_text(MINE)


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_a_kept_copy_that_is_not_as_it_was_is_refused(
    finished: tuple[Path, Path], faceloss: Cli, installed: dict[str, str], tmp_path: Path, change: str
) -> None:
    out = tmp_path / "runs"
    shutil.copytree(finished[0], out)
    copy = out / "losses" / "mine.py"
    if change == "edited":
        copy.write_text(MINE + "# a word\n")
    else:
        copy.unlink()
    done = faceloss("resume", out, env=installed)
    assert done.returncode == 2
    assert f"{copy} is not what this study began with" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_version_of_a_plugin_is_refused(finished: tuple[Path, Path], faceloss: Cli, tmp_path: Path) -> None:
    done = faceloss("resume", finished[0])
    assert done.returncode == 2
    assert "ringed of this study is a plug-in of rings 1.2; installed is none" in done.stderr


def test_an_edited_file_in_the_same_folder_is_another_study(
    finished: tuple[Path, Path], faceloss: Cli, toy_faces: Path, tmp_path: Path, installed: dict[str, str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE.replace("cos - m", "cos - 2 * m"))
    words = ["--losses", "softmax", "--loss", mine, *SMALL, "--out", finished[0]]
    done = faceloss("compare", "--data", toy_faces, *words, env=installed)
    assert done.returncode == 2
    assert "holds another study (the file mine.py was another then)" in done.stderr


@pytest.mark.parametrize(
    ("name", "source", "words", "sentence"),
    [
        ("mine.py", "def build(", [], "mine.py is not a Python file"),
        ("mine.py", "x = 1", [], "mine.py defines no build"),
        ("mine.py", None, [], "mine.py cannot be read (No such file or directory)"),
        ("mine.py", MINE.replace("m: float", "m"), [], "m of the loss mine must be annotated as float"),
        ("mine.py", MINE.replace("    return Class", "    1 / 0\n    return Class"), [], "ZeroDivisionError"),
        ("mine.py", "import no_such_thing\n" + MINE, [], "No module named 'no_such_thing'"),
        ("mine.py", MINE.replace(": float = 0.1", ": float"), [], "mine needs a value for 'm'"),
        ("arcface.py", MINE, [], "More than one loss is named 'arcface'"),
        ("mine.py", MINE, ["--loss", "elsewhere/mine.py"], "would both be called mine"),
        ("mine.py", MINE, ["--loss", "cosface"], "names go into --losses"),
        ("mine.py", MINE, ["--losses", "mine(mm=0.3)"], "did you mean 'm'?"),
        ("mine.py", MINE, ["--losses", "softmax,mien"], "did you mean 'mine'?"),
    ],
)
def test_a_broken_file_gets_one_sentence_and_exit_code_2(
    faceloss: Cli, toy_faces: Path, tmp_path: Path, name: str, source: str | None, words: list[str], sentence: str
) -> None:
    if source is not None:
        (tmp_path / name).write_text(source)
    out = tmp_path / "runs"
    done = faceloss("compare", "--data", toy_faces, *SMALL, "--out", out, "--loss", tmp_path / name, *words)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not list(out.glob("runs/*"))


def test_a_row_for_each_file_and_each_choice_of_hyperparameters(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    path = str(tmp_path / "mine.py")
    assert add_files([path], ["softmax"]) == ("softmax", "mine")
    assert add_files([path], ["mine(m=0.2)"]) == ("mine(m=0.2)",)
    assert add_files([path, f"{path} (m=0.3)"], []) == ("mine", "mine(m=0.3)")


def test_the_ids_of_runs_depend_on_the_source(tmp_path: Path) -> None:
    studies = []
    for source in (MINE, MINE + "# a word\n", MINE):
        (tmp_path / "mine.py").write_text(source)
        losses.add(tmp_path / "mine.py")
        studies.append(settle(Study(data="builtin", losses=("mine",))))
    ids = [[run.id for run in plan(study, competitors(study, 5), ("digest",))] for study in studies]
    assert studies[0] != studies[1]
    assert studies[0] == studies[2]
    assert ids[0] == ids[2]
    assert [a == b for a, b in zip(ids[0], ids[1], strict=True)] == [True, False] * 3  # softmax is what it was
    with pytest.raises(BadInput, match="is not what this study began with"):
        use(studies[1], tmp_path)


def test_all_is_every_built_in_loss_with_what_it_needs() -> None:
    every = expand(("all", "cosface(m=0.2)"))
    assert every[0] == "softmax"
    assert every[-1] == "cosface(m=0.2)"
    assert sorted(text.partition("(")[0] for text in every[:-1]) == list(losses.own_names())
    assert "tse(alpha=0.2)" in every
    rows_of_all = competitors(Study(data="builtin", losses=every), 12)
    assert [row.label for row in rows_of_all[:2]] == ["softmax", "softmax (identity-balanced)"]
    assert len(rows_of_all) == len(every) + 1
    batches = [row.batches for row in rows_of_all[2:-1]]
    assert batches == sorted(batches, reverse=True)  # shuffled before identity-balanced
    runs = plan(Study(data="builtin", losses=every), rows_of_all, ())
    assert len({run.id for run in runs}) == len({run.folder for run in runs}) == 3 * len(rows_of_all)
    assert expand(("softmax", "arcface")) == ("softmax", "arcface")
