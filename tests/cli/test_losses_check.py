"""``faceloss losses check``: a sound loss passes, what fails is said in words, and the exit code tells them apart."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faceloss.checks import CHECKS

Cli = Callable[..., subprocess.CompletedProcess[str]]
MINE = (Path(__file__).parents[1] / "mine.py").read_text(encoding="utf-8")


def test_a_sound_file_passes_every_check(faceloss: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    done = faceloss("losses", "check", f"{tmp_path / 'mine.py'}(m=0.2)")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"mine: all {len(CHECKS)} checks hold, in 1 setting." in done.stdout
    assert "mine m=0.2\n  pass  output: A 0-d loss" in done.stdout
    assert "FAIL" not in done.stdout


def test_what_fails_is_said_in_words(faceloss: Cli, tmp_path: Path) -> None:
    unsafe = MINE.replace("cos - m", "(cos.acos() + m).cos()").replace("Paper: none; made up for a test, 2026.", "")
    (tmp_path / "mine.py").write_text(unsafe)
    done = faceloss("losses", "check", tmp_path / "mine.py", "--json")
    assert done.returncode == 1
    failed = {row["check"]: row["sentence"] for row in json.loads(done.stdout) if not row["holds"]}
    assert set(failed) == {"documented", "finite_at_edges"}
    assert failed["documented"] == "'Paper:' is missing or has no year"
    assert "on the input 'aligned'" in failed["finite_at_edges"]


def test_a_loss_that_raises_fails_with_where(faceloss: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace("cos - m", "cos - m.no_such"))
    done = faceloss("losses", "check", tmp_path / "mine.py")
    assert done.returncode == 1
    assert "FAIL  output: the loss raises AttributeError: " in done.stdout
    assert "(mine.py, line 19)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_built_in_loss_is_checked_by_its_name(faceloss: Cli) -> None:
    done = faceloss("losses", "check", "softmax")
    assert done.returncode == 0, done.stdout
    assert f"softmax: all {len(CHECKS)} checks hold, in 1 setting." in done.stdout


@pytest.mark.parametrize(
    ("source", "arguments", "sentence"),
    [
        (None, "", "mine.py cannot be read"),
        ("def build(", "", "mine.py is not a Python file"),
        (MINE.replace("m: float = 0.1", "m: float"), "", "mine needs a value for 'm'"),
        (MINE.replace("m: float = 0.1", "m: float"), "(mm=1)", "did you mean 'm'?"),
        (MINE.replace("    return Class", "    1 / 0\n    return Class"), "", "ZeroDivisionError"),
        (MINE, "(m=-1)", "m must be a finite number at least 0; given -1"),
    ],
)
def test_what_cannot_be_checked_is_a_sentence_and_exit_code_2(
    faceloss: Cli, tmp_path: Path, source: str | None, arguments: str, sentence: str
) -> None:
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    done = faceloss("losses", "check", f"{tmp_path / 'mine.py'}{arguments}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_can_be_shown(faceloss: Cli, tmp_path: Path) -> None:
    source = MINE.replace("m: float = 0.1", "m: float").replace("Dev", "Start with: m = 0.2; a guess\nDev")
    (tmp_path / "mine.py").write_text(source)
    done = faceloss("losses", "show", tmp_path / "mine.py")
    assert done.returncode == 0, done.stderr
    assert "start with m = 0.2" in done.stdout
    assert "m = no default, give a value" in done.stdout


def test_a_file_can_be_shown_with_hyperparameters_as_it_can_be_checked(faceloss: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace("m: float = 0.1", "m: float"))
    shown = faceloss("losses", "show", f"{tmp_path / 'mine.py'}(m=0.3)")
    assert shown.returncode == 0, shown.stderr
    assert "m = 0.3, here" in shown.stdout
    assert "Target logit / s" in shown.stdout
    slip = faceloss("losses", "show", f"{tmp_path / 'mine.py'}(mm=0.3)")
    assert slip.returncode == 2
    assert "did you mean 'm'?" in slip.stderr
    assert len(slip.stderr.strip().splitlines()) == 1
