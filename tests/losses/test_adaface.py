"""AdaFace against its formula, and the running numbers of the norm."""

import math

import pytest
import torch

from faceloss import losses


def naive(gradient):
    def form(loss, embeddings, labels):
        s, m, h = (float(loss.hyperparameters()[name]) for name in "smh")
        mean, deviation = loss.psi.mean, loss.psi.deviation
        total = 0.0
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            norm = x.norm().detach() if gradient == "detached" else x.norm()
            z = torch.clamp(h * (norm - mean) / (deviation + 1e-3), -1, 1)
            own = torch.cos(torch.clamp(torch.acos(cos[y]) - m * z, 0, math.pi)) - (m + m * z)
            others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
            total = total - torch.log((s * own).exp() / ((s * own).exp() + others))
        return total / len(labels)

    return form


@pytest.mark.parametrize("gradient", ["detached", "exact"])
@pytest.mark.parametrize(
    ("s", "m", "mean", "deviation"), [(64.0, 0.4, 20.0, 100.0), (5.0, 0.4, 2.4, 0.15), (5.0, 1.0, 2.4, 0.15)]
)
def test_agrees_with_its_formula(agrees, batch, s, m, mean, deviation, gradient):
    loss = losses.build("adaface", dim=6, classes=4, s=s, m=m, gradient=gradient).eval()
    loss.psi.mean.fill_(mean)
    loss.psi.deviation.fill_(deviation)
    if mean == 2.4:  # the input must have samples within and beyond the clip
        z = 0.333 * (batch[0].norm(dim=1) - mean) / deviation
        assert 0 < (z.abs() > 1).sum() < 12
    if m == 1.0:  # and targets whose angle is clipped at pi, and others
        own = torch.nn.functional.cosine_similarity(batch[0], loss.weight.double()[batch[1]])
        assert 0 < (own.acos() - m * z.clamp(-1, 1) > math.pi).sum() < 12
    agrees(loss, naive(gradient))


def test_by_hand():
    """||x|| = 5 at mu = 5: z = 0, psi = 0.6 - 0.4; beyond by 3 sigma: z = 1, psi = cos(acos 0.6 - 0.4) - 0.8."""
    loss = losses.build("adaface", dim=2, classes=2, s=10.0).double().eval()
    loss.psi.mean.fill_(5.0)
    loss.psi.deviation.fill_(1.0)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    assert math.isclose(loss(x, torch.tensor([0])).loss.item(), math.log1p(math.exp(10 * (0.8 - 0.2))), rel_tol=1e-9)
    psi = math.cos(math.acos(0.6) - 0.4) - 0.8
    value = loss(2 * x, torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(10 * (0.8 - psi))), rel_tol=1e-9)


def test_the_running_numbers_move_in_training_only_and_before_they_are_used(batch):
    embeddings, labels = batch
    norms = embeddings.norm(dim=1)
    loss = losses.build("adaface", dim=6, classes=4, rate=0.1).double()
    first = loss(embeddings, labels).loss
    mean, deviation = 18 + 0.1 * norms.mean().item(), 90 + 0.1 * norms.std().item()
    torch.testing.assert_close(first, naive("detached")(loss, embeddings, labels), rtol=1e-9, atol=0)
    loss.eval()
    loss(embeddings, labels)
    assert math.isclose(loss.psi.mean.item(), mean, rel_tol=1e-9)
    assert math.isclose(loss.psi.deviation.item(), deviation, rel_tol=1e-9)


def test_one_sample_has_no_deviation(batch):
    loss = losses.build("adaface", dim=6, classes=4)
    assert torch.isfinite(loss(batch[0][:1].float(), batch[1][:1]).loss)
    assert loss.psi.deviation.item() == 100.0
    assert loss.psi.mean.item() < 20.0
