"""``faceloss losses check``: a sound loss passes, what fails is said in words, and the exit code tells them apart."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]
SOUND = '''"""Mine: softmax on cosines with a margin.

    loss = mean of -log softmax(s (c - m at the target))[y]

c [B,K] cosines, s scale, m margin, y [B] label.

Paper: none; made up for a test, 2026.
Batches: shuffled.
Deviations: none.
Family: margin.
Checked: nothing; it is a test.
"""

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def psi(cos, m):
    return cos - m


def build(dim: int, classes: int, *, s: float = 10.0, m: float = 0.1) -> Loss:
    return ClassHead(dim, classes, scale=Number(s, above=0), psi=psi, hyperparameters={"m": Number(m, low=0)})
'''


def test_a_sound_file_passes_every_check(faceloss: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOUND)
    done = faceloss("losses", "check", f"{tmp_path / 'mine.py'}(m=0.2)")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mine: all 18 checks hold, in 1 setting." in done.stdout
    assert "mine m=0.2\n  pass  output: A 0-d loss" in done.stdout
    assert "FAIL" not in done.stdout


def test_what_fails_is_said_in_words(faceloss: Cli, tmp_path: Path) -> None:
    unsafe = SOUND.replace("cos - m", "(cos.acos() + m).cos()").replace("Paper: none; made up for a test, 2026.", "")
    (tmp_path / "mine.py").write_text(unsafe)
    done = faceloss("losses", "check", tmp_path / "mine.py", "--json")
    assert done.returncode == 1
    failed = {row["check"]: row["sentence"] for row in json.loads(done.stdout) if not row["holds"]}
    assert set(failed) == {"documented", "finite_at_edges"}
    assert failed["documented"] == "'Paper:' is missing or has no year"
    assert "on the input 'aligned'" in failed["finite_at_edges"]


def test_a_loss_that_raises_fails_with_where(faceloss: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SOUND.replace("cos - m", "cos - m.no_such"))
    done = faceloss("losses", "check", tmp_path / "mine.py")
    assert done.returncode == 1
    assert "FAIL  output: the loss raises AttributeError: " in done.stdout
    assert "(mine.py, line 19)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_built_in_loss_is_checked_by_its_name(faceloss: Cli) -> None:
    done = faceloss("losses", "check", "softmax")
    assert done.returncode == 0, done.stdout
    assert "softmax: all 18 checks hold, in 1 setting." in done.stdout


@pytest.mark.parametrize(
    ("source", "arguments", "sentence"),
    [
        (None, "", "mine.py cannot be read"),
        ("def build(", "", "mine.py is not a Python file"),
        (SOUND.replace("m: float = 0.1", "m: float"), "", "mine needs a value for 'm'"),
        (SOUND.replace("m: float = 0.1", "m: float"), "(mm=1)", "did you mean 'm'?"),
        (SOUND.replace("    return Class", "    1 / 0\n    return Class"), "", "ZeroDivisionError"),
        (SOUND, "(m=-1)", "m must be a finite number at least 0; given -1"),
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
    source = SOUND.replace("m: float = 0.1", "m: float").replace("Dev", "Start with: m = 0.2; a guess\nDev")
    (tmp_path / "mine.py").write_text(source)
    done = faceloss("losses", "show", tmp_path / "mine.py")
    assert done.returncode == 0, done.stderr
    assert "start with m = 0.2" in done.stdout
    assert "m = no default, give a value" in done.stdout
