"""Side by side with pytorch-metric-learning 2.9: where it computes the same, to the digit, and where and why not.

Each test turns the knobs that make the two agree, in value and in all gradients, and then shows that its defaults do
not. The formulas of the other tests are ours; these numbers are not.
"""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.margin import measure, mine
from faceloss.losses.mining import one_pair_each

pml = pytest.importorskip(
    "pytorch_metric_learning",
    reason="NOT CHECKED: parity with pytorch-metric-learning, which is not installed; pip install '.[bench]' runs it",
)

from pytorch_metric_learning import distances, losses as theirs, miners, reducers, regularizers  # noqa: E402, I001


@pytest.fixture(autouse=True)
def version():
    assert pml.__version__.startswith("2."), f"written for 2.9, found {pml.__version__}: read its changes, then adapt"


def both(batch, ours, other, ours_parameters=(), other_parameters=(), tolerance=1e-9):
    """Value and gradients of ``ours(x)`` and ``other(x)`` agree; parameters are compared in the order given.

    A parameter of theirs that is ours transposed is compared transposed.
    """
    results = []
    for form, parameters in ((ours, ours_parameters), (other, other_parameters)):
        x = batch[0].clone().requires_grad_()
        value = form(x)
        results.append((value.detach(), torch.autograd.grad(value, [x, *parameters])))
    (value, gradients), (expected, wanted) = results
    assert value > 0
    torch.testing.assert_close(value, expected.reshape(()), rtol=tolerance, atol=tolerance)
    for gradient, want in zip(gradients, wanted, strict=True):
        assert want.abs().max() > 0
        want = want.T if want.shape != gradient.shape else want
        torch.testing.assert_close(gradient, want.reshape(gradient.shape), rtol=tolerance, atol=tolerance)


def class_losses(name, other, **given):
    """Our loss and theirs with the same class vectors, float64; theirs hold them as columns."""
    ours = losses.build(name, dim=6, classes=4, **given).double()
    with torch.no_grad():
        other.W.data = ours.weight.detach().double().T.clone()
    return ours, other


def test_arcface_has_its_margin_in_degrees(batch):
    """Theirs: degrees, 28.6 by default; ours: radians. Both take m sin m off the cosine beyond pi - m, both exact."""
    x, labels = batch
    for m, s in ((0.5, 64.0), (0.8, 10.0)):
        other = theirs.ArcFaceLoss(4, 6, margin=math.degrees(m), scale=s)
        ours, other = class_losses("arcface", other, m=m, s=s)
        theta = torch.nn.functional.cosine_similarity(x, ours.weight[labels]).acos()
        assert m < 0.8 or (theta > math.pi - m).any()  # both branches are there
        both(
            batch,
            lambda x, ours=ours: ours(x, labels).loss,
            lambda x, other=other: other(x, labels),
            [ours.weight],
            [other.W],
        )
    ours, wrong = class_losses("arcface", theirs.ArcFaceLoss(4, 6, margin=0.5), m=0.5, s=64.0)
    assert ours(x, labels).loss > wrong(x, labels) + 5  # half a degree is hardly a margin


def test_arcface_on_a_class_vector_has_no_gradient_there():
    """Theirs differentiates acos at cos = 1: the gradient is not finite. Ours is."""
    x = torch.eye(6, dtype=torch.float64)[:4]
    labels = torch.arange(4)
    ours, other = class_losses("arcface", theirs.ArcFaceLoss(4, 6))
    with torch.no_grad():
        ours.weight.copy_(x)
        other.W.data = x.T.clone()
    finite = []
    for form in (lambda x: ours(x, labels).loss, lambda x: other(x, labels)):
        leaf = x.clone().requires_grad_()
        finite.append(bool(torch.isfinite(torch.autograd.grad(form(leaf), leaf)[0]).all()))
    assert finite == [True, False]


def test_cosface_is_the_same(batch):
    """Same defaults but for s = 64, which both have."""
    labels = batch[1]
    ours, other = class_losses("cosface", theirs.CosFaceLoss(4, 6, margin=0.35, scale=64), m=0.35, s=64.0)
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels), [ours.weight], [other.W])


def test_contrastive_is_neither_squared_nor_halved_there(batch):
    """Theirs: mean of D over genuine pairs + mean of max(0, 1 - D) over the impostor pairs above 0.

    Ours, as the paper: halves of the squares, one mean over all pairs.
    """
    x, labels = batch
    ours, other = losses.build("contrastive", dim=6, classes=4, m=1.2), theirs.ContrastiveLoss(neg_margin=1.2)
    same = (labels[:, None] == labels).triu(1)
    different = (labels[:, None] != labels).triu(1)

    def squared(x):
        matrix = other.distance(x)
        parts = [other.get_per_pair_loss(matrix[same], "pos"), other.get_per_pair_loss(matrix[different], "neg")]
        return torch.cat(parts).square().mean() / 2

    both(batch, lambda x: ours(x, labels).loss, squared)

    def unsquared(x):  # our terms, taken back to what they are made of
        matrix = distances.LpDistance()(x)
        beyond = torch.relu(1.2 - matrix[different])
        return matrix[same].mean() + beyond.sum() / (beyond > 0).sum()

    both(batch, unsquared, lambda x: other(x, labels))
    assert abs(other(x, labels) - ours(x, labels).loss) > 0.3


def test_npair_is_normalized_there_unless_told_otherwise(batch):
    """Theirs: a dot product of normalized embeddings, no penalty. Ours, as the paper: raw embeddings, l2 .002."""
    x, labels = batch
    ours = losses.build("npair", dim=6, classes=4, l2=0.0).eval()
    pairs = one_pair_each(torch.zeros(12, 12), labels, ours.generator("mining"))
    nothing = pairs.first[:0]
    chosen = (pairs.first, pairs.second, nothing, nothing)
    raw = theirs.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False))
    both(batch, lambda x: ours(x, labels).loss, lambda x: raw(x, labels, chosen))
    default = theirs.NPairsLoss()
    torch.testing.assert_close(default(5 * x, labels, chosen), default(x, labels, chosen))
    assert abs(default(x, labels, chosen) - ours(x, labels).loss) > 0.1


def test_triplet_takes_distances_unsquared_there(batch):
    """Theirs: Euclidean distances and margin .05 by default; ours, as FaceNet: squared distances and .2.

    Theirs divides by the triplets above 0 unless told otherwise: our ``reduction`` "active"; "mean" is its MeanReducer.
    """
    x, labels = batch
    squared = distances.LpDistance(power=2)
    for reduction, reducer in (("active", None), ("mean", reducers.MeanReducer())):
        ours = losses.build("triplet", dim=6, classes=4, mining="all", reduction=reduction)
        other = theirs.TripletMarginLoss(margin=0.2, distance=squared, reducer=reducer)
        both(batch, lambda x, ours=ours: ours(x, labels).loss, lambda x, other=other: other(x, labels))
        default = theirs.TripletMarginLoss(reducer=reducer)
        assert abs(default(x, labels) - ours(x, labels).loss) > 0.05


@pytest.mark.parametrize("mining", ["hard", "easy"])
def test_hard_and_easy_triplets_are_those_of_its_miners(batch, mining):
    """Our "easy": its easy positives, hard negatives. Its semi-hard miner keeps all triplets of the band, ours one."""
    labels = batch[1]
    kind = miners.BatchEasyHardMiner.HARD if mining == "hard" else miners.BatchEasyHardMiner.EASY
    miner = miners.BatchEasyHardMiner(pos_strategy=kind, neg_strategy=miners.BatchEasyHardMiner.HARD)
    ours = losses.build("triplet", dim=6, classes=4, mining=mining)
    other = theirs.TripletMarginLoss(margin=0.2, distance=distances.LpDistance(power=2))
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels, miner(x.detach(), labels)))


@pytest.mark.parametrize("beta_mode", ["fixed", "learned", "per class"])
def test_margin_is_the_same_on_the_same_triplets(batch, beta_mode):
    """Theirs takes all triplets unless given a miner; ours draws one negative a pair, by distance.

    Both divide by the active terms. With nu theirs divides a per-class penalty by them, too; ours does not.
    """
    x, labels = batch
    ours = losses.build("margin", dim=6, classes=4, beta_mode=beta_mode, beta=1.125).double().eval()
    drawn = mine(measure(x), labels, ours.generator("mining"), dim=6)
    half = len(drawn.first) // 2
    triplets = (drawn.first[:half], drawn.second[:half], drawn.second[half:])
    classes = 4 if beta_mode == "per class" else None
    other = theirs.MarginLoss(margin=0.2, beta=1.125, num_classes=classes, learn_beta=beta_mode != "fixed").double()
    learned = beta_mode != "fixed"
    both(
        batch,
        lambda x: ours(x, labels).loss,
        lambda x: other(x, labels, triplets),
        [ours.term.beta] if learned else [],
        [other.beta] if learned else [],
    )
    assert abs(other(x, labels) - ours(x, labels).loss) > 1e-3


def test_center_invariance_is_the_same_over_all_identities_once(batch):
    """Theirs averages over the class vectors, ours over the batch; a batch of each identity once makes them equal."""
    ours = losses.build("center_invariant", dim=6, classes=4, gamma=1.0).double().eval()
    centers = ours.terms["centers"].pull.centers
    centers.copy_(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    value = ours(batch[0][:4], torch.arange(4)).statistics["centers.invariance"]
    wanted = regularizers.CenterInvariantRegularizer()(centers)
    assert value > 0.1
    torch.testing.assert_close(value, wanted)
