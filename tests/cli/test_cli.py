"""The command line as a newcomer meets it: instant help, light answers, sentences instead of tracebacks."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from faceloss import losses
from faceloss.cli.main import VERBS, cli

Cli = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = ("torch", "numpy", "scipy", "PIL", "matplotlib", "pydantic")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["losses"],
        ["losses", "--json"],
        ["losses", "show", "--json", "arcface"],
        ["compare", "--help"],
        ["prepare", "--help"],
        ["data", "list"],
        ["--version"],
    ],
)
def test_simple_questions_load_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from faceloss.cli.main import _run\n"
        f"code = _run({words!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[] 0"
    assert done.stdout


def test_help_names_every_verb_and_every_verb_has_help() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    for verb in VERBS:
        assert verb in text
        shown = CliRunner().invoke(cli, [verb, "--help"])
        assert shown.exit_code == 0
        assert len(shown.output.splitlines()) > 4


def test_losses_as_json_has_every_loss(faceloss: Cli) -> None:
    done = faceloss("losses", "--json")
    listed = json.loads(done.stdout)
    assert [entry["name"] for entry in listed] == list(losses.names())
    arcface = next(entry for entry in listed if entry["name"] == "arcface")
    assert arcface["hyperparameters"]["m"]["default"] == 0.5
    assert "2019" in arcface["paper"]
    assert arcface["family"] == "margin"
    assert "pytorch-metric-learning" in arcface["checked"]


def test_losses_are_listed_by_family(faceloss: Cli) -> None:
    lines = faceloss("losses").stdout.splitlines()
    assert [line for line in lines if line in losses.FAMILIES] == list(losses.FAMILIES)
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(losses.names())
    assert lines.index("margin") < lines.index("adaptive margin") < lines.index("binary")


def test_show_draws_the_loss_as_text(faceloss: Cli) -> None:
    done = faceloss(
        "losses", "show", "cosface(m=0.25, s=40)", env={**os.environ, "PYTHONIOENCODING": "utf-8"}, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "m = 0.25, here; 0.35 by default  (float)" in done.stdout
    assert "Nats taken from the target" in done.stdout
    assert "scale s = 40" in done.stdout
    drawn = done.stdout.split("Nats taken")[1].splitlines()
    row = next(line for line in drawn[1:] if "•" in line)  # 40 * 0.25 nats at every angle
    assert row.split("┤") == ["    10 ", "•" * 60]
    picture = [line for line in done.stdout.splitlines() if re.match(r" *[-\d.]* ?[│┤└]", line)]
    assert len(picture) == 22
    assert max(map(len, picture)) <= 80
    assert done.stderr == ""


def test_show_draws_in_ascii_where_the_terminal_has_no_more(faceloss: Cli) -> None:
    done = faceloss("losses", "show", "contrastive", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "Force, per radian" in done.stdout
    assert "180 deg" in done.stdout


def test_show_says_which_values_are_missing(faceloss: Cli) -> None:
    assert "losses show 'x2_softmax(a=..., h=..., k=...)'" in faceloss("losses", "show", "x2_softmax").stdout


def test_show_as_json_holds_what_was_given(faceloss: Cli) -> None:
    shown = json.loads(faceloss("losses", "show", "--json", "arcface(m=0.3)").stdout)
    assert shown["given"] == {"m": 0.3}
    assert shown["hyperparameters"]["m"]["default"] == 0.5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compar"], "did you mean 'compare'?"),
        (["losses", "show", "arcfase"], "did you mean 'arcface'?"),
        (["losses", "tell"], "losses show NAME"),
        (["losses", "show", "arcface(mm=0.3)"], "did you mean 'm'?"),
        (["losses", "show", "arcface(m=9)"], "m must be a finite number"),
        (["losses", "show", "tpe(size=-1)"], "size must be"),
        (["compare"], "--data"),
        (["resume", "/nowhere"], "/nowhere"),
        (["report", "/nowhere"], "/nowhere"),
        (["evaluate", "/nowhere.npz"], "/nowhere.npz"),
    ],
)
def test_a_slip_gets_one_sentence_and_exit_code_2(faceloss: Cli, words: list[str], sentence: str) -> None:
    done = faceloss(*words)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_evaluate_a_file(faceloss: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(40), 5)
    embeddings = rng.normal(size=(40, 16))[identities] + rng.normal(size=(200, 16))
    file = tmp_path / "faces.npz"
    np.savez(file, embeddings=embeddings.astype(np.float32), identities=identities)
    done = faceloss("evaluate", file, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(row["metric"], row["at"]): row for row in rows if row["kind"] == "result"}
    assert found["tar", 0.01]["status"] == "measured"
    assert found["tar", 1e-6]["status"] == "not measurable"
    assert 0.2 < found["tar", 0.01]["value"] < 1
    assert found["tar", 0.01]["low"] < found["tar", 0.01]["value"] < found["tar", 0.01]["high"]
    plain = faceloss("evaluate", file)
    assert "not measurable" in plain.stdout
    few = faceloss("evaluate", file, "--far", "0.01", "--json")
    rows = [json.loads(line) for line in few.stdout.splitlines()]
    there = {(row["metric"], row["at"]): row for row in rows if row.get("status") == "measured"}
    assert {metric for metric, _ in there} == {"tar", "rank"}
    assert {at for metric, at in there if metric == "tar"} == {0.01}
    assert there["tar", 0.01]["value"] == found["tar", 0.01]["value"]
    assert there["tar", 0.01]["attained"] == found["tar", 0.01]["attained"]
    refused = faceloss("evaluate", file, "--far", "1e-9")
    assert refused.returncode == 2
    assert "30 expected errors" in refused.stderr


def test_evaluate_refuses_what_is_not_such_a_file(faceloss: Cli, tmp_path: Path) -> None:
    file = tmp_path / "faces.npz"
    np.savez(file, embedings=np.zeros((3, 2)))
    done = faceloss("evaluate", file)
    assert done.returncode == 2
    assert "embeddings" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_nothing_wrong_here(faceloss: Cli) -> None:
    done = faceloss("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All is well." in done.stdout
