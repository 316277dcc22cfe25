"""The bound of every coarse product holds for every pair, also of vectors that quantize badly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloss.matching import screen

EVERY = (*screen.KINDS, "float64")


def errors(one, x):
    """[n,n] error of each product, and its bound."""
    product = screen.product(one, one).double() * one.scale**2
    exact = torch.zeros_like(product)
    exact[: len(x), : len(x)] = x.double() @ x.double().T
    bound = screen.bound(one, one)
    return (product - exact).abs(), bound.expand(-1, len(product) // screen.GROUP).repeat_interleave(screen.GROUP, 1)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("dim", [20, 64, 200])
def test_the_bound_holds(make_set, kind_of_set, kind, dim):
    e, _ = make_set(kind_of_set, 150, dim)
    x = torch.from_numpy(e)
    error, bound = errors(screen.side(kind, x), x)
    assert (error <= bound).all()
    if kind_of_set == "generic":
        assert kind in ("float32", "float64") or error.max() > bound.max() / 100  # and it is not idle
        assert bound[:150, :150].median() < {"int8": 0.05, "bfloat16": 0.02, "float32": 1e-4, "float64": 1e-12}[kind]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    dim=st.integers(1, 130),
    power=st.sampled_from([0.2, 1.0, 3.0, 9.0]),
    size=st.sampled_from([1e-3, 1.0, 40.0]),
    kind=st.sampled_from(EVERY),
)
def test_the_bound_holds_for_any_vectors(seed, dim, power, size, kind):
    """Coordinates from nearly equal to nearly all in one, of any length."""
    rng = np.random.default_rng(seed)
    e = np.sign(rng.normal(size=(70, dim))) * np.abs(rng.normal(size=(70, dim))) ** power + 1e-9
    e *= size * rng.uniform(0.5, 2, (70, 1)) / np.linalg.norm(e, axis=1, keepdims=True)
    x = torch.from_numpy(e.astype(np.float32))
    error, bound = errors(screen.side(kind, x), x)
    assert (error <= bound).all()


def test_turning_keeps_products_and_spreads_coordinates(make_set):
    x = torch.from_numpy(make_set("huge coordinate", 100, 128)[0])
    turned = screen.turn(x)
    assert torch.allclose(turned @ turned.T, x @ x.T, atol=1e-6)
    assert turned.abs().max() < 0.5 < x.abs().max()
    assert not torch.allclose(turned, x, atol=0.1)


def test_vectors_are_turned_where_it_pays(make_set):
    outliers = torch.from_numpy(make_set("huge coordinate", 200, 128)[0])
    assert screen.best_scale(outliers)[1]
    assert not screen.best_scale(torch.from_numpy(make_set("generic", 200, 128)[0]))[1]
    plain = screen.best_scale(outliers, turns=(False,))
    better = [float(screen.side("int8", outliers, scaled).residual.mean()) for scaled in (None, plain)]
    assert better[0] < better[1] / 2


@pytest.mark.parametrize("kind", EVERY)
def test_limits_enclose_the_floor(make_set, kind_of_set, kind):
    e, _ = make_set(kind_of_set, 128, 40)
    one = screen.side(kind, torch.from_numpy(e))
    exact = e.astype(np.float64) @ e.astype(np.float64).T
    for floor in (-np.inf, -0.2, 0.0, 0.3, 1.0, np.inf):
        low, high = screen.limits(one, one, torch.full((128,), floor, dtype=torch.float64))
        block = screen.product(one, one)
        row, column = screen.reaching(block, low)
        reached = np.zeros((128, 128), bool)
        reached[row, column] = True
        assert (reached | (exact < floor)).all()  # none is lost
        row, column = screen.reaching(block, high)
        assert (exact[row, column] >= floor).all()  # those are sure
        assert (floor > -np.inf) | reached.all()


def test_reaching_finds_what_a_comparison_finds():
    draw = torch.Generator().manual_seed(3)
    block = torch.randint(-1000, 1000, (50, 256), generator=draw, dtype=torch.int32)
    limit = torch.randint(500, 1100, (50, 4), generator=draw, dtype=torch.int32)
    row, column = screen.reaching(block, limit)
    wanted = (block >= limit.repeat_interleave(64, 1)).nonzero(as_tuple=True)
    assert 100 < len(row) < block.numel()
    assert {*zip(row.tolist(), column.tolist(), strict=True)} == {*zip(*map(torch.Tensor.tolist, wanted), strict=True)}


def test_rates_are_measured():
    found = screen.rates(64)
    assert "float32" in found
    assert set(found) <= set(screen.KINDS)
    assert all(1e-13 < seconds < 1e-4 for seconds in found.values())
    assert screen.fastest(64) in found


def test_shorter_numbers_inside_products_widen_the_bound():
    plain = screen.rounding("float32", 512)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert screen.rounding("float32", 512) > plain + 0.01
    finally:
        torch.set_float32_matmul_precision(before)
    assert screen.rounding("int8", 512) < plain < 1e-4
