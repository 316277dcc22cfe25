"""A batch on which nothing is at rest, and the comparison of a loss with its paper's formula written as loops."""

import math

import pytest
import torch

from faceloss.losses.mining import negatives, positives


@pytest.fixture
def batch():
    """12 embeddings of 6 numbers, 4 identities of unequal size, float64; all distances differ."""
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 1, 0, 3, 2])
    distances = torch.pdist(embeddings)
    assert len(distances.unique()) == len(distances)
    assert positives(labels).any(1).all()
    assert negatives(labels).any(1).all()
    return embeddings, labels


@pytest.fixture
def agrees(batch):
    """``agrees(loss, naive)``: value and all gradients equal those of ``naive(loss, embeddings, labels)``.

    The naive form reads parameters from the loss, so that autograd differentiates the same leaves twice.
    """

    def check(loss, naive, tolerance=1e-10):
        embeddings, labels = batch
        loss = loss.double()
        results = []
        for form in (lambda x: loss(x, labels).loss, lambda x: naive(loss, x, labels)):
            leaf = embeddings.clone().requires_grad_()
            value = form(leaf)
            results.append((value, torch.autograd.grad(value, [leaf, *loss.parameters()])))
        (value, gradients), (expected, wanted) = results
        assert float(expected.detach()) > 0, "the input is not generic: the loss is 0"
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
        for gradient, want in zip(gradients, wanted, strict=True):
            assert float(want.abs().max()) > 0, "the input is not generic: a gradient is 0"
            torch.testing.assert_close(gradient.to_dense(), want, rtol=tolerance, atol=tolerance)

    return check


@pytest.fixture
def multiplied():
    """``multiplied(unit)``: the naive form of L-Softmax, and with ``unit`` that of A-Softmax, whose ||w_j|| is 1."""

    def of(unit):
        def naive(loss, embeddings, labels):
            m, lam = (float(loss.hyperparameters()[name]) for name in ("m", "lam"))
            total, turns = 0.0, set()
            for x, y in zip(embeddings, labels.tolist(), strict=True):
                scores = []
                for j, w in enumerate(loss.weight):
                    cos = (w * x).sum() / (w.norm() * x.norm())
                    if j == y:
                        theta = torch.acos(cos)
                        k = math.floor(m * theta.item() / math.pi)
                        turns.add(k)
                        cos = (lam * cos + (-1) ** k * torch.cos(m * theta) - 2 * k) / (1 + lam)
                    scores.append((1 if unit else w.norm()) * x.norm() * cos)
                total = total - torch.log(scores[y].exp() / sum(score.exp() for score in scores))
            assert len(turns) >= min(m, 3), "the input must reach several pieces of psi"
            return total / len(labels)

        return naive

    return of
