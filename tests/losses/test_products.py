"""Products of two matrices by the faster of two libraries: value, shift, sums, and which library does it."""

import pytest
import torch

from faceloss.losses import products
from faceloss.losses.products import LEAST, add_inner, differentiable_inner, inner

SHAPE = (300, 200, 260)  # m, k, n: well over LEAST


def matrices(m: int, k: int, n: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator).to(dtype) for shape in ((m, k), (n, k), (n,)))


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.detach().double() - exact.detach()).norm() / exact.detach().norm())


@pytest.fixture(params=["either library", "torch.mm"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch.mm":
        monkeypatch.setattr(products, "_at_hand", lambda: False)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float64, 1e-14), (torch.bfloat16, 5e-3)])
@pytest.mark.parametrize("shape", [SHAPE, (3, 2, 5)])
def test_all_inner_products(shape: tuple[int, int, int], dtype: torch.dtype, error: float, turned: bool) -> None:
    a, b, shift = matrices(*shape, dtype)
    if turned:  # the same values, columns side by side in memory
        a, b = a.T.contiguous().T, b.T.contiguous().T
    exact = a.double() @ b.double().T
    assert exact.norm() > 1
    assert relative(inner(a, b), exact) < error
    assert relative(inner(a, b, shift), exact + shift.double()) < error
    out = torch.empty(shape[0], shape[2], dtype=dtype)
    assert relative(inner(a, b, out=out), exact) < error
    total = torch.ones(shape[0], shape[2], dtype=dtype)
    add_inner(total, a, b)
    assert relative(total, exact + 1) < error


def test_a_total_wider_than_the_product_keeps_its_digits() -> None:
    a, b, _ = matrices(*SHAPE, torch.bfloat16)
    total = torch.full((SHAPE[0], SHAPE[2]), 1000.0)
    add_inner(total, a, b)
    assert relative(total - 1000, a.double() @ b.double().T) < 5e-3


def test_the_sums_of_one_call_do_not_depend_on_the_memory_they_go_to() -> None:
    a, b, shift = matrices(*SHAPE)
    assert torch.equal(inner(a, b, shift), inner(a, b, shift, out=torch.empty(SHAPE[0], SHAPE[2])))


def test_small_products_and_other_types_are_left_to_torch() -> None:
    small = round((LEAST / 2) ** (1 / 3)) - 1
    a, b, _ = matrices(small, small, small)
    assert not products._by_onednn(a, b)
    assert torch.equal(inner(a, b), a @ b.T)
    assert not products._by_onednn(*matrices(*SHAPE, torch.float64)[:2])
    assert not products._by_onednn(*matrices(*SHAPE, torch.bfloat16)[:2])


@pytest.mark.skipif(not products._at_hand(), reason="this processor has no AVX-512, or this torch no oneDNN")
def test_onednn_does_large_float32_products_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, shift = matrices(*SHAPE)
    by_onednn = torch.ops.mkldnn._linear_pointwise(a, b, shift, "none", [], "")
    by_torch = torch.addmm(shift, a, b.T)
    assert not torch.equal(by_onednn, by_torch)  # else the next lines would say nothing
    assert torch.equal(inner(a, b, shift), by_onednn)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert torch.equal(inner(a, b, shift), by_torch)


def test_an_operation_that_has_gone_or_changed_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    monkeypatch.setattr(torch.ops, "mkldnn", Gone())
    assert not products._at_hand.__wrapped__()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_gradients_of_both_orders(wanted: tuple[bool, bool]) -> None:
    a, b, _ = matrices(*SHAPE)
    outer = torch.linspace(-1, 1, SHAPE[0] * SHAPE[2]).view(SHAPE[0], SHAPE[2])

    def both(form: str, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [one.to(dtype).requires_grad_(needed) for one, needed in zip((a, b), wanted, strict=True)]
        asked = [leaf for leaf in leaves if leaf.requires_grad]
        value = differentiable_inner(*leaves) if form == "ours" else leaves[0] @ leaves[1].T
        first = torch.autograd.grad((value.square() * outer.to(dtype)).sum(), asked, create_graph=True)
        second = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), asked)
        return [value, *first, *second]

    for found, exact in zip(both("ours", torch.float32), both("plain", torch.float64), strict=True):
        assert exact.norm() > 1
        assert relative(found, exact) < 1e-5


def test_autocast_is_obeyed() -> None:
    a, b, _ = matrices(*SHAPE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert differentiable_inner(a, b).dtype == torch.bfloat16
