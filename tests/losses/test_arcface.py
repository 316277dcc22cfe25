"""ArcFace against its formula, in both gradients and all three rules beyond theta + m = pi."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.arcface import continuous, subtract
from faceloss.losses.operations import add_angle

RULES = {"subtract": subtract, "continuous": continuous, "none": add_angle}
GRID = torch.linspace(0.0, math.pi, 4001, dtype=torch.float64)


def margin(theta, m, beyond_pi):
    """psi(theta) of the docstring, one angle at a time."""
    if theta + m <= math.pi or beyond_pi == "none":
        return torch.cos(theta + m)
    return torch.cos(theta) - m * math.sin(m) if beyond_pi == "subtract" else -2 - torch.cos(theta + m)


def naive(beyond_pi, gradient):
    def form(loss, embeddings, labels):
        s, m = (float(loss.hyperparameters()[name]) for name in "sm")
        total = 0.0
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
            own = margin(torch.acos(cos[y]), m, beyond_pi)
            own = cos[y] + (own - cos[y]).detach() if gradient == "straight-through" else own
            total = total - torch.log((s * own).exp() / ((s * own).exp() + others))
        return total / len(labels)

    return form


@pytest.mark.parametrize("beyond_pi", RULES)
@pytest.mark.parametrize("gradient", ["exact", "straight-through"])
@pytest.mark.parametrize(("s", "m"), [(64.0, 0.5), (8.0, 0.5), (8.0, 1.0)])
def test_agrees_with_its_formula(agrees, batch, s, m, beyond_pi, gradient):
    loss = losses.build("arcface", dim=6, classes=4, s=s, m=m, beyond_pi=beyond_pi, gradient=gradient)
    if m == 1.0:  # the input must reach the rule, and what is before it
        cos = torch.nn.functional.normalize(batch[0]) @ torch.nn.functional.normalize(loss.weight.double()).T
        assert 0 < (cos[torch.arange(12), batch[1]] < -math.cos(m)).sum() < 12
    agrees(loss, naive(beyond_pi, gradient))


def one_sample(gradient):
    """c_y = 0.6 and the other cosine 0.8, s = 10, m = 0.5; the gradient of the embedding and p_m."""
    loss = losses.build("arcface", dim=2, classes=2, s=10.0, m=0.5, gradient=gradient).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    x = torch.tensor([[0.6, 0.8]], dtype=torch.float64, requires_grad=True)
    result = loss(x, torch.tensor([0]))
    result.loss.backward()
    return result, x.grad[0]


def test_by_hand():
    """cos(acos 0.6 + 0.5) = 0.6 cos 0.5 - 0.8 sin 0.5 = 0.143009; loss = ln(1 + e^(8 - 1.43009)) = 6.571308."""
    result, _ = one_sample("exact")
    assert math.isclose(result.loss.item(), 6.571308, abs_tol=2e-6)
    assert math.isclose(result.statistics["nats"].item(), 10 * (0.6 - 0.143009), abs_tol=2e-5)


def test_the_two_gradients_differ_by_the_documented_factor():
    """d psi / d c is sin(theta + m)/sin(theta) = 1.237 or 1. In the plane both classes pull along the tangent t:

    dL/dx = s (p - 1) (psi' dc_0/dx - dc_1/dx), with dc_0/dx = 0.8 t and dc_1/dx = -0.6 t, t = (0.8, -0.6).
    """
    theta = math.acos(0.6)
    ratio = math.sin(theta + 0.5) / math.sin(theta)
    assert math.isclose(ratio, 1.237, abs_tol=5e-4)
    tangent = torch.tensor([0.8, -0.6], dtype=torch.float64)
    seen = {}
    for gradient, slope in (("exact", ratio), ("straight-through", 1.0)):
        result, got = one_sample(gradient)
        missing = 1 - math.exp(-result.loss.item())
        torch.testing.assert_close(got, -10 * missing * (slope * 0.8 + 0.6) * tangent, rtol=1e-9, atol=1e-12)
        seen[gradient] = result.loss.item()
    assert seen["exact"] == seen["straight-through"]


def test_straight_through_is_the_loss_with_its_offset_held_constant(batch):
    embeddings, labels = batch
    loss = losses.build("arcface", dim=6, classes=4, s=8.0, gradient="straight-through").double()
    normalize = torch.nn.functional.normalize
    gradients = []
    for form in ("loss", "documented", "exact"):
        leaf = embeddings.clone().requires_grad_()
        if form == "loss":
            value = loss(leaf, labels).loss
        else:
            cos = normalize(leaf) @ normalize(loss.weight).T
            own = cos[torch.arange(12), labels]
            turned = torch.cos(torch.acos(own) + 0.5)
            kept = own + (turned - own).detach() if form == "documented" else turned
            value = torch.nn.functional.cross_entropy(8.0 * cos.scatter(1, labels[:, None], kept[:, None]), labels)
        gradients.append(torch.autograd.grad(value, leaf)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)
    assert (gradients[0] - gradients[2]).norm() > 0.05 * gradients[2].norm()


def falls_and_stays_below_cosine(rule, m):
    psi = RULES[rule](GRID.cos(), torch.tensor(m, dtype=torch.float64))
    return bool((psi.diff() <= 1e-12).all() and (psi <= GRID.cos() + 1e-6).all())


@pytest.mark.parametrize("m", [0.1, 0.5, 1.0, 1.5])
def test_monotone_where_claimed(m):
    assert falls_and_stays_below_cosine("subtract", m)
    assert falls_and_stays_below_cosine("continuous", m)
    assert not falls_and_stays_below_cosine("none", m)


def test_the_jump_is_as_documented():
    """m = 0.5: at 151.4 degrees from -1 to -1.117 with "subtract", none with "continuous"."""
    joint = math.pi - 0.5
    assert math.isclose(math.degrees(joint), 151.4, abs_tol=0.05)
    m = torch.tensor(0.5, dtype=torch.float64)
    sides = torch.tensor([joint - 1e-9, joint + 1e-9], dtype=torch.float64).cos()
    torch.testing.assert_close(subtract(sides, m), torch.tensor([-1.0, -1.117], dtype=torch.float64), rtol=0, atol=5e-4)
    torch.testing.assert_close(continuous(sides, m), torch.tensor([-1.0, -1.0], dtype=torch.float64))
    assert math.isclose(float(subtract(torch.tensor(-1.0), m)), -1.24, abs_tol=5e-3)


def test_without_margin_it_is_cosface_without_margin(batch):
    embeddings, labels = batch
    arc = losses.build("arcface", dim=6, classes=4, m=0.0, seed=4).double()(embeddings, labels)
    cos = losses.build("cosface", dim=6, classes=4, m=0.0, seed=4).double()(embeddings, labels)
    torch.testing.assert_close(arc.loss, cos.loss, rtol=1e-12, atol=0)
    assert abs(arc.statistics["nats"].item()) < 1e-10


@pytest.mark.parametrize("m", [-0.1, 3.2, math.inf])
def test_an_impossible_margin_is_refused(m):
    with pytest.raises(ValueError, match="m must be"):
        losses.build("arcface", dim=6, classes=4, m=m)


@pytest.mark.parametrize("m", [0.1, 0.3, 0.5])
def test_from_which_angle_on_the_own_class_pulls_less_than_the_others_push(m):
    """Why the margin warms up: pull / push = sin(theta + m) / sin(theta), which is below 1 beyond (pi - m) / 2.

    The sample's two cosines are free to move each by itself: it and the two class vectors live in three dimensions.
    """
    loss = losses.build("arcface", dim=3, classes=2, s=4.0, m=m).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2, 3))
    for beyond in (-0.02, 0.02):
        theta = (math.pi - m) / 2 + beyond
        x = torch.tensor([[math.cos(theta), 0.2, math.sqrt(math.sin(theta) ** 2 - 0.04)]], dtype=torch.float64)
        x.requires_grad_()
        loss(x, torch.tensor([0])).loss.backward()
        along = x.grad[0] - x.grad[0, 2] / x.detach()[0, 2] * x.detach()[0]  # what normalizing took away again
        pull, push = -along[0].item(), along[1].item()
        assert push > 0.1
        assert pull / push == pytest.approx(math.sin(theta + m) / math.sin(theta), rel=1e-6)
        assert (pull < push) == (beyond > 0)
