"""Handing out runs, without training: who is asked again, who is given up, and what the board says."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from faceloss.compare.engines import drive as driving
from faceloss.compare.engines.board import Board
from faceloss.compare.engines.drive import NotNow, drive
from faceloss.compare.engines.session import session, write_progress
from faceloss.compare.engines.work import Outcome
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.study import Competitor, Run, Study
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.progress import Progress
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
