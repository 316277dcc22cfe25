"""The streamed log sum exp against one written as loops, and against the plain form on what loops are too slow for."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses import products
from faceloss.losses.class_vectors import ClassVectors
from faceloss.losses.operations import normalize
from faceloss.losses.scores import Blocks, Scores, own_rows, read_in
from faceloss.losses.stream import log_sum_exp


@pytest.fixture(autouse=True, params=[products.LEAST, 1], ids=["small", "large"])
def products_count_as(request, monkeypatch):
    """Float32 products of these few numbers, once as those of small matrices are done, once as those of large ones."""
    monkeypatch.setattr(products, "LEAST", request.param)


def numbers(batch=7, classes=11, dim=5, scale=1.0, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(batch, dim, generator=generator, dtype=dtype)
    rows = torch.randn(classes, dim, generator=generator, dtype=dtype)
    bias = torch.randn(classes, generator=generator, dtype=dtype)
    column = torch.randint(classes, (batch,), generator=generator)
    return features, rows, bias, column


def naive(features, rows, bias, column, unit):
    """One sample and one class after another."""
    values = []
    for x, y in zip(features, column, strict=True):
        logits = []
        for j, w in enumerate(rows):
            v = w / w.norm() if unit and w.norm() > 0 else w
            if j != y:
                logits.append(x @ v + (0 if bias is None else bias[j]))
        values.append(torch.stack(logits).logsumexp(0))
    return torch.stack(values)


def gradients(form, *tensors):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = form(*leaves)
    value = value[0] if isinstance(value, tuple) else value
    slopes = torch.linspace(-1, 2, len(value), dtype=value.dtype)
    return value.detach(), torch.autograd.grad((value * slopes).sum(), leaves)


@pytest.mark.parametrize("block", [1, 3, 11, 500])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("unit", "biased"), [(True, False), (False, False), (False, True), (True, True)])
@pytest.mark.parametrize("scale", [0.1, 64.0, 1e5])
def test_value_and_gradient_are_those_of_loops(block, keep, unit, biased, scale):
    features, rows, bias, column = numbers(scale=scale)
    column[2] = -1  # its own class is elsewhere: all 11 are others
    given = (features, rows, bias) if biased else (features, rows)

    def form(x, w, b=None):
        return log_sum_exp(x, w, column, unit=unit, bias=b, block=block, keep=keep)

    value, got = gradients(form, *given)
    expected, wanted = gradients(lambda x, w, b=None: naive(x, w, b, column, unit), *given)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, want in zip(got, wanted, strict=True):
        assert want.abs().max() > 0
        assert float((gradient - want).norm() / want.norm()) < 1e-10


@pytest.mark.parametrize("sizes", [(3, 11, 8), (4, 11, 5), (5, 11, 5), (8, 11, 3), (30, 11, 1)])  # batch, classes, dim
@pytest.mark.parametrize("block", [1, 2, 4, 11])
@pytest.mark.parametrize("product", [torch.float32, torch.bfloat16])
def test_the_gradient_takes_the_memory_of_what_was_kept_and_none_of_what_is_still_read(sizes, block, product):
    """Written over E, from either end as the sizes demand; a second backward pass makes E again."""
    features, rows, _, column = numbers(*sizes, dtype=torch.float32)
    leaves = features.requires_grad_(), rows.requires_grad_()
    slopes = torch.linspace(-1, 2, len(features))

    def form(keep):
        rest = log_sum_exp(*leaves, column, unit=True, bias=None, block=block, keep=keep, product=product)
        return (rest.log_sum_exp * slopes).sum()

    value = form(keep=True)
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    held = [gradient.clone() for gradient in first]
    second = torch.autograd.grad(value, leaves)
    expected = torch.autograd.grad(form(keep=False), leaves)
    batch, classes, dim = sizes
    assert first[1].untyped_storage().nbytes() == classes * max(batch * product.itemsize, dim * 4)
    for one, two, now, want in zip(held, second, first, expected, strict=True):
        assert want.abs().max() > 0
        torch.testing.assert_close(one, want, rtol=1e-5, atol=1e-6)
        assert one.equal(now)  # the second pass left it alone
        torch.testing.assert_close(two, want, rtol=0, atol=0)


@pytest.mark.parametrize("keep", [True, False])
def test_float32_is_exact_at_the_dimensions_and_the_scale_of_the_field(keep):
    features, rows, _, column = numbers(256, 1500, 512)
    features = 64 * normalize(normalize(features) + normalize(rows)[column])
    loss = lambda x, w: log_sum_exp(x, w, column, unit=True, bias=None, block=512, keep=keep)  # noqa: E731
    exact, wanted = gradients(loss, features, rows)
    value, got = gradients(loss, features.float(), rows.float())
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
    for gradient, want in zip(got, wanted, strict=True):
        assert want.abs().max() > 0
        assert float((gradient - want).norm() / want.norm()) < 1e-5


def test_the_largest_and_the_own_logit_are_those_of_the_matrix():
    features, rows, bias, column = numbers()
    rest = log_sum_exp(features, rows, column, unit=False, bias=bias, block=4, keep=True)
    logits = features @ rows.T + bias
    own = logits.gather(1, column.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(rest.own, own)
    torch.testing.assert_close(rest.largest, logits.scatter(1, column.unsqueeze(1), -math.inf).amax(1))
    assert not rest.own.requires_grad


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e6, 1e15])
@pytest.mark.parametrize("block", [1, 2, 6])
def test_rising_and_falling_logits_neither_overflow_nor_vanish(size, block):
    """Blocks that come later may be far larger or far smaller than all before, and a first block may be all own."""
    features = torch.tensor([[1.0], [1.0], [-1.0]], dtype=torch.float32)
    rows = size * torch.tensor([[-3.0], [-2.0], [5.0], [4.0], [-9.0], [5.0]], dtype=torch.float32)
    column = torch.tensor([0, 2, 4])
    value, (x, w) = gradients(
        lambda x, w: log_sum_exp(x, w, column, unit=False, bias=None, block=block, keep=False), features, rows
    )
    expected = naive(features.double(), rows.double(), None, column, False)
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.isfinite(x).all()
    assert torch.isfinite(w).all()
    assert w.abs().sum() > 0


def test_the_only_class_has_no_others_and_no_gradient():
    features, rows, _, _ = numbers(classes=1)
    value, (x, w) = gradients(
        lambda x, w: log_sum_exp(x, w, torch.zeros(7, dtype=torch.int64), unit=True, bias=None, block=4, keep=True),
        features,
        rows,
    )
    assert (value == -math.inf).all()
    assert (x == 0).all()
    assert (w == 0).all()


def test_rows_of_zeros_stay_at_zero():
    features, rows, _, column = numbers()
    rows[4] = 0
    _, (_, w) = gradients(
        lambda x, w: log_sum_exp(x, w, column, unit=True, bias=None, block=3, keep=False), features, rows
    )
    assert (w[4] == 0).all()
    assert (w[3] != 0).all()


def mid_training(name, dim, classes, batch=64):
    """A loss and a batch whose cosines to their own class are about 0.8, as in the middle of a training."""
    loss = losses.build(name, dim=dim, classes=classes, **losses.describe(name).start)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes, (batch,), generator=generator)
    vectors = next(p for n, p in loss.named_parameters() if n.endswith("weight"))
    own = normalize(vectors.detach()[labels * (len(vectors) // classes)])
    return loss, 10 * (0.8 * own + 0.6 * normalize(torch.randn(batch, dim, generator=generator))), labels


def with_class_vectors(name):
    loss = losses.build(name, dim=4, classes=5, **losses.describe(name).start)
    named = [n for n, p in loss.named_parameters() if n.endswith("weight") and len(p) >= 5]
    return bool(named) and read_in(loss, Blocks()) is not None


@pytest.mark.parametrize("name", [name for name in losses.own_names() if with_class_vectors(name)])
def test_bfloat16_products_change_the_gradient_by_half_a_percent_at_most(name):
    loss, embeddings, labels = mid_training(name, 512, 1500)
    results = []
    for blocks in (Blocks(stream=False), Blocks(product=torch.bfloat16)):
        read_in(loss, blocks)
        leaf = embeddings.clone().requires_grad_()
        loss.key(0, 0)
        loss.eval()
        parameters = [p for p in loss.parameters() if p.ndim == 2]
        results.append(torch.autograd.grad(loss(leaf, labels).loss, [leaf, *parameters], allow_unused=True))
    for plain, streamed in zip(*results, strict=True):
        if plain is None or float(plain.norm()) < 1e-3:
            continue
        assert float((plain - streamed).norm() / plain.norm()) < 5e-3


def test_bfloat16_is_used_where_it_is_asked_for():
    features, rows, _, column = numbers(64, 1000, 512, dtype=torch.float32, scale=2.0)
    way = {"unit": True, "bias": None, "block": 300, "keep": True}
    exact = log_sum_exp(features, rows, column, **way).log_sum_exp
    rounded = log_sum_exp(features, rows, column, product=torch.bfloat16, **way).log_sum_exp
    error = (exact - rounded).abs().max()
    assert 1e-6 < error < 0.02
    assert rounded.dtype == torch.float32


def test_own_rows_share_the_gradient_of_the_others():
    features, rows, _, column = numbers()
    column[:2] = torch.tensor([0, len(rows) - 1])  # the first class and the last
    leaf = rows.clone().requires_grad_()
    own, vectors = own_rows(ClassVectors(leaf, column), Blocks())
    scores = Scores(features, vectors, unit=True, bias=None, blocks=Blocks(classes=4))
    (got,) = torch.autograd.grad((own.square().sum(1) + scores.read().log_sum_exp).sum(), leaf)
    plain = rows.clone().requires_grad_()
    (want,) = torch.autograd.grad(
        (plain[column].square().sum(1) + naive(features, plain, None, column, True)).sum(), plain
    )
    torch.testing.assert_close(got, want)


def test_impossible_blocks_are_refused():
    with pytest.raises(ValueError, match="at least 1 class and 0 bytes; given 0 and 5"):
        Blocks(classes=0, keep=5)
    with pytest.raises(ValueError, match=r"None or torch\.bfloat16; given torch\.float16"):
        Blocks(product=torch.float16)
