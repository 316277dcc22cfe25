"""Center-invariant loss against its formula; its step is down the slope of its term and stops at the mean norm."""

import pytest
import torch

from faceloss import losses


def centers_of(loss):
    return loss.terms["centers"].pull.centers


def start(loss, seed=0):
    centers_of(loss).copy_(torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)))
    return loss


def naive(loss, embeddings, labels):
    lam, gamma = (float(loss.hyperparameters()[name]) for name in ("lam", "gamma"))
    softmax, centers = loss.terms["softmax"], centers_of(loss)
    mean = sum((c * c).sum() for c in centers) / len(centers)
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = torch.stack([(w * x).sum() + b for w, b in zip(softmax.weight, softmax.bias, strict=True)])
        total = total - scores.log_softmax(0)[y] + lam / 2 * ((x - centers[y]) ** 2).sum()
        total = total + gamma / 4 * ((centers[y] ** 2).sum() - mean) ** 2
    return total / len(labels)


@pytest.mark.parametrize(("gamma", "lam"), [(0.01, 0.003), (0.7, 0.5)])
def test_agrees_with_its_formula(agrees, batch, gamma, lam):
    loss = start(losses.build("center_invariant", dim=6, classes=4, gamma=gamma, lam=lam)).eval()
    agrees(loss, naive)
    assert loss(*batch).statistics["centers.invariance"] > 0.1


def test_by_hand():
    """Centers of squared norm 1 and 9: M = 5; each is 4 off, (4^2)/4 = 4; an embedding on its center pays no pull."""
    loss = losses.build("center_invariant", dim=2, classes=2, gamma=0.5, lam=1.0).eval()
    centers_of(loss).copy_(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    for labels in ([0, 1], [0, 0], [1]):
        y = torch.tensor(labels)
        result = loss(centers_of(loss)[y], y)
        assert result.statistics["centers"].item() == pytest.approx(0.5 * 4)
        assert result.statistics["centers.pull"].item() == 0


def test_without_the_square_it_would_vanish_on_balanced_data(batch):
    """The lecture's version: sum over identities of ||c||^2 - M is 0, whatever the norms; ours is positive."""
    loss = start(losses.build("center_invariant", dim=6, classes=4, gamma=1.0).double()).eval()
    squared = centers_of(loss).square().sum(1)
    assert abs((squared - squared.mean()).sum()) < 1e-12
    balanced = torch.arange(4)
    value = loss(batch[0][:4], balanced).statistics["centers.invariance"]
    torch.testing.assert_close(value, (squared - squared.mean()).square().mean() / 4)
    assert value > 0.1


def moved(gamma, embeddings, labels, alpha=0.3):
    """The centers before and after a training step."""
    loss = start(losses.build("center_invariant", dim=6, classes=4, gamma=gamma, alpha=alpha).double())
    before = centers_of(loss).clone()
    loss(embeddings, labels)
    return before, centers_of(loss)


def test_the_step_is_that_of_center_loss_and_down_the_slope(batch):
    embeddings, labels = batch
    gamma, alpha = 0.01, 0.3
    before, after = moved(gamma, embeddings, labels)
    _, plain = moved(0.0, embeddings, labels)
    center = losses.build("center", dim=6, classes=4, alpha=alpha).double()
    center.terms["center"].centers.copy_(before)
    center(embeddings, labels)
    torch.testing.assert_close(plain, center.terms["center"].centers)

    leaf = before.clone().requires_grad_()
    mean = before.square().sum(1).mean()
    (slope,) = torch.autograd.grad(((leaf.square().sum(1) - mean) ** 2 / 4).sum(), leaf)
    n = torch.bincount(labels).unsqueeze(1)
    assert len(n.unique()) > 1
    assert slope.abs().max() > 0.1
    torch.testing.assert_close(after - plain, -alpha * gamma * n / (1 + n) * slope)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 1e6])
def test_no_step_goes_beyond_the_mean_norm(gamma):
    """Embeddings on their centers, so that only the norms' term moves: it closes up on sqrt(M) and does not pass it."""
    loss = start(losses.build("center_invariant", dim=6, classes=4, gamma=gamma, alpha=1.0).double())
    centers = centers_of(loss)
    with torch.no_grad():
        centers[0] *= 30
        before = centers.norm(dim=1)
        mean = before.square().mean().sqrt()
        loss(centers.clone(), torch.arange(4))
    after = centers.norm(dim=1)
    share = (after - before) / (mean - before)  # of the way to the mean
    assert (share > 0).all()
    assert (share <= 1 + 1e-9).all()
    assert share.max() > 0.99  # the cubic slope of the long one is cut


def test_identities_never_seen_do_not_pull_the_mean_down():
    loss = losses.build("center_invariant", dim=2, classes=50, gamma=0.5, alpha=0.5)
    x = torch.tensor([[3.0, 0.0]])
    for _ in range(60):
        value = loss(x, torch.tensor([7])).statistics["centers.invariance"]
    assert value == 0
    torch.testing.assert_close(centers_of(loss)[7], x[0], rtol=1e-3, atol=1e-3)
    assert centers_of(loss).norm(dim=1).count_nonzero() == 1


def test_gamma_must_be_given():
    with pytest.raises(TypeError, match="center_invariant needs a value for 'gamma'"):
        losses.build("center_invariant", dim=6, classes=4)
