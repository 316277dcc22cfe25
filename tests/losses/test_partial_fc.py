"""Partial FC: which classes take part, and the formula over those."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses import cosface
from faceloss.losses.class_vectors import Sampled
from faceloss.losses.partial_fc import sampled


def chosen(loss, labels):
    """The rows that take part in the next training pass: drawn again from the key of the pass."""
    marked = torch.arange(loss.classes, dtype=torch.float64).unsqueeze(1)
    drawn = loss.vectors(marked, labels, loss.generator, loss.training)
    assert torch.equal(drawn.rows[drawn.column].squeeze(1).long(), labels)
    return [int(row) for row in drawn.rows]


def naive(loss, embeddings, labels):
    loss.key(0, 0)
    s, m = (float(loss.hyperparameters()[name]) for name in "sm")
    part = chosen(loss, labels)
    total, branches = 0.0, set()
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = {j: (loss.weight[j] * x).sum() / (loss.weight[j].norm() * x.norm()) for j in part}
        others = sum((s * c).exp() for j, c in cos.items() if j != y)
        own = cos[y] - m
        if loss.psi is not cosface.psi:
            branches.add(bool(cos[y] > -math.cos(m)))
            own = torch.cos(torch.acos(cos[y]) + m) if cos[y] > -math.cos(m) else cos[y] - m * math.sin(m)
        own = (s * own).exp()
        total = total - torch.log(own / (own + others))
    assert loss.psi is cosface.psi or branches == {True, False}, "the input must reach the rule beyond pi"
    return total / len(labels)


@pytest.mark.parametrize(("margin", "m"), [("cosface", 0.4), ("arcface", 1.2)])
@pytest.mark.parametrize(("classes", "rate"), [(40, 0.3), (40, 0.05), (4, 0.1)])
def test_agrees_with_its_formula(agrees, classes, rate, margin, m):
    agrees(losses.build("partial_fc", dim=6, classes=classes, rate=rate, margin=margin, m=m), naive)


def test_by_hand(batch):
    """40 classes at rate 0.3 are 12; the 4 of the batch are among them, 36 in 40 others share the 8 places left."""
    loss = losses.build("partial_fc", dim=6, classes=40, rate=0.3)
    parts = []
    for step in range(300):
        loss.key(1, step)
        parts.append(set(chosen(loss, batch[1])))
    assert {len(part) for part in parts} == {12}
    assert all({0, 1, 2, 3} <= part for part in parts)
    often = torch.tensor([sum(j in part for part in parts) for j in range(4, 40)]) / 300
    expected = 8 / 36
    assert (often - expected).abs().max() < 5 * math.sqrt(expected * (1 - expected) / 300)


@pytest.mark.parametrize(("margin", "m"), [("cosface", 0.4), ("arcface", 0.5)])
def test_with_all_classes_it_is_its_margin(batch, margin, m):
    plain = losses.build(margin, dim=6, classes=40, m=m, seed=1).double()(*batch).loss
    whole = losses.build("partial_fc", dim=6, classes=40, m=m, rate=1.0, margin=margin, seed=1).double()
    part = losses.build("partial_fc", dim=6, classes=40, m=m, margin=margin, seed=1).double()
    torch.testing.assert_close(whole(*batch).loss, plain, rtol=1e-12, atol=0)
    assert part(*batch).loss < plain
    torch.testing.assert_close(part.eval()(*batch).loss, plain, rtol=1e-12, atol=0)


def test_each_label_finds_its_own_row(batch):
    """Labels far apart, so that the place of a class among those that take part is not its number."""
    loss = losses.build("partial_fc", dim=6, classes=40, rate=0.3).double()
    labels = torch.tensor([31, 5, 31, 17])
    expected = naive(loss, batch[0][:4], labels)
    loss.key(0, 0)
    assert chosen(loss, labels).index(31) != 31
    torch.testing.assert_close(loss(batch[0][:4], labels).loss, expected, rtol=1e-10, atol=0)


def test_rows_that_take_no_part_get_no_gradient(batch):
    loss = losses.build("partial_fc", dim=6, classes=40, rate=0.3)
    part = chosen(loss, batch[1])
    loss(batch[0].float(), batch[1]).loss.backward()
    gradient = loss.weight.grad
    assert gradient.is_sparse
    assert gradient._indices().flatten().tolist() == part
    assert gradient._values().shape == (12, 6)
    assert (gradient._values().abs().sum(1) > 0).all()


def test_under_a_cast_all_rows_have_a_gradient_as_a_cast_needs_it(batch):
    loss = losses.build("partial_fc", dim=6, classes=40, rate=0.3)
    part = chosen(loss, batch[1])
    loss(*batch).loss.backward()  # float64 embeddings, float32 class vectors
    assert not loss.weight.grad.is_sparse
    assert loss.weight.grad.any(1).nonzero().flatten().tolist() == part


def test_a_batch_of_one_identity_still_has_something_to_tell_apart():
    drawn = Sampled(0.01)(torch.eye(5), torch.tensor([3, 3]), lambda _: torch.Generator().manual_seed(0), True)
    assert len(drawn.rows) == 2
    assert drawn.rows[drawn.column][:, 3].tolist() == [1.0, 1.0]


# Every loss with one learnt vector for each class, and what it is given besides; AdaptiveFace has a mean over all
# identities, whichever take part.
PLAIN = (
    "adacos adaface arcface arcnegface asoftmax circle combined cosface curricularface elasticface lookahead_margin "
    "lsoftmax magface "
    "mv_softmax normface npcface random_softmax search_softmax sphereface_r sphereface2 uniface vsoftmax"
)
ANY = {name: {} for name in PLAIN.split()} | {
    "adaptiveface": {"lam": 0.0},
    "am_lfs": {"bins": 2},
    "x2_softmax": {"a": -0.25, "h": -0.4, "k": 1.0},
}


@pytest.mark.parametrize("name", ANY)
def test_under_any_margin_it_is_that_loss_over_the_classes_that_take_part(batch, name):
    """Value and gradients equal those of the same loss built for these classes alone, with their vectors."""
    embeddings, labels = batch[0], batch[1] + 20
    loss = sampled(losses.build(name, dim=6, classes=40, **ANY[name]).double(), 0.3)
    head = loss.terms[next(iter(loss.terms))] if hasattr(loss, "terms") else loss
    drawn = head.vectors(torch.arange(40.0).unsqueeze(1), labels, head.generator, True)
    part = drawn.rows.flatten().long()
    assert len(part) == 12
    small = losses.build(name, dim=6, classes=12, **ANY[name]).double()
    whole = {key: value.clone() for key, value in loss.state_dict().items()}
    small.load_state_dict({key: value[part] if value.shape[:1] == (40,) else value for key, value in whole.items()})
    results = []
    for form, y in ((loss, labels), (small, drawn.column)):
        leaf = embeddings.clone().requires_grad_()
        form.key(0, 0)
        value = form(leaf, y).loss
        grads = torch.autograd.grad(value, [leaf, *form.parameters()])
        results.append((value, *(grad.to_dense() for grad in grads)))
    assert results[0][0] > 0
    torch.testing.assert_close(results[0][:2], results[1][:2], rtol=1e-9, atol=1e-10)
    for (key, parameter), got, want in zip(loss.named_parameters(), results[0][2:], results[1][2:], strict=True):
        assert want.abs().max() > 0, key
        if parameter.shape[:1] == (40,):
            assert set(got.view(40, -1).any(1).nonzero().flatten().tolist()) <= set(part.tolist())
            got = got[part]
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)
    full = losses.build(name, dim=6, classes=40, **ANY[name]).double()
    full.load_state_dict(loss.state_dict())
    torch.testing.assert_close(loss.eval()(embeddings, labels).loss, full.eval()(embeddings, labels).loss)
    assert abs(full(embeddings, labels).loss - results[0][0]) > 1e-6


@pytest.mark.parametrize("name", ["softmax", "center", "coco", "triplet", "subcenter_arcface"])
def test_a_loss_without_plain_class_vectors_is_refused(name):
    with pytest.raises(ValueError, match="Partial FC samples learnt class vectors, one for each class"):
        sampled(losses.build(name, dim=6, classes=4), 0.5)


def test_a_wrong_rate_is_refused():
    with pytest.raises(ValueError, match=r"rate must be a finite number above 0 and at most 1; given 1\.5"):
        sampled(losses.build("cosface", dim=6, classes=4), 1.5)


def test_every_loss_with_plain_class_vectors_is_in_the_list():
    could = set()
    for name in losses.names():
        required = {key: 0.1 for key, known in losses.describe(name).hyperparameters.items() if known.default is None}
        try:
            sampled(losses.build(name, dim=6, classes=4, **{**required, **ANY.get(name, {})}), 0.5)
        except ValueError:
            continue
        could.add(name)
    assert could - {"unitsface"} == set(ANY)  # whose second term has a memory in their place
