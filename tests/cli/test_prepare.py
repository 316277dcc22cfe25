"""``faceloss prepare`` as a person meets it: sentences, exit codes, what it prints."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="THE EXTRA detect IS ABSENT: not run"
)


def test_a_run_tells_what_became_of_the_photographs(faceloss: Callable, tmp_path: Path) -> None:
    (tmp_path / "in" / "ann").mkdir(parents=True)
    Image.new("RGB", (80, 80), (90, 120, 150)).save(tmp_path / "in" / "ann" / "sky.png")
    (tmp_path / "in" / "ann" / "empty.jpg").touch()
    done = faceloss("prepare", tmp_path / "in", tmp_path / "out", "--processes", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2 files: 0 kept, 0 kept after a conversion, 2 dropped; 0 crops.",
        "       1  empty file",
        "       1  no face found",
        str(tmp_path / "out" / "prepare.html"),
    ]
    assert "no face found" in (tmp_path / "out" / "prepare.html").read_text()
    again = faceloss("prepare", tmp_path / "in", tmp_path / "out")
    assert (again.returncode, again.stdout) == (0, done.stdout)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--faces", "biggest"], "There is no way to choose among several faces named 'biggest'"),
        (["--size", "128"], "There is no size of crops named '128'"),
        (["--min-face", "huge"], "'huge' is no size of a face"),
        (["--detector", "model.onnx"], "There is no detector 'model.onnx'"),
        (["--none", "error"], "empty.png: no face found"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    faceloss: Callable, tmp_path: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (80, 80), (90, 120, 150)).save(tmp_path / "in" / "empty.png")
    done = faceloss("prepare", tmp_path / "in", tmp_path / "out", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"faceloss: {sentence}")
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("out/images/*"))
