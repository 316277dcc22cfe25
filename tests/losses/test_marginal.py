"""The marginal loss against its formula, with either normalizer."""

import math

import pytest
import torch

from faceloss import losses


def naive(divisor):
    def form(loss, embeddings, labels):
        theta, xi, lam = (float(loss.hyperparameters()[name]) for name in ("theta", "xi", "lam"))
        softmax, rows = loss.terms["softmax"], range(len(labels))
        entropy = 0.0
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            scores = torch.stack([(w * x).sum() + b for w, b in zip(softmax.weight, softmax.bias, strict=True)])
            entropy = entropy - scores.log_softmax(0)[y]
        terms = []
        for i in rows:
            for j in rows:
                if i < j:
                    d = ((embeddings[i] / embeddings[i].norm() - embeddings[j] / embeddings[j].norm()) ** 2).sum()
                    y = 1 if labels[i] == labels[j] else -1
                    terms.append(torch.relu(xi - y * (theta - d)))
        assert 0 < sum(float(term.detach()) > 0 for term in terms) < len(terms)
        return entropy / len(labels) + lam * sum(terms) / divisor(len(labels))

    return form


NORMALIZERS = {"pairs": lambda n: n * (n - 1) / 2, "paper": lambda n: n * n - n}


@pytest.mark.parametrize("lam", [1.0, 0.3])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_agrees_with_its_formula(agrees, normalizer, lam):
    agrees(losses.build("marginal", dim=6, classes=4, normalizer=normalizer, lam=lam), naive(NORMALIZERS[normalizer]))


@pytest.mark.parametrize(("normalizer", "pairs"), [("pairs", 3), ("paper", 6)])
def test_by_hand(normalizer, pairs):
    """Cosines 1/4 (one identity), 3/5 and 0 (two): d = 1.5, .8, 2; theta 1.2 and xi .3 cost .6, .7, 0.

    Both class vectors 0: the softmax is ln 2.
    """
    high = math.sqrt(1 - 0.25**2)
    across = -0.6 * 0.25 / high  # so that the last cosine is 0
    rows = [[1.0, 0, 0], [0.25, high, 0], [0.6, across, math.sqrt(1 - 0.36 - across**2)]]
    x = torch.tensor(rows, dtype=torch.float64)
    loss = losses.build("marginal", dim=3, classes=2, normalizer=normalizer)
    with torch.no_grad():
        loss.terms["softmax"].weight.zero_()
    result = loss(x, torch.tensor([0, 0, 1]))
    assert result.loss.item() == pytest.approx(math.log(2) + (0.6 + 0.7) / pairs, rel=1e-9)
    assert result.statistics["marginal"].item() == pytest.approx((0.6 + 0.7) / pairs, rel=1e-9)
    assert result.statistics["marginal.active"].item() == pytest.approx(2 / 3)


def test_the_band_is_between_the_cosines_a_quarter_and_055():
    """theta = 1.2 and xi = .3 on d = 2 - 2 c: genuine pairs rest beyond c = .55, impostors below c = .25."""
    for cos, genuine, impostor in ((0.24, True, False), (0.26, True, True), (0.54, True, True), (0.56, False, True)):
        x = torch.tensor([[1.0, 0.0], [cos, math.sqrt(1 - cos * cos)]], dtype=torch.float64)
        loss = losses.build("marginal", dim=2, classes=2)
        for labels, active in (([0, 0], genuine), ([0, 1], impostor)):
            assert (loss(x, torch.tensor(labels)).statistics["marginal"].item() > 0) == active


def test_without_weight_it_is_softmax(batch):
    softmax = losses.build("softmax", dim=6, classes=4)
    plain = losses.build("marginal", dim=6, classes=4, lam=0.0)
    assert plain(*batch).loss.item() == pytest.approx(softmax(*batch).loss.item())
    assert losses.build("marginal", dim=6, classes=4)(*batch).loss.item() > softmax(*batch).loss.item() + 0.01
