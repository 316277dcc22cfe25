"""Handing out runs, without training: who is asked again, who is given up, and what a worker refuses."""

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from faceloss import files
from faceloss.compare import search_log
from faceloss.compare.engines import drive as driving
from faceloss.compare.engines import work as working
from faceloss.compare.engines.board import Board
from faceloss.compare.engines.drive import NotNow, drive
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
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.files import write_atomically
from faceloss.lock import InUse, locked
from faceloss.progress import Progress
from faceloss.train import checkpoint
from faceloss.train.settings import Recipe

RUNS = [Run(f"id{seed}", Competitor("softmax", "softmax", {}, "shuffled"), seed) for seed in range(4)]
STUDY = Study(
    data="builtin", losses=("softmax",), recipe=Recipe(net_options={"width": 4}, dim=8, size=32, device="cpu")
)
LOST = Outcome("lost", "killed")
Script = Callable[[Run, Path], Iterable[Outcome | None]]


class Stand:
    """A board that remembers."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.said: list[str] = []
        self.shown: list[int] = []
        self.waited: list[tuple[int, str]] = []
        self.done = lambda run, text: self.ended.append(run.id)
        self.say = self.said.append
        self.show = lambda run, facts: self.shown.append(facts["step"])
        self.wait = lambda runs, why: self.waited.append((runs, why))


@pytest.fixture(scope="module")
def bench() -> Bench:
    return prepare(STUDY)


def finish(folder: Path) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").touch()
    return Outcome("done", "finished")


def hand_out(
    bench: Bench, out: Path, script: Script, at_once: int = 4, refuse: Callable[[], bool] = lambda: False
) -> tuple[Stand, list[str], list[str]]:
    """Drive the four runs through jobs that do as ``script`` says; the board, what was submitted and cancelled.

    Where ``refuse`` says so, no job can be submitted.
    """
    board, submitted, cancelled = Stand(), list[str](), list[str]()

    def submit(runs: list[Run], token: str) -> list[tuple[Run, object]]:
        assert session(out)["token"] == token
        assert runs  # a cluster is not asked for nothing
        if refuse():
            raise NotNow("the cluster is away")
        submitted.extend(run.id for run in runs)
        return [(run, iter(script(run, out / "runs" / run.folder))) for run in runs]

    def cancel(jobs: Sequence[tuple[Run, object]]) -> None:
        cancelled.extend(run.id for run, _ in jobs)

    try:
        drive(
            RUNS,
            bench,
            out,
            board,  # type: ignore[arg-type]
            submit=submit,
            ask=lambda job: next(job[1]),  # type: ignore[call-overload]
            cancel=cancel,
            at_once=at_once,
            pause=0.01,
            why=lambda: "no room",
        )
    finally:
        assert session(out) == {}
    return board, submitted, cancelled


def saved(folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint.json").write_text(json.dumps({"facts": {"step": step}}))


def test_all_runs_are_done_and_no_more_than_allowed_at_once(bench: Bench, tmp_path: Path) -> None:
    running: list[str] = []
    most = 0

    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        nonlocal most
        running.append(run.id)
        most = max(most, len(running))
        yield None
        running.remove(run.id)
        yield finish(folder)

    board, submitted, cancelled = hand_out(bench, tmp_path, script, at_once=2)
    assert board.ended == submitted == [run.id for run in RUNS]
    assert most == 2
    assert cancelled == []


def test_why_none_has_begun_is_told_until_one_has(bench: Bench, tmp_path: Path) -> None:
    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        yield None
        yield None
        if run is RUNS[0]:
            folder.mkdir(parents=True)
            write_progress(folder, session(tmp_path)["token"], {"step": 5})
        yield None
        yield finish(folder)

    board, _, _ = hand_out(bench, tmp_path, script)
    assert board.waited == [(4, "no room")] * 2
    assert board.shown == [5]


def test_a_cluster_that_takes_no_jobs_for_a_while_is_asked_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "LATER", 0.1)
    answers = iter([False, True, True, False])
    asked: list[float] = []
    first = iter([LOST])

    def refuse() -> bool:
        asked.append(time.monotonic())
        return next(answers)

    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        yield next(first, None) if run is RUNS[2] else None
        yield finish(folder)

    board, submitted, _ = hand_out(bench, tmp_path, script, refuse=refuse)
    assert submitted == ["id0", "id1", "id2", "id3", "id2"]
    assert len(board.ended) == 4
    assert board.said.count("the cluster is away; trying again in 0 s") == 2
    assert min(asked[2] - asked[1], asked[3] - asked[2]) > 0.1


def test_a_run_that_gets_further_with_every_worker_it_costs_is_not_given_up(bench: Bench, tmp_path: Path) -> None:
    steps = iter(range(10, 100, 10))

    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        step = next(steps) if run is RUNS[1] else 0
        if 0 < step < 80:
            saved(folder, step)
            yield LOST if step % 20 else Outcome("stopped")
        yield finish(folder)

    board, submitted, _ = hand_out(bench, tmp_path, script)
    assert submitted.count("id1") == 8
    assert len(board.ended) == 4
    assert board.said[0] == "taken over: softmax seed 1 (killed)"
    assert board.said[1] == "taken over: softmax seed 1 (its worker had to stop)"


def test_a_run_that_does_not_get_further_is_given_up_after_three_workers(bench: Bench, tmp_path: Path) -> None:
    asked: list[str] = []

    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        asked.append(run.id)
        if run is RUNS[1]:
            saved(folder, 7)
            yield LOST
        yield finish(folder)

    with pytest.raises(CouldNotFinish, match=r"lost 3 workers in a row .*softmax seed 1 \(killed\)"):
        hand_out(bench, tmp_path, script)
    assert sorted(asked) == ["id0", "id1", "id1", "id1", "id2", "id3"]


@pytest.mark.parametrize(
    ("kind", "error"), [("bad input", BadInput), ("could not finish", CouldNotFinish), ("error", RuntimeError)]
)
def test_what_is_wrong_for_all_stops_all_and_is_not_tried_again(
    kind: str, error: type[Exception], bench: Bench, tmp_path: Path
) -> None:
    asked: list[str] = []

    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        asked.append(run.id)
        if run is RUNS[0]:
            yield None
            yield Outcome(kind, "the disk is full")  # type: ignore[arg-type]
        folder.mkdir(parents=True)
        write_progress(folder, session(tmp_path)["token"], {"step": 5})
        while session(tmp_path):
            yield None
        yield Outcome("stopped")

    with pytest.raises(error, match="the disk is full"):
        hand_out(bench, tmp_path, script, at_once=2)
    assert asked == ["id0", "id1"]


def test_a_worker_that_does_not_stop_in_time_is_cancelled(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "GRACE", 0.1)
    looked: list[str] = []

    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        if run is RUNS[0]:
            yield Outcome("bad input", "no such disk")
        if run is RUNS[1]:  # at work
            folder.mkdir(parents=True)
            write_progress(folder, session(tmp_path)["token"], {"step": 5})
        for _ in range(500):
            looked.append(run.id)
            yield None

    before = time.monotonic()
    with pytest.raises(BadInput, match="no such disk"):
        hand_out(bench, tmp_path, script, at_once=3)
    assert time.monotonic() - before < 5
    assert looked.count("id1") > 2
    assert looked.count("id2") == 1  # it had not begun, and was not waited for


def test_a_result_that_is_not_here_means_that_the_folder_is_not_shared(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving.time, "sleep", lambda seconds: None)

    def script(run: Run, folder: Path) -> Iterable[Outcome | None]:
        folder.mkdir(parents=True)
        yield Outcome("done", "finished")

    with pytest.raises(CouldNotFinish, match="on a disk that all machines share"):
        hand_out(bench, tmp_path, script)


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
        found = work(RUNS[0], out, "token")
        assert found.kind == "bad input"
        assert f"does not see {out / 'study.json'}; the runs folder must be on a disk that all machines share" in (
            found.text
        )


def test_a_worker_of_a_session_that_is_over_does_nothing(opened: tuple[Path, str]) -> None:
    out, token = opened
    assert work(RUNS[0], out, "another").kind == "stopped"
    close_session(out)
    assert work(RUNS[0], out, token).kind == "stopped"
    assert not (out / "runs").exists()


def test_a_worker_with_other_versions_or_other_faces_refuses(opened: tuple[Path, str]) -> None:
    out, token = opened
    alter(out, versions=versions() | {"torch": "1.0"}, host="login")
    found = work(RUNS[0], out, token)
    assert found.kind == "could not finish"
    assert "torch 1.0" in found.text
    assert found.text.startswith(f"{os.uname().nodename}: ")
    alter(out, versions=versions(), digests=["other"])
    found = work(RUNS[0], out, token)
    assert found.kind == "bad input"
    assert "give every machine the same images" in found.text


def test_a_run_in_use_is_lost_to_this_worker_only(opened: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, token = opened

    def busy(*_: object, **__: object) -> str:
        raise InUse("in use")

    monkeypatch.setattr(working, "execute", busy)
    assert work(RUNS[0], out, token) == Outcome("lost", "in use")


def test_an_error_in_a_worker_comes_with_its_traceback(
    opened: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, token = opened
    monkeypatch.setattr(working, "execute", lambda *_, **__: 1 / 0)
    found = work(RUNS[0], out, token)
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


def test_who_gets_a_lock_sees_what_the_holder_before_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS, that a file is not there is remembered for a minute, unless its folder is looked into again."""
    done: list[str] = []
    flock, listdir = fcntl.flock, os.listdir
    monkeypatch.setattr(fcntl, "flock", lambda *words: (done.append("locked"), flock(*words)))
    monkeypatch.setattr(os, "listdir", lambda path: (done.append(f"looked into {path}"), listdir(path))[1])
    with locked(tmp_path):
        assert done == ["locked", f"looked into {tmp_path}"]


def test_a_file_that_is_replaced_on_another_machine_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "session.json", b'{"token": "new"}')
    write_atomically(tmp_path / "search.json", b'{"epochs": [1], "policy": null}')
    write_atomically(tmp_path / "outside.json", b'{"files": {"/etc/passwd": ""}, "facts": {}}')
    whole = Path.read_bytes
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    stale = [errno.ESTALE] * 8

    def read(path: Path) -> bytes:
        if stale:
            raise OSError(stale.pop(), "Stale file handle")
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert session(tmp_path) == {"token": "new"}
    stale.append(errno.ESTALE)
    assert search_log.read(tmp_path)["epochs"] == [1]
    stale.append(errno.ESTALE)
    with pytest.raises(CouldNotFinish, match="it names files elsewhere"):  # read, then refused
        checkpoint.load(tmp_path, "outside")
    stale.append(errno.EIO)
    with pytest.raises(OSError, match="Stale file handle"):
        session(tmp_path)
    stale += [errno.ESTALE] * 8
    monkeypatch.setattr(files, "STALE", 0.0)
    with pytest.raises(OSError, match="Stale file handle"):
        session(tmp_path)


def test_machines_that_write_one_file_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process numbers repeat across machines, and are small and few in containers."""
    asides: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(os, "replace", lambda old, new: (asides.append(str(old)), replace(old, new)))
    for _ in range(2):
        write_atomically(tmp_path / "numerics.json", b"{}")
    assert len(set(asides)) == 2
    assert os.listdir(tmp_path) == ["numerics.json"]


def test_a_file_system_without_locks_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(CouldNotFinish, match="file system without locks"), locked(tmp_path):
        pass


def test_the_board_counts_what_was_done_before(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(Progress(), runs=9, todo=4)
    board.done(RUNS[2], "failed: out of memory")
    assert capsys.readouterr().err == "failed: softmax seed 2 (6/9): out of memory\n"


def test_the_board_tells_of_runs_that_have_not_begun(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(Progress(every=0.0), runs=9, todo=4)
    board.wait(3, "2 in the queue (Resources)")
    board.wait(1, "")
    assert capsys.readouterr().err.splitlines() == [
        "  0 %  waiting for 3 runs to begin: 2 in the queue (Resources) | 0/4 runs done",
        "  0 %  waiting for 1 run to begin | 0/4 runs done",
    ]
