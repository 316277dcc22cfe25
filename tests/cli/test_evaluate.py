"""``faceloss evaluate`` from files of every kind to lines and JSON."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faceloss.evaluate.protocol import names
from faceloss.evaluate.twins import twin

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    arrays = twin("groups")
    e = arrays["embeddings"].copy()
    e[1] = e[0]
    np.savez(tmp_path / "faces.npz", **{**arrays, "embeddings": e})
    return tmp_path / "faces.npz"


def test_the_help_names_every_protocol(faceloss: Cli) -> None:
    text = faceloss("evaluate", "--help").stdout
    assert all(name in text for name in names())


def test_everything_that_fits_is_judged_and_looks_are_counted(faceloss: Cli, faces: Path) -> None:
    done = faceloss("evaluate", faces, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row.get("protocol") for row in rows if row["kind"] == "result"} == {"cross-matrix", "rank"}
    assert {row["metric"] for row in rows if row["kind"] == "group"} >= {"fmr", "fnmr", "fmr ratio", "fnmr gap"}
    assert all("influence" not in row for row in rows)
    assert "1 of 1,120 embeddings repeat another one to the bit, all within one identity" in done.stderr
    assert rows[-1]["kind"] == "looks"
    assert (rows[-1]["total"], rows[-1]["new"]) == (1, 1)
    again = json.loads(faceloss("evaluate", faces, "--json").stdout.splitlines()[-1])
    assert (again["total"], again["new"]) == (1, 0)  # the same embeddings are no new look
    arrays = dict(np.load(faces))
    np.savez(faces, **{**arrays, "embeddings": arrays["embeddings"] * [-1.0] + 0.1})
    other = json.loads(faceloss("evaluate", faces, "--json").stdout.splitlines()[-1])
    assert (other["total"], other["new"]) == (2, 1)
    plain = faceloss("evaluate", faces)
    assert "not measurable (needs 3,000,000,000 impostor pairs" in plain.stdout
    assert "fmr ratio" in plain.stdout
    assert "Looks at this test so far: 2." in plain.stderr


def test_a_protocol_by_name_on_its_twin(faceloss: Cli) -> None:
    done = faceloss("evaluate", "builtin", "--protocol", "open-set", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["gallery"] for row in rows if row["kind"] == "open set"] == [10, 100, 210]
    result = next(row for row in rows if row["kind"] == "result" and row["status"] == "measured")
    assert (result["metric"], result["gallery"], result["at"]) == ("tpir", 10, 0.1)
    assert "open set of 100: tpir at FPIR 0.1" in faceloss("evaluate", "builtin", "--protocol", "open-set").stdout


def test_scores_out_and_in(faceloss: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "lfw.npz", **twin("lfw"))
    done = faceloss("evaluate", tmp_path / "lfw.npz", "--protocol", "lfw", "--scores-out", tmp_path / "s.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.csv").read_text().startswith("label,score,first,second,fold\n")
    assert faceloss("evaluate", tmp_path / "s.csv").stdout == done.stdout
    assert faceloss("evaluate", tmp_path / "s.csv", "--protocol", "lfw").stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["FILE", "--protocol", "ijc"], "did you mean 'ijb'"),
        (["FILE", "--protocol", "megaface"], "needs an array roles"),
        (["FILE", "--data", "builtin"], "belong to a trained network"),
        (["FILE", "--scores-out", "OUT.txt"], "written as .csv or .npz"),
        (["FILE", "--scores-out", "OUT.csv"], "no array pairs"),
        (["builtin"], "name one that comes with faceloss"),
        (["none/model.json"], "say which faces"),
        (["none/model.json", "--data", "builtin"], "holds no model.json"),
    ],
)
def test_a_slip_gets_one_sentence_and_writes_nothing(
    faceloss: Cli, faces: Path, words: list[str], sentence: str
) -> None:
    before = sorted(faces.parent.iterdir())
    given = [word.replace("FILE", str(faces)).replace("OUT", str(faces.parent / "out")) for word in words]
    done = faceloss("evaluate", *given)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("note:")]
    assert len(lines) == 1
    assert sentence in lines[0]
    assert done.stdout == ""
    assert sorted(faces.parent.iterdir()) == before
