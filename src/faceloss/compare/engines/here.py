"""The engine of one run at a time: this process."""

from pathlib import Path

from faceloss.compare.engines.board import Board
from faceloss.compare.engines.session import facts_of, same_numerics, signals, stopped
from faceloss.compare.prepare import Bench
from faceloss.compare.run import execute
from faceloss.compare.study import Run, Study
from faceloss.train.loop import Stopped
from faceloss.train.state import State


def here(todo: list[Run], study: Study, bench: Bench, out: Path, board: Board) -> None:
    """Do ``todo`` one after another in this process.

    Raises:
        CouldNotFinish: stopped, full disk, or a machine of another kind than the study's; says how to continue.
    """
    same_numerics(study, out)
    asked: list[bool] = []
    with signals(lambda: asked.append(True)):
        for run in todo:

            def show(state: State, total: int, facts: dict[str, float], run: Run = run) -> None:
                board.show(run, facts_of(state, total, study, facts))

            try:
                ended = execute(run, study, bench, out / "runs" / run.folder, stop=lambda: bool(asked), show=show)
            except Stopped as error:
                raise stopped(out) from error
            board.done(run, ended)
            if asked and run is not todo[-1]:
                raise stopped(out)
