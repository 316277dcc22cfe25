"""s="auto": the scale at which a perfectly placed sample just reaches 0.9999, asked of the built loss itself."""

import math
from pathlib import Path

import pytest
import torch

from faceloss import losses
from faceloss.losses import scale
from faceloss.losses.heads import ClassHead
from faceloss.losses.remarks import remarks
from faceloss.losses.theory import least_scale

GIVEN = {"x2_softmax": {"a": -0.25, "h": -0.4, "k": 1.0}}
SCALED = [name for name in losses.names() if "s" in losses.describe(name).hyperparameters]
P = 0.9999


def simplex(classes):
    """Unit vectors [K,K] with cosine -1/(K-1) between any two."""
    return torch.nn.functional.normalize(torch.eye(classes, dtype=torch.float64) - 1 / classes)


def perfect(loss, classes, s):
    """p of the samples at the vertices of a simplex, from the whole loss in evaluation mode, with vectors put there."""
    corners = simplex(classes)
    with torch.no_grad():
        for part in loss.modules():
            if getattr(part, "weight", None) is not None:
                each = len(part.weight) // classes
                part.weight.copy_(corners.repeat_interleave(each, 0))
            if hasattr(part, "rows") and isinstance(part.rows, torch.Tensor):  # the memory of USS
                part.rows.copy_(corners)
        loss.double().eval()
        head = next(part for part in loss.modules() if isinstance(part, ClassHead))
        norm = float(getattr(head.psi, "middle_norm", 3.0))
        return math.exp(-head(norm * corners, torch.arange(classes)).loss.item())


def test_every_loss_with_a_scale_says_so():
    """``s`` is what every scale is called: gamma of Circle, alpha of CoCo and L2-Softmax, r of SphereFace2 too."""
    assert {"circle", "coco", "l2_softmax", "sphereface2", "normface"} <= set(SCALED)
    for name in SCALED:
        assert losses.describe(name).hyperparameters["s"].type == "float or auto"


@pytest.mark.parametrize("name", [name for name in SCALED if name not in ("sphereface2", "uniface", "unitsface")])
def test_the_loss_itself_reaches_the_probability_at_this_scale_and_not_below(name):
    """Independent of how it is found: class vectors are put on a simplex and the loss is computed."""
    classes = 7
    s = losses.resolve(name, dim=7, classes=classes, s="auto", **GIVEN.get(name, {}))["s"]
    assert 1 < s < 200
    reached = [
        perfect(losses.build(name, dim=7, classes=classes, s=s * factor, **GIVEN.get(name, {})), classes, s * factor)
        for factor in (1.0, 0.98)
    ]
    assert reached[0] >= P > reached[1]
    assert reached[0] < 1 - 0.5 * (1 - P), "not far above it either"


@pytest.mark.parametrize("name", ["sphereface2", "uniface"])
def test_yes_or_no_questions_are_all_right_at_the_best_bias(name):
    classes, corners = 7, simplex(7)
    given = {"lam": 0.5, "lw": 1.0} if name == "sphereface2" else {}
    s = losses.resolve(name, dim=7, classes=classes, s="auto", **given)["s"]
    reached = []
    for factor in (1.0, 0.98):
        loss = losses.build(name, dim=7, classes=classes, s=s * factor, **given).double()
        unweighed = 2 * s * factor if given else 1.0  # SphereFace2 multiplies by lw lam / s
        with torch.no_grad():
            loss.weight.copy_(corners)
            best = math.inf
            for bias in torch.linspace(-60, 60, 2401):
                loss.bias.fill_(bias)
                best = min(best, unweighed * loss(corners[:1], torch.tensor([0])).loss.item())
        reached.append(math.exp(-best))
    assert reached[0] == pytest.approx(P, abs=1e-5)
    assert reached[0] > reached[1] + 1e-6


def test_a_sum_takes_the_largest_scale_of_its_terms():
    s = losses.resolve("unitsface", dim=7, classes=500, s="auto")["s"]
    cosface = losses.resolve("cosface", dim=7, classes=500, s="auto", m=0.4)["s"]
    uss = losses.resolve("uniface", dim=7, classes=500, s="auto", m=0.1)["s"]
    assert s == max(cosface, uss)


@pytest.mark.parametrize(("name", "margin", "target"), [
    ("cosface", {"m": 0.35}, 0.65), ("cosface", {"m": 0.0}, 1.0), ("arcface", {"m": 0.5}, math.cos(0.5)),
    ("sphereface_r", {"m": 1.5}, 1.0), ("combined", {"m1": 1.0, "m2": 0.3, "m3": 0.2}, math.cos(0.3) - 0.2),
    ("normface", {}, 1.0), ("adaptiveface", {}, 0.65), ("adaface", {"m": 0.4}, 0.6),
    ("magface", {"m_low": 0.4, "m_high": 0.8}, math.cos(0.6)),
])  # fmt: skip
@pytest.mark.parametrize("classes", [2, 10, 10_000])
def test_it_is_the_closed_form_where_there_is_one(name, margin, target, classes):
    s = losses.resolve(name, dim=4, classes=classes, s="auto", **margin)["s"]
    exact = least_scale(P, classes, target=target)
    assert exact - 1e-4 <= s <= exact + 0.0101


def test_a_margin_in_nats_does_not_grow_with_the_scale():
    """Random-Softmax takes ln(1 - a) nats at any s: s K/(K-1) = ln(P(K-1)/(1-P)) + ln(1-a)."""
    s = losses.resolve("random_softmax", dim=4, classes=1000, s="auto", a=-99.0)["s"]
    exact = least_scale(P, 1000) + math.log(100) * 999 / 1000
    assert exact <= s <= exact + 0.01


def test_it_depends_on_classes_and_margin_and_on_nothing_else():
    found = [
        losses.resolve("cosface", dim=dim, classes=classes, s="auto", m=m)["s"]
        for dim, classes, m in [(4, 100, 0.2), (64, 100, 0.2), (4, 1000, 0.2), (4, 100, 0.4)]
    ]
    assert found[0] == found[1] < min(found[2:])
    assert losses.build("cosface", dim=4, classes=100, s="auto", m=0.2).hyperparameters()["s"] == found[0]


def test_asking_moves_neither_the_global_generator_nor_the_loss():
    state = torch.get_rng_state()
    losses.resolve("elasticface", dim=4, classes=5, s="auto")
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("adaface", "curricularface", "elasticface", "vpl", "unitsface"):
        loss = losses.build(name, dim=4, classes=5)
        before = {key: value.clone() for key, value in loss.state_dict().items()}
        remarks(loss, 10)
        assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())
        assert all(part.training for part in loss.modules())


def test_a_learnt_scale_starts_there():
    for name, more in (("normface", {}), ("l2_softmax", {"radius": "learnt"})):
        loss = losses.build(name, dim=4, classes=50, s="auto", **more)
        value = loss(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.arange(3)).statistics["scale"]
        assert value.item() == pytest.approx(least_scale(P, 50), abs=0.011)


@pytest.mark.parametrize("name", ["softmax", "triplet", "asoftmax", "adacos", "center"])
def test_a_loss_without_a_scale_refuses(name):
    with pytest.raises(TypeError, match=f"{name} has no scale s to choose; leave out s=auto"):
        losses.build(name, dim=4, classes=5, s="auto")


def test_only_a_scale_is_automatic():
    with pytest.raises(ValueError, match=r"m must be of type float, for example 0.35; given 'auto'"):
        losses.build("cosface", dim=4, classes=5, m="auto")
    with pytest.raises(ValueError, match=r"s must be of type float or auto, for example 64.0; given 'Auto'"):
        losses.build("cosface", dim=4, classes=5, s="Auto")


@pytest.mark.parametrize("given", [{"m": 1.9}, {"m": 2.0}])
def test_a_margin_that_no_scale_can_satisfy_refuses(given):
    with pytest.raises(ValueError, match="No scale s lets cosface reach probability"):
        losses.build("cosface", dim=4, classes=5, s="auto", **given)


def test_a_scale_below_the_bound_is_remarked_on_and_one_above_is_not():
    """P = 0.9 with the margin: for CosFace, m = 0.35 and 100 classes ln(0.9 * 99 / 0.1) / (0.65 + 1/99) = 10.29."""
    bound = math.log(0.9 * 99 / 0.1) / (0.65 + 1 / 99)
    assert math.isclose(bound, 10.29, abs_tol=5e-3)
    below, above = (losses.build("cosface", dim=4, classes=100, s=s) for s in (10.28, 10.30))
    assert remarks(above, 1000) == ()
    (sentence,) = remarks(below, 1000)
    assert sentence.startswith("The scale s = 10.28 is below 10.29: among 100 classes")
    assert f"s=auto would choose {losses.resolve('cosface', dim=4, classes=100, s='auto')['s']:g}" in sentence
    plain = losses.build("cosface", dim=4, classes=100, s=10.28, m=0.0)
    assert remarks(plain, 1000) == (), "without a margin the same scale is enough"


def test_a_scale_that_moves_is_not_remarked_on_and_a_hopeless_margin_is():
    for name, given in (("normface", {"s": 0.5}), ("adacos", {}), ("softmax", {}), ("triplet", {})):
        assert remarks(losses.build(name, dim=4, classes=100, **given), 1000) == ()
    (sentence,) = remarks(losses.build("cosface", dim=4, classes=100, m=1.5), 1000)
    assert "every other scale" in sentence


def test_the_defaults_of_the_papers_are_above_the_bound_for_common_sizes():
    for name in SCALED:
        loss = losses.build(name, dim=128, classes=2000, **GIVEN.get(name, {}))
        assert remarks(loss, 10**6) == (), name
        assert scale.least(next(iter(scale._parts(loss, fixed=False))), 0.9) > 4


def test_a_mixing_that_never_starts_is_remarked_on():
    loss = losses.build("vpl", dim=4, classes=5)
    assert remarks(loss, 8001) == ()
    (sentence,) = remarks(loss, 8000)
    assert "start = 8000 steps, and this training has 8000: they never are" in sentence
    assert "start=506" in sentence
    assert remarks(losses.build("vpl", dim=4, classes=5, start=506), 8000) == ()


def test_norms_that_start_below_the_range_of_magface_are_remarked_on():
    assert remarks(losses.build("magface", dim=100, classes=5), 10) == ()
    (sentence,) = remarks(losses.build("magface", dim=64, classes=5), 10)
    assert "sqrt(64) = 8.0" in sentence
    assert "below=pull" in sentence
    assert remarks(losses.build("magface", dim=64, classes=5, below="pull"), 10) == ()


def test_a_loss_that_is_built_on_no_head_says_that_it_cannot_tell(tmp_path, monkeypatch):
    text = (Path(losses.__path__[0]) / "npair.py").read_text(encoding="utf-8")
    text = text.replace("l2: float = 0.002", "l2: float = 0.002, s: float = 1.0")
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(losses, "__path__", [*losses.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match="own cannot say which scale it needs"):
        losses.build("own", dim=4, classes=5, s="auto")
