"""What is watched at the targets: of every loss the weight that the ruler has, without changing a number."""

import pytest
import torch

from faceloss import losses
from faceloss.losses import describe, ruler
from faceloss.losses.binary import BinaryHead
from faceloss.losses.heads import ClassHead

CLASSES = 9
VALUES = {name: describe(name).start for name in losses.names()}
OF_CLASSES = sorted(
    name
    for name in losses.names()
    if isinstance(losses.build(name, dim=3, classes=CLASSES, **VALUES[name]), ClassHead | BinaryHead)
)


def watched(name: str, angle: float) -> float:
    """The weight of one sample of norm 30 at ``angle`` to its class, in the situation of the ruler."""
    head = losses.build(name, dim=3, classes=CLASSES, **VALUES[name]).double().eval()
    theta = torch.tensor(angle, dtype=torch.float64).deg2rad()
    rows = torch.zeros(CLASSES, 3, dtype=torch.float64)
    rows[1:, 2] = 1.0
    rows[1, 0], rows[1, 2] = ruler.LOOKALIKE, (1 - ruler.LOOKALIKE**2) ** 0.5
    held = ruler.Held()
    embedding, label = (
        torch.tensor([[ruler.NORM, 0.0, 0.0]], dtype=torch.float64, requires_grad=True),
        torch.tensor([0]),
    )
    head.vectors = held
    if isinstance(head, BinaryHead) and head.shift is not None:
        held.rows = rows
        head.train()(embedding, label)
        head.eval()
    held.rows = rows.index_copy(0, label, torch.stack([theta.cos(), theta.sin(), 0 * theta]).unsqueeze(0))
    head(embedding, label).loss.backward()
    assert head.targets is not None
    assert head.targets.angles().item() == pytest.approx(angle, abs=1e-6)
    weight: float = head.targets.weights().item()
    return weight


def test_most_losses_are_watched() -> None:
    assert len(OF_CLASSES) > 25


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_sample_is_pulled_as_the_ruler_says(name: str) -> None:
    angles = (31.0, 62.0, 118.0)
    curve = ruler.measure(losses.build(name, dim=3, classes=CLASSES, **VALUES[name]), angles).classes
    assert curve is not None
    assert [watched(name, angle) for angle in angles] == pytest.approx(list(curve.weight), rel=1e-9, abs=1e-12)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    embeddings = 4 * torch.randn(20, 6, generator=generator, dtype=torch.float64)
    return embeddings.requires_grad_(), torch.arange(20) % CLASSES


def test_of_softmax_it_is_one_minus_p() -> None:
    """With bias, class vectors and embeddings of any length."""
    head = losses.build("softmax", dim=6, classes=CLASSES).double()
    torch.nn.init.normal_(head.bias, generator=torch.Generator().manual_seed(1))
    embeddings, labels = batch()
    head(embeddings, labels).loss.backward()
    logits = embeddings.detach() @ head.weight.detach().T + head.bias.detach()
    p = logits.softmax(1)[torch.arange(20), labels]
    assert p.min() < 0.1
    assert p.max() > 0.2
    assert torch.allclose(head.targets.weights(), 1 - p, rtol=0, atol=1e-12)
    cos = torch.nn.functional.cosine_similarity(embeddings.detach(), head.weight.detach()[labels])
    assert torch.allclose(head.targets.angles(), torch.rad2deg(cos.acos()))


def test_in_a_sum_the_weight_is_that_of_the_first_term_over_classes() -> None:
    embeddings, labels = batch()
    center = losses.build("center", dim=6, classes=CLASSES, seed=1).double()
    alone = losses.build("softmax", dim=6, classes=CLASSES, seed=1).double()
    found = []
    for loss in (center, alone):
        for part in (part for part in loss.modules() if isinstance(part, ClassHead)):
            torch.nn.init.normal_(part.weight, generator=torch.Generator().manual_seed(3))
        loss(embeddings, labels).loss.backward()
        found.append(loss.targets.weights())
    assert torch.equal(*found)


def test_where_nothing_is_trained_or_there_are_no_classes_nothing_is_watched() -> None:
    embeddings, labels = batch()
    head = losses.build("arcface", dim=6, classes=CLASSES).double()
    head(embeddings, labels)
    assert not head.targets.weights().any()  # nobody asked for a gradient
    with torch.no_grad():
        head(embeddings, labels)
    assert head.targets is None
    triplet = losses.build("triplet", dim=6, classes=CLASSES).double()
    triplet(embeddings, labels)
    assert triplet.targets is None
