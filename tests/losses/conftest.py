"""A batch on which nothing is at rest, and the comparison of a loss with its paper's formula written as loops."""

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
