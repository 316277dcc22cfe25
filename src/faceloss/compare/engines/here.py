"""The engine of one run at a time: this process, or the processes that torchrun started."""

from pathlib import Path

from faceloss.compare.engines.board import Board
from faceloss.compare.engines.session import facts_of, same_numerics, signals, stopped
from faceloss.compare.prepare import Bench
from faceloss.compare.run import execute
from faceloss.compare.study import Run, Study
from faceloss.train.loop import Stopped
from faceloss.train.ranks import ONE, Lost, Ranks, answering
from faceloss.train.state import State


def here(todo: list[Run], study: Study, bench: Bench, out: Path, board: Board, *, ranks: Ranks = ONE) -> None:
    """Do ``todo`` one after another in this process, or in all of ``ranks`` together.

    Raises:
        CouldNotFinish: stopped, full disk, a process lost, or a machine of another kind than the study's; says how to
            continue.
    """
    same_numerics(study, out)
    asked: list[bool] = []
    with signals(lambda: asked.append(True)):
        for run in todo:

            def show(state: State, total: int, facts: dict[str, float], run: Run = run) -> None:
                board.show(run, facts_of(state, total, run, study, facts))

            folder = out / "runs" / run.folder
            try:
                with answering():
                    ended = execute(run, study, bench, folder, stop=lambda: bool(asked), show=show, ranks=ranks)
                    (halt,) = ranks.any(bool(asked))
            except Stopped as error:
                raise stopped(out) from error
            except Lost as error:
                raise Lost(f"{error}; continue, with as many processes as you like: faceloss resume {out}") from error
            board.done(run, ended)
            if halt and run is not todo[-1]:
                raise stopped(out)
