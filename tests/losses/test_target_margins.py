"""Statement T11 of the theory: does the margin of each loss fall with the angle, and stay below the plain cosine?"""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.arcface import subtract
from faceloss.losses.heads import ClassHead
from faceloss.losses.magface import easy
from faceloss.losses.operations import add_angle
from faceloss.losses.scores import Listed

GRID = torch.linspace(0.0, math.pi, 4001, dtype=torch.float64)
X2 = {"a": -0.25, "h": -0.4, "k": 0.9}
# Every margin on the target: does psi fall, does it stay below cos, is it without a jump?
MARGINS = [
    ("adaface", {}, "falls below continuous"),
    ("adaptiveface", {}, "falls below continuous"),
    ("am_lfs", {}, "falls below continuous"),
    ("arcface", {}, "falls below"),
    ("arcface", {"beyond_pi": "continuous"}, "falls below continuous"),
    ("arcface", {"beyond_pi": "none"}, "continuous"),
    ("arcnegface", {}, "falls below"),
    ("asoftmax", {}, "falls below continuous"),
    ("asoftmax", {"lam": 0.0}, "falls below continuous"),
    ("circle", {}, "falls below continuous"),
    ("combined", {}, "falls below continuous"),
    ("combined", {"beyond_pi": "none"}, "below continuous"),
    ("cosface", {}, "falls below continuous"),
    ("curricularface", {}, "falls below"),
    ("elasticface", {}, "falls below"),
    ("elasticface", {"margin": "cosface"}, "falls below continuous"),
    ("lookahead_margin", {}, "falls below continuous"),
    ("lsoftmax", {}, "falls below continuous"),
    ("lsoftmax", {"m": 1.35}, "falls below continuous"),
    ("magface", {}, "below"),
    ("magface", {"target": "subtract"}, "falls below"),
    ("mv_softmax", {}, "falls below continuous"),
    ("mv_softmax", {"margin": "arcface"}, "falls below"),
    ("npcface", {}, "below"),
    ("npcface", {"target": "subtract"}, "falls below"),
    ("partial_fc", {}, "falls below continuous"),
    ("partial_fc", {"margin": "arcface"}, "falls below"),
    ("random_softmax", {}, "falls below continuous"),
    ("search_softmax", {}, "falls below continuous"),
    ("sphereface_r", {}, "falls below continuous"),
    ("subcenter_arcface", {}, "falls below"),
    ("unitsface", {}, "falls below continuous"),
    ("vpl", {}, "falls below"),
    ("x2_softmax", X2, "falls below continuous"),
]


def margin_of(loss):
    """psi on the grid of angles, as the head of ``loss`` calls it in evaluation."""
    head = next(part for part in loss.eval().modules() if isinstance(part, ClassHead))
    numbers = head.hyperparameters()
    norm = torch.full_like(GRID, float(getattr(head.psi, "middle_norm", 3.0)))
    labels = torch.zeros(len(GRID), dtype=torch.int64)
    far = torch.full((len(GRID), 5), -torch.inf, dtype=torch.float64)  # no other class is near
    seen = {
        **numbers,
        "scores": Listed(far),
        "hyperparameters": numbers,
        "norm": norm,
        "labels": labels,
        "generator": head.generator,
    }
    with torch.no_grad():
        return head.psi(GRID.cos(), **head._given("psi", seen))


def properties(psi):
    steps = psi.diff()
    words = [
        ("falls", bool((steps <= 1e-12).all()) and psi[0] > psi[-1]),
        ("below", bool((psi <= GRID.cos() + 2e-6).all())),
        ("continuous", bool(steps.abs().max() < 0.01)),
    ]
    return " ".join(word for word, true in words if true)


@pytest.mark.parametrize(("name", "more", "expected"), MARGINS)
def test_a_margin_falls_and_stays_below_cos(name, more, expected):
    psi = margin_of(losses.build(name, dim=4, classes=5, **more))
    assert properties(psi) == expected


def test_raw_arcface_and_easy_margin_fail_it():
    m = torch.tensor(0.5, dtype=torch.float64)
    assert properties(subtract(GRID.cos(), m)) == "falls below"
    assert properties(add_angle(GRID.cos(), m)) == "continuous"
    jumping = easy(GRID.cos(), m)
    assert properties(jumping) == "below"
    assert jumping.diff().max().item() == pytest.approx(math.sin(0.5), abs=2e-3)


def test_every_margin_is_in_the_table():
    """A loss with a margin on the target that is not in the table has not been looked at."""
    with_margin = set()
    for name in losses.names():
        missing = {key: 1.0 for key, about in losses.describe(name).hyperparameters.items() if about.default is None}
        loss = losses.build(name, dim=4, classes=5, **(X2 if name == "x2_softmax" else missing))
        if any(isinstance(part, ClassHead) and part.psi is not None for part in loss.modules()):
            with_margin.add(name)
    assert {name for name, _, _ in MARGINS} == with_margin
