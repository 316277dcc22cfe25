"""Courses in a comparison: followed by built-in losses and by those of a user's file, continued to the bit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceloss import losses
from faceloss.compare.prepare import prepare
from faceloss.compare.run import execute
from faceloss.compare.study import Competitor, Run, Study, competitors
from faceloss.errors import BadInput
from faceloss.losses import outside
from faceloss.train.loop import Stopped
from faceloss.train.settings import Recipe
from faceloss.train.state import State

RECIPE = Recipe(
    net_options={"width": 4}, dim=8, size=32, device="cpu", precision="fp32", epochs=2, batch=16, threads=1,
    images_per_identity=2,
)  # fmt: skip
MINE = '''"""Mine: softmax on cosines with a margin that rises.

    loss = CosFace with margin m and s = 10

m margin.

Paper: none; made up for a test, 2026.
Batches: shuffled.
Course: m rises from 0.
Deviations: none.
"""

from faceloss.losses.core import Loss, Number
from faceloss.losses.cosface import psi
from faceloss.losses.heads import ClassHead


def course(progress, *, m):
    return {"m": m * progress}


def build(dim: int, classes: int, *, m: float = 0.1) -> Loss:
    return ClassHead(dim, classes, scale=Number(10.0), psi=psi, hyperparameters={"m": Number(m, low=0)})
'''


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    losses.add(path)
    yield path
    outside.drop("mine")


def run(loss: str, **hyperparameters: float) -> Run:
    return Run("id", Competitor(loss, loss, hyperparameters, "shuffled"), 3)


def followed(study: Study, one: Run, name: str, out: Path) -> list[float]:
    """The hyperparameter ``name`` in each step of a run."""
    seen: list[float] = []

    def show(state: State, total: int, now: dict[str, float]) -> None:
        seen.append(float(state.loss.hyperparameters()[name]))

    execute(one, study, prepare(study), out, show=show)
    return seen


def test_a_run_follows_the_course_of_its_loss(toy_faces: Path, tmp_path: Path, mine: Path) -> None:
    study = Study(data=str(toy_faces), losses=("asoftmax",), recipe=RECIPE)
    seen = followed(study, run("asoftmax", lam=2.0), "lam", tmp_path / "a")
    course = losses.course("asoftmax", lam=2.0)
    assert len(seen) > 4
    assert seen == [course(step / len(seen))["lam"] for step in range(len(seen))]
    assert seen[0] > seen[1] > seen[-1] == 2.0
    own = followed(study, run("mine", m=0.4), "m", tmp_path / "b")
    assert own == pytest.approx([0.4 * step / len(own) for step in range(len(own))])


def test_a_run_that_was_stopped_ends_in_the_same_numbers(toy_faces: Path, tmp_path: Path, mine: Path) -> None:
    study = Study(data=str(toy_faces), losses=("mine",), recipe=RECIPE)
    bench, one = prepare(study), run("mine", m=0.4)
    execute(one, study, bench, tmp_path / "whole")
    asked: list[int] = []
    with pytest.raises(Stopped):
        execute(one, study, bench, tmp_path / "stopped", stop=lambda: asked.append(0) is None and len(asked) == 3)
    execute(one, study, bench, tmp_path / "stopped")
    execute(run("mine", m=0.1), study, bench, tmp_path / "other")
    whole, stopped, other = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "stopped", "other")
    )
    assert whole == stopped
    assert whole != other


def test_a_course_that_asks_for_too_much_is_refused_before_any_run(mine: Path) -> None:
    mine.write_text(MINE.replace("*, m):", "*, margin):"))
    losses.add(mine)
    with pytest.raises(BadInput, match="mine: course asks for 'margin', which is none of its hyperparameters: m"):
        competitors(Study(data="builtin", losses=("mine",)), 5)
