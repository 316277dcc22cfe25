"""The shared mathematics: exact in the middle, finite at the edges."""

import math

import pytest
import torch

from faceloss.losses.operations import add_angle, angle, cross_entropy, normalize, sine

DTYPES = [torch.float32, torch.float64]
EDGES = [-1.0, -1.0 + 2**-23, -0.5, 0.0, 0.5, 1.0 - 2**-23, 1.0, 1.0 + 2**-23, -1.0 - 2**-23]


def value_and_slope(function, at, dtype):
    leaf = torch.tensor(at, dtype=dtype, requires_grad=True)
    value = function(leaf)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [angle, sine, lambda c: add_angle(c, torch.tensor(0.5))])
def test_cosines_have_finite_values_and_slopes(function, dtype):
    value, slope = value_and_slope(function, EDGES, dtype)
    assert value.dtype == dtype
    assert torch.isfinite(value).all()
    assert torch.isfinite(slope).all()


def test_angles_agree_with_trigonometry():
    theta = torch.linspace(0.001, math.pi - 0.001, 1001, dtype=torch.float64)
    m = torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(angle(theta.cos()), theta, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sine(theta.cos()), theta.sin(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(add_angle(theta.cos(), m), (theta + m).cos(), rtol=1e-9, atol=1e-9)
    _, slope = value_and_slope(angle, theta.cos().tolist(), torch.float64)
    torch.testing.assert_close(slope, -1 / theta.sin(), rtol=1e-6, atol=1e-9)


def test_float32_angles_are_exact_at_the_ends():
    ends = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(angle(ends), torch.tensor([0.0, math.pi]), rtol=0, atol=2e-6)
    torch.testing.assert_close(add_angle(ends, torch.tensor(0.5)), ends * math.cos(0.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normalize(dtype):
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e-7, 4e-7], [3e6, 4e6]], dtype=dtype, requires_grad=True)
    unit = normalize(rows)
    torch.testing.assert_close(unit[[0, 2, 3]], torch.tensor([[0.6, 0.8]] * 3, dtype=dtype))
    assert unit[1].tolist() == [0, 0]
    unit.sum().backward()
    assert torch.isfinite(rows.grad).all()
    assert rows.grad[1].tolist() == [0, 0]
    assert torch.autograd.gradcheck(normalize, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))


def test_cross_entropy_over_the_whole_range():
    """Against torch in float64; far out it is linear on one side and keeps its tiny tail on the other."""
    target = torch.linspace(-60, 60, 241, dtype=torch.float64)
    others = torch.zeros_like(target)
    expected = torch.nn.functional.cross_entropy(
        torch.stack([target, others], 1), torch.zeros(241, dtype=torch.int64), reduction="none"
    )
    torch.testing.assert_close(cross_entropy(target, others), expected, rtol=1e-9, atol=1e-15)
    assert cross_entropy(torch.tensor(200.0), torch.tensor(100.0)).item() > 0
    assert cross_entropy(torch.tensor(-1e7), torch.tensor(1e7)).item() == 2e7
