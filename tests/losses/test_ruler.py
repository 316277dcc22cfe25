"""The common ruler against closed forms, where there are any; the ruler itself knows none of them."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses import ruler
from faceloss.losses.core import Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.ruler import (
    ANGLES,
    CLASSES,
    GENUINE,
    IMPOSTOR,
    LOOKALIKE,
    NORM,
    factors,
    in_words,
    log_odds,
    measure,
    measure_named,
    over_classes,
)
from faceloss.losses.sums import SumLoss, Term
from faceloss.losses.theory import a_from_margin, modulating_factor

THETA = torch.tensor(ANGLES, dtype=torch.float64).deg2rad()
COS = THETA.cos()
SOME = ANGLES[::6]  # where a few angles will do


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def close(values, wanted, tolerance=1e-9):
    wanted = torch.as_tensor(wanted, dtype=torch.float64).expand(len(values))
    torch.testing.assert_close(numbers(values), wanted, rtol=tolerance, atol=tolerance)


def rest(scale, lookalike=LOOKALIKE, others=0.0):
    """log sum exp of the wrong classes' logits."""
    return math.log(math.exp(scale * lookalike) + (CLASSES - 2) * math.exp(scale * others))


@pytest.mark.parametrize(("s", "m"), [(64.0, 0.35), (30.0, 0.1)])
def test_cosface_takes_s_times_m_at_every_angle(s, m):
    curve = measure_named("cosface", s=s, m=m).classes
    close(curve.nats, s * m)
    close(curve.target, COS - m)
    close(curve.slope, 1.0)
    assert curve.scale == s


@pytest.mark.parametrize("name", ["softmax", "l2_softmax", "normface", "adacos", "coco", "am_lfs", "center"])
def test_without_a_margin_nothing_is_taken(name):
    curve = measure_named(name, SOME).classes
    close(curve.nats, 0.0, 1e-7)
    close(curve.slope, 1.0)
    close(curve.weight, curve.plain)


def test_weight_is_one_minus_the_probability_in_softmax():
    curve = measure_named("softmax").classes
    assert curve.scale == NORM
    wanted = torch.sigmoid(rest(NORM) - NORM * COS)
    close(curve.weight, wanted)
    close(curve.plain, wanted)
    assert wanted[0] < 1e-6 < 0.1 < wanted[30]  # both ends of it are there
    close(curve.loss, torch.nn.functional.softplus(rest(NORM) - NORM * COS))


def test_arcface_follows_its_formula_on_both_sides_of_pi():
    s, m = 64.0, 0.5
    curve = measure_named("arcface", s=s, m=m).classes
    before = math.pi - m > THETA
    assert 0 < before.sum() < len(THETA)
    close(curve.target, torch.where(before, (THETA + m).cos(), COS - m * math.sin(m)))
    close(curve.nats, s * torch.where(before, COS - (THETA + m).cos(), m * math.sin(m)))
    slope = torch.where(before, (THETA + m).sin() / THETA.sin(), 1.0)
    close(curve.slope, slope)
    probability = torch.exp(-numbers(curve.loss))
    close(curve.weight, slope * -torch.expm1(-numbers(curve.loss)))
    assert probability.min() < 1e-9


def test_a_straight_through_margin_shows_the_gradient_that_trains():
    exact = measure_named("arcface", SOME, gradient="exact").classes
    through = measure_named("arcface", SOME, gradient="straight-through").classes
    assert through.nats == pytest.approx(exact.nats, rel=1e-12)
    close(through.slope, 1.0)
    assert max(abs(slope - 1) for slope in exact.slope) > 0.3


def test_l_softmax_multiplies_the_angle():
    m = 3.0
    curve = measure_named("lsoftmax", m=m, lam=0.0).classes
    k = (m * THETA / math.pi).floor()
    assert set(k.tolist()) == {0.0, 1.0, 2.0}
    close(curve.target, (-1) ** k * (m * THETA).cos() - 2 * k)
    close(curve.slope, (m * (m * THETA).sin() / THETA.sin()).abs(), 1e-8)


def test_mv_softmax_counts_the_wrong_classes_that_it_raises():
    s, m, t = 32.0, 0.35, 0.2
    curve = measure_named("mv_softmax", s=s, m=m, t=t).classes
    psi = COS - m
    lookalike = [(1 + t) * LOOKALIKE + t if p < LOOKALIKE else LOOKALIKE for p in psi.tolist()]
    others = [t if p < 0 else 0.0 for p in psi.tolist()]
    raised = numbers([rest(s, a, b) for a, b in zip(lookalike, others, strict=True)])
    assert len(raised.unique()) == 3
    close(curve.nats, s * m + raised - rest(s))


def test_virtual_softmax_competes_with_the_norm():
    """The virtual class has the logit ||w|| ||x||, whatever the angle."""
    close(measure_named("vsoftmax").classes.nats, math.log(math.exp(rest(NORM)) + math.exp(NORM)) - rest(NORM))


def test_random_softmax_takes_the_logarithm_of_its_factor():
    close(measure_named("random_softmax", SOME, a=-1000.0).classes.nats, math.log(1001))


def test_magface_has_the_margin_of_the_norm_given():
    m = 0.45 + 0.35 * (NORM - 10) / 100
    measured = measure_named("magface", SOME, target="subtract")
    theta = numbers(SOME).deg2rad()
    wanted = torch.where(theta < math.pi - m, (theta + m).cos(), theta.cos() - m * math.sin(m))
    close(measured.classes.target, wanted)
    assert measured.left_out == ("norm_pull",)


def test_uniface_in_full():
    """Its loss holds the wrong classes' questions; they do not move with the angle."""
    s, m, b = 64.0, 0.4, -math.log(10 * CLASSES)
    curve = measure_named("uniface", s=s, m=m).classes
    soft = torch.nn.functional.softplus
    wrong = soft(torch.tensor([s * LOOKALIKE + b, b], dtype=torch.float64)) @ numbers([1.0, CLASSES - 2])
    own = soft(-(s * (COS - m) + b))
    close(curve.loss, own + wrong, 1e-6)  # b is a parameter, rounded to float32
    close(curve.weight, torch.sigmoid(-(s * (COS - m) + b)), 1e-6)
    close(curve.nats, s * COS - rest(s) + log_odds(own + wrong), 1e-6)


def test_a_sum_of_two_heads_is_one_curve():
    both, first = measure_named("unitsface", SOME).classes, measure_named("cosface", SOME, m=0.4).classes
    assert all(more > less + 0.1 for more, less in zip(both.loss, first.loss, strict=True))
    at_80 = SOME.index(min(SOME, key=lambda angle: abs(angle - 80)))
    assert both.weight[-1] == pytest.approx(2.0)  # both terms are lost there
    assert first.weight[-1] == pytest.approx(1.0)
    assert 15 < both.nats[at_80] < 60  # the bias of the second term is found before it is measured


def test_triplets_hold_their_other_face():
    alpha = 0.2
    curve = measure_named("triplet", alpha=alpha).pairs
    held = [2 - 2 * math.cos(math.radians(angle)) for angle in (GENUINE, IMPOSTOR)]
    d = 2 - 2 * COS
    genuine, impostor = (d - held[1] + alpha).clamp_min(0), (held[0] - d + alpha).clamp_min(0)
    assert curve.triplets
    for values, force, wanted, sign in (
        (curve.genuine, curve.genuine_force, genuine, 1),
        (curve.impostor, curve.impostor_force, impostor, -1),
    ):
        assert 0 < (wanted > 0).sum() < len(wanted)
        close(values, wanted)
        close(force, sign * 2 * THETA.sin() * (wanted > 0))


def test_contrastive_pulls_and_pushes():
    curve = measure_named("contrastive").pairs
    d = (2 - 2 * COS).sqrt()
    close(curve.genuine, d.square() / 2)
    close(curve.genuine_force, THETA.sin())
    close(curve.impostor, (1 - d).clamp_min(0).square() / 2)
    close(curve.impostor_force, -(1 - d).clamp_min(0) * (THETA / 2).cos())
    assert not curve.triplets


def test_tpe_is_measured_after_its_projection():
    """The softplus of cosines of projected faces, whatever the projection does to the angle before it."""
    for size in (0, 2, 7):
        curve = measure_named("tpe", SOME, size=size).pairs
        other = math.cos(math.radians(IMPOSTOR))
        close(curve.genuine, torch.nn.functional.softplus(other - numbers(SOME).deg2rad().cos()))


def test_a_sum_weighs_its_terms():
    one, two = (measure_named("marginal", SOME, lam=lam) for lam in (1.0, 2.0))
    assert max(one.pairs.genuine) > 1
    close(two.pairs.genuine, 2 * numbers(one.pairs.genuine))
    close(two.pairs.impostor_force, 2 * numbers(one.pairs.impostor_force))
    close(one.classes.nats, 0.0)  # the softmax in it
    assert one.left_out == ()


def test_a_sum_weighs_its_head():
    head = ClassHead(3, CLASSES, scale=Number(8.0), psi=lambda cos: cos - 0.25)
    doubled = SumLoss(3, CLASSES, terms={"head": Term(head, weight="lam")}, hyperparameters={"lam": Number(2.0)})
    alone, twice = measure(head, SOME).classes, measure(doubled, SOME).classes
    close(twice.loss, 2 * numbers(alone.loss))
    close(twice.weight, 2 * numbers(alone.weight))


def test_of_classes_alone_nothing_over_pairs_is_measured(monkeypatch):
    summed = losses.build("marginal", dim=3, classes=CLASSES)
    whole = measure(summed, SOME)
    assert max(whole.pairs.genuine) > 0
    monkeypatch.setattr(ruler, "_pair_curve", lambda *_: pytest.fail("pairs were measured"))
    assert over_classes(summed, SOME) == whole.classes
    assert over_classes(losses.build("triplet", dim=3, classes=9), SOME) is None
    with pytest.raises(ValueError, match="inside 0"):
        over_classes(summed, [180.0])


def test_a_loss_of_whole_batches_says_so():
    measured = measure_named("npair")
    assert measured == (None, None, ())
    assert "no function of one angle" in in_words(measured)[0]
    assert "center" in in_words(measure_named("center", SOME))[-1]


@pytest.mark.parametrize("name", ["adaface", "subcenter_arcface", "partial_fc", "unitsface", "coco", "tpe", "adacos"])
def test_the_loss_measured_is_left_as_it_was(name):
    loss = losses.build(name, dim=5, classes=7).train()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    x = torch.randn(14, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(7).repeat(2)
    first = losses.build(name, dim=5, classes=7).train()(x, labels).loss
    measure(loss, (30.0, 60.0))
    assert loss.training
    after = loss.state_dict()
    assert list(after) == list(before)
    for key, value in before.items():
        assert value.dtype == after[key].dtype
        assert torch.equal(value, after[key])
    assert torch.equal(loss(x, labels).loss, first)


def test_a_loss_already_built_keeps_its_classes_and_its_state():
    """Ten classes: nine wrong ones, one of them the lookalike."""
    loss = losses.build("cosface", dim=5, classes=10, s=8.0, m=0.0)
    curve = measure(loss, (60.0, 120.0)).classes
    wrong = math.exp(8 * LOOKALIKE) + 8
    wanted = [math.log1p(wrong / math.exp(8 * c)) for c in (0.5, -0.5)]
    assert curve.loss == pytest.approx(wanted, rel=1e-12)
    loss.set_hyperparameters({"m": 0.25})
    assert measure(loss, (60.0, 120.0)).classes.nats == pytest.approx([2.0, 2.0], rel=1e-9)


@pytest.mark.parametrize("angle", [0.0, 180.0, -5.0])
def test_angles_at_the_ends_are_refused(angle):
    with pytest.raises(ValueError, match=r"inside 0 \.\. 180"):
        measure_named("cosface", (angle,))


def test_two_dimensions_are_refused():
    with pytest.raises(ValueError, match="at least 3 dimensions"):
        measure(losses.build("cosface", dim=2, classes=4))


def test_log_odds_holds_at_both_ends():
    odds = log_odds(numbers([1e-200, 1.0, 800.0]))
    wanted = [math.log(1e-200), math.log(math.e - 1), 800.0]
    assert odds.tolist() == pytest.approx(wanted, rel=1e-12)


def test_the_factor_is_that_of_the_paper_and_does_not_depend_on_the_situation():
    probabilities = (0.02, 0.3, 0.5, 0.97)
    for classes in (5, 800):
        searched = losses.build("search_softmax", dim=3, classes=classes, s=32.0, a=-700.0)
        margin = losses.build("cosface", dim=3, classes=classes, s=20.0, m=0.15)
        plain = losses.build("normface", dim=3, classes=classes, s=16.0)
        for loss, a in ((searched, -700.0), (margin, a_from_margin(0.15, 20.0)), (plain, 0.0)):
            wanted = [modulating_factor(a, p) for p in probabilities]
            assert factors(loss, probabilities) == pytest.approx(wanted, rel=1e-9)


def test_of_a_loss_without_classes_there_is_no_factor_and_beyond_an_angle_none():
    assert factors(losses.build("triplet", dim=3, classes=9), (0.5,)) == ()
    few = factors(losses.build("normface", dim=3, classes=900, s=4.0), (0.001, 0.9))
    assert few[0] == pytest.approx(1)
    assert math.isnan(few[1])  # at this scale even the own class vector gives no more than 0.05
