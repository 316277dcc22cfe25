"""Center loss against its formula, and the paper's update of the centers."""

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    softmax, centers = loss.terms["softmax"], loss.terms["center"].centers
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = [(w * x).sum() + b for w, b in zip(softmax.weight, softmax.bias, strict=True)]
        total = total - torch.log(scores[y].exp() / sum(score.exp() for score in scores))
        total = total + float(loss.hyperparameters()["lam"]) / 2 * ((x - centers[y]) ** 2).sum()
    return total / len(labels)


@pytest.mark.parametrize("lam", [0.003, 1.0])
def test_agrees_with_its_formula(agrees, lam):
    loss = losses.build("center", dim=6, classes=4, lam=lam).eval()
    generator = torch.Generator().manual_seed(0)
    loss.terms["center"].centers.copy_(torch.randn(4, 6, generator=generator))
    agrees(loss, naive)


def test_the_loss_of_a_training_pass_uses_the_centers_before_their_update(batch):
    embeddings, labels = batch
    loss = losses.build("center", dim=6, classes=4, lam=1.0, alpha=1.0).double()
    expected = naive(loss, embeddings, labels).item()
    leaf = embeddings.clone().requires_grad_()
    result = loss(leaf, labels)
    assert result.loss.item() == pytest.approx(expected)
    result.loss.backward()  # and the update in between does not disturb the gradient
    plain = losses.build("center", dim=6, classes=4, lam=1.0).double().eval()
    other = embeddings.clone().requires_grad_()
    plain(other, labels).loss.backward()
    torch.testing.assert_close(leaf.grad, other.grad)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_n_equal_samples_move_a_center_by_alpha_n_over_1_plus_n(n):
    loss = losses.build("center", dim=3, classes=4, alpha=0.5)
    centers = loss.terms["center"].centers
    start = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [2, 2, 2]])
    centers.copy_(start)
    x = torch.tensor([3.0, -1.0, 2.0])
    loss(x.repeat(n, 1), torch.full((n,), 2))
    expected = start.clone()
    expected[2] += 0.5 * n / (1 + n) * (x - start[2])
    torch.testing.assert_close(centers, expected)


def test_the_update_agrees_with_the_paper_on_mixed_labels(batch):
    embeddings, labels = batch
    loss = losses.build("center", dim=6, classes=4, alpha=0.3).double()
    centers = loss.terms["center"].centers
    start = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    centers.copy_(start)
    loss(embeddings, labels)
    for j in range(4):
        mine = [x for x, y in zip(embeddings, labels.tolist(), strict=True) if y == j]
        assert mine
        delta = sum(start[j] - x for x in mine) / (1 + len(mine))
        torch.testing.assert_close(centers[j], start[j] - 0.3 * delta)


def test_the_weight_of_the_loss_is_not_in_the_step_and_no_optimizer_moves_the_centers(batch):
    embeddings, labels = batch
    moved = []
    for lam in (0.001, 10.0):
        loss = losses.build("center", dim=6, classes=4, lam=lam).double()
        assert not any("center" in name for name, _ in loss.named_parameters())
        loss(embeddings, labels)
        moved.append(loss.terms["center"].centers.clone())
    assert moved[0].abs().max() > 0.1
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=0)


def test_hyperparameters_of_both_terms_are_set_through_the_sum():
    loss = losses.build("center", dim=6, classes=4)
    loss.set_hyperparameters({"lam": 0.5, "alpha": 0.25})
    assert {name: float(value) for name, value in loss.hyperparameters().items()} == {"lam": 0.5, "alpha": 0.25}
    with pytest.raises(ValueError, match="alpha must be a finite number at least 0 and at most 1; given 2"):
        loss.set_hyperparameters({"lam": 0.1, "alpha": 2.0})
    assert float(loss.hyperparameters()["lam"]) == 0.5  # all or nothing
