"""`faceloss search` as a user meets it."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faceloss.cli.main import _run
from faceloss.cli.search import METHODS
from faceloss.compare import controls

Cli = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ["--epochs", "1", "--seeds", "1", "--set", "net_options.width=4", "--set", "batch=16", "--set", "size=32",
         "--set", "dim=8", "--set", "images_per_identity=2", "--set", "precision=fp32"]  # fmt: skip


def test_the_verb_knows_the_methods_that_there_are() -> None:
    assert set(METHODS) == set(controls.METHODS)


def test_a_search_ends_with_its_page_and_goes_on_where_it_was(faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    done = faceloss("search", "--data", toy_faces, *SMALL, "--workers", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "report.html")
    assert [path.name.partition("-")[0] for path in sorted((out / "runs").iterdir())] == ["lookahead", "softmax"]
    again = faceloss("resume", out)
    assert again.returncode == 0
    assert "(0 to do)" in again.stderr


def test_controls_print_what_a_search_must_beat(
    toy_faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer arms than there are, which are all built in tests/compare/test_controls.py."""
    monkeypatch.setattr(controls, "GRID", controls.GRID[:2])
    monkeypatch.setattr(controls, "METHODS", {"random": "random_softmax"})
    monkeypatch.setattr(controls, "CONTROLS", ())
    out = tmp_path / "runs"
    assert _run(["search", "--data", str(toy_faces), "--controls", *SMALL, "--workers", "1", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == str(out / "report.html")
    assert [line.split(" | ")[0].strip("| ") for line in lines[3:]] == [
        "softmax",
        *(f"cosface (s=32, m={m})" for m in controls.MARGINS[32][:2]),
        "random_softmax",
    ]
    assert "best fixed margin" in "".join(lines)
    assert (out / controls.BESIDE).exists()


def test_what_cannot_be_is_said_in_a_sentence(faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    words = ["search", "--data", toy_faces, "--out", tmp_path / "runs"]
    done = faceloss(*words, "--method", "guidet")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "guided" in done.stderr
    done = faceloss(*words, "--method", "guided", "--controls")
    assert (done.returncode, done.stderr) == (2, "faceloss: --controls runs every method; leave out --method.\n")
    assert not (tmp_path / "runs").exists()
