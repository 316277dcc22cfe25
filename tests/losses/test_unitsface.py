"""UniTSFace against its formula: CosFace and the sample-to-sample term (USS), which also stands alone."""

import math

import pytest
import torch

from faceloss import losses


def naive(classifier):
    def form(loss, embeddings, labels):
        s_uss, m_uss = (float(loss.hyperparameters()[name]) for name in ("s_uss", "m_uss"))
        uss = loss.terms["uss"]
        bias = uss.bias + uss.shift.value
        total = 0.0
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            if classifier == "cosface":
                head = loss.terms["cosface"]
                s, m = (float(loss.hyperparameters()[name]) for name in "sm")
                cos = [(w * x).sum() / (w.norm() * x.norm()) for w in head.weight]
                others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
                total = total - torch.log((s * (cos[y] - m)).exp() / ((s * (cos[y] - m)).exp() + others))
            for j, f in enumerate(uss.vectors.rows):
                g = (f * x).sum() / (f.norm() * x.norm())
                z = s_uss * (g - m_uss * (j == y)) + bias
                total = total + torch.log(1 + (-z if j == y else z).exp())
        return total / len(labels)

    return form


@pytest.mark.parametrize("classifier", ["cosface", "none"])
def test_agrees_with_its_formula(agrees, classifier):
    loss = losses.build("unitsface", dim=6, classes=4, s=8.0, classifier=classifier)
    agrees(loss.eval(), naive(classifier))
    loss.train()
    generator = torch.Generator().manual_seed(5)
    loss(torch.randn(8, 6, generator=generator, dtype=torch.float64), torch.arange(8) % 4)
    agrees(loss.eval(), naive(classifier))


def test_by_hand():
    """c = g = 0.6 and 0.8, s = 10, m = m_uss = 0.1, b = -7: ln(1 + e^3) + ln(1 + e^2) + ln(1 + e)."""
    loss = losses.build("unitsface", dim=2, classes=2, s=10.0, m=0.1).double().eval()
    with torch.no_grad():
        loss.terms["cosface"].weight.copy_(torch.eye(2))
        loss.terms["uss"].vectors.rows.copy_(torch.eye(2))
        loss.terms["uss"].bias.fill_(-7.0)
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    expected = math.log1p(math.exp(3)) + math.log1p(math.exp(2)) + math.log1p(math.e)
    assert math.isclose(value, expected, rel_tol=1e-6)


def test_the_threshold_starts_from_the_first_batch_once_and_the_memory_moves_after_use(batch):
    embeddings, labels = batch
    loss = losses.build("unitsface", dim=6, classes=4).double()
    uss, unit = loss.terms["uss"], torch.nn.functional.normalize
    before = uss.vectors.rows.clone()
    logits = 64 * unit(embeddings) @ before.T
    expected = 0.0
    for i, y in enumerate(labels.tolist()):
        expected -= math.log(sum(math.exp(logits[i, j]) for j in range(4) if j != y)) / len(labels)
    loss(embeddings, labels)
    assert math.isclose(uss.shift.value.item(), expected, rel_tol=1e-6)
    torch.testing.assert_close(uss.vectors.rows[3], unit(unit(embeddings)[labels == 3].mean(0), dim=0))
    loss(2 * embeddings + 1, labels)
    assert math.isclose(uss.shift.value.item(), expected, rel_tol=1e-6)
    after = uss.vectors.rows.clone()
    loss.eval()(embeddings, labels)
    assert torch.equal(uss.vectors.rows, after)


def test_it_starts_from_the_class_vectors_of_cosface():
    one = losses.build("unitsface", dim=6, classes=4, seed=3).terms["cosface"].weight
    assert torch.equal(one, losses.build("cosface", dim=6, classes=4, seed=3).weight)
