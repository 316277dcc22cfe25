"""A worker and its session, without training: what it refuses, and in which words."""

import json
import os
import time
from pathlib import Path

import pytest

from faceloss.compare.engines import work as working
from faceloss.compare.engines.session import (
    close_session,
    open_session,
    read_progress,
    same_numerics,
    session,
    versions,
    write_progress,
)
from faceloss.compare.engines.work import Outcome, work
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.study import Competitor, Run, Study
from faceloss.errors import CouldNotFinish
from faceloss.lock import InUse
from faceloss.train.settings import Recipe

RUN = Run("id0", Competitor("softmax", "softmax", {}, "shuffled"), 0)
STUDY = Study(
    data="builtin", losses=("softmax",), recipe=Recipe(net_options={"width": 4}, dim=8, size=32, device="cpu")
)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return prepare(STUDY)


@pytest.fixture
def opened(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A runs folder with a session, and its token."""
    monkeypatch.setattr(working, "EVERY", 0.0)
    (tmp_path / "study.json").write_text(STUDY.model_dump_json())
    return tmp_path, open_session(tmp_path, bench)


def alter(out: Path, **facts: object) -> None:
    (out / "session.json").write_text(json.dumps(session(out) | facts))


def test_a_worker_says_that_it_does_not_see_the_runs_folder(opened: tuple[Path, str], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for out in (elsewhere, tmp_path / "missing"):
        found = work(RUN, out, "token")
        assert found.kind == "bad input"
        assert f"does not see {out / 'study.json'}; the runs folder must be on a disk that all machines share" in (
            found.text
        )


def test_a_worker_of_a_session_that_is_over_does_nothing(opened: tuple[Path, str]) -> None:
    out, token = opened
    assert work(RUN, out, "another").kind == "stopped"
    close_session(out)
    assert work(RUN, out, token).kind == "stopped"
    assert not (out / "runs").exists()


def test_a_worker_with_other_versions_or_other_faces_refuses(opened: tuple[Path, str]) -> None:
    out, token = opened
    alter(out, versions=versions() | {"torch": "1.0"}, host="login")
    found = work(RUN, out, token)
    assert found.kind == "could not finish"
    assert "torch 1.0" in found.text
    assert found.text.startswith(f"{os.uname().nodename}: ")
    alter(out, versions=versions(), digests=["other"])
    found = work(RUN, out, token)
    assert found.kind == "bad input"
    assert "give every machine the same images" in found.text


def test_a_run_in_use_is_lost_to_this_worker_only(opened: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, token = opened

    def busy(*_: object, **__: object) -> str:
        raise InUse("in use")

    monkeypatch.setattr(working, "execute", busy)
    assert work(RUN, out, token) == Outcome("lost", "in use")


def test_an_error_in_a_worker_comes_with_its_traceback(
    opened: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, token = opened
    monkeypatch.setattr(working, "execute", lambda *_, **__: 1 / 0)
    found = work(RUN, out, token)
    assert found.kind == "error"
    assert "ZeroDivisionError" in found.text


def test_progress_is_that_of_the_session(tmp_path: Path) -> None:
    assert read_progress(tmp_path, "mine") is None
    write_progress(tmp_path, "mine", {"step": 3})
    assert (read_progress(tmp_path, "mine") or {})["step"] == 3
    assert read_progress(tmp_path, "another") is None


def test_every_machine_of_a_study_computes_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    fp32, bf16 = (
        STUDY.model_copy(update={"recipe": STUDY.recipe.model_copy(update={"precision": precision})})
        for precision in ("fp32", "bf16")
    )
    same_numerics(fp32, tmp_path)
    same_numerics(fp32, tmp_path)
    with pytest.raises(CouldNotFinish, match=r"computes in fp32 on cpu, but .* would in bf16 on cpu"):
        same_numerics(bf16, tmp_path)
    (tmp_path / "numerics.json").write_text("")  # whoever was first died while writing
    same_numerics(bf16, tmp_path)
    with pytest.raises(CouldNotFinish):
        same_numerics(fp32, tmp_path)
