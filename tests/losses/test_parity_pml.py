"""Side by side with pytorch-metric-learning 2.9: where it computes the same, to the digit, and where and why not.

Each test turns the knobs that make the two agree, in value and in all gradients, and then shows that its defaults do
not. The formulas of the other tests are ours; these numbers are not.
"""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses import triplet
from faceloss.losses.margin import measure, mine
from faceloss.losses.mining import distance_weighted, one_pair_each, random, semi_hard

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


@pytest.mark.parametrize(("m", "s"), [(0.5, 64.0), (2.0, 8.0)])
def test_subcenter_arcface_has_its_margin_in_degrees_too(batch, m, s):
    """Same maximum over the centers, same rule beyond pi; theirs 28.6 degrees, ours radians; 3 centers in both."""
    x, labels = batch
    ours = losses.build("subcenter_arcface", dim=6, classes=4, m=m, s=s, gradient="exact").double()
    other = theirs.SubCenterArcFaceLoss(num_classes=4, embedding_size=6, margin=math.degrees(m), scale=s)
    with torch.no_grad():
        other.W.data = ours.weight.detach().T.clone()
    cos = other.get_cosine(x)[torch.arange(12), labels]
    assert m < 2.0 or 0 < (cos < -math.cos(m)).sum() < 12  # both branches are there
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels), [ours.weight], [other.W])
    wrong = theirs.SubCenterArcFaceLoss(num_classes=4, embedding_size=6, margin=m, scale=s)
    wrong.W.data = other.W.data
    assert ours(x, labels).loss > wrong(x, labels) + 1


def test_normalized_softmax_is_normface_with_a_fixed_scale(batch):
    """Theirs: temperature .05, so s = 20, and fixed; ours learns s from 10 on. Fixed, it is CosFace with m = 0."""
    labels = batch[1]
    ours, other = class_losses("cosface", theirs.NormalizedSoftmaxLoss(4, 6, temperature=0.05), m=0.0, s=20.0)
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels), [ours.weight], [other.W])
    learnt, other = class_losses("normface", theirs.NormalizedSoftmaxLoss(4, 6, temperature=0.1), s=10.0)
    both(batch, lambda x: learnt(x, labels).loss, lambda x: other(x, labels), [learnt.weight], [other.W], 1e-6)
    assert learnt.log_scale.requires_grad
    assert [name for name, _ in other.named_parameters()] == ["W"]


def test_proxy_nca_is_normface_with_half_the_scale(batch):
    """Theirs: softmax of minus squared distances of unit vectors to its proxies, 2 - 2 c: the logits are 2 scale c."""
    labels = batch[1]
    ours = losses.build("cosface", dim=6, classes=4, m=0.0, s=16.0).double()
    other = theirs.ProxyNCALoss(4, 6, softmax_scale=8)
    other.proxies.data = ours.weight.detach().clone()
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels), [ours.weight], [other.proxies])
    plain = theirs.ProxyNCALoss(4, 6)  # softmax_scale 1: s = 2
    plain.proxies.data = other.proxies.data
    assert abs(plain(batch[0], labels) - ours(batch[0], labels).loss) > 0.1


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # its constructor, with NumPy 2
@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("name", "kind"), [("lsoftmax", theirs.LargeMarginSoftmaxLoss), ("asoftmax", theirs.SphereFaceLoss)]
)
def test_multiplied_angles_are_whole_and_without_lambda_there(batch, name, kind, m):
    """Theirs: m a whole number (1.9 becomes 1), by the formula for multiple angles, no annealing. Ours: lam = 0.

    Both have the full margin then; our A-Softmax keeps lam = 5 by default, as the released training ends.
    """
    x, labels = batch
    ours, other = class_losses(name, kind(4, 6, margin=m), m=float(m), lam=0.0)
    theta = torch.nn.functional.cosine_similarity(x, ours.weight[labels]).acos()
    assert len((m * theta / math.pi).floor().unique()) == min(m, 3)  # several branches of psi are there
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels), [ours.weight], [other.W])
    assert kind(4, 6, margin=1.9).margin == 1
    if m == 4:
        annealed = losses.build("asoftmax", dim=6, classes=4).double()
        assert abs(annealed(x, labels).loss - other(x, labels)) > 0.1


def test_circle_is_over_pairs_there_and_over_classes_here(batch):
    """Theirs: each row against all others of the batch; ours: against class vectors, as in the paper's face training.

    With our class vectors as its reference set, one of each class, the two are the same. Its m is .4 and gamma 80 by
    default, ours .25 and 256, which the paper has for faces.
    """
    x, labels = batch
    ours = losses.build("circle", dim=6, classes=4, s=16.0, m=0.25).double()
    other = theirs.CircleLoss(m=0.25, gamma=16)
    vectors = ours.weight.detach().clone().requires_grad_()
    cos = torch.nn.functional.normalize(x) @ torch.nn.functional.normalize(vectors).T
    assert 0 < (cos < -0.25).sum() < 48  # wrong classes whose weight is 0, and others
    both(
        batch,
        lambda x: ours(x, labels).loss,
        lambda x: other(x, labels, ref_emb=vectors, ref_labels=torch.arange(4)),
        [ours.weight],
        [vectors],
    )
    assert abs(other(x, labels) - ours(x, labels).loss) > 0.1  # over the pairs of the batch


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
    raw = losses.build("contrastive", dim=6, classes=4, m=3.5, on="raw")  # ours on embeddings as they come
    lengths = distances.LpDistance(normalize_embeddings=False)
    other = theirs.ContrastiveLoss(neg_margin=3.5, distance=lengths)
    both(batch, lambda x: raw(x, labels).loss, squared)


def test_npair_is_normalized_there_unless_told_otherwise(batch):
    """Theirs: a dot product of normalized embeddings, no penalty. Ours, as the paper: raw embeddings, l2 .002."""
    x, labels = batch
    ours = losses.build("npair", dim=6, classes=4, l2=0.0).eval()
    pairs = one_pair_each(torch.zeros(12, 12), labels, ours.generator("mining"))
    nothing = pairs.first[:0]
    chosen = (pairs.first, pairs.second, nothing, nothing)
    raw = theirs.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False))
    both(batch, lambda x: ours(x, labels).loss, lambda x: raw(x, labels, chosen))
    penalized = losses.build("npair", dim=6, classes=4, l2=0.02).eval()  # its penalty, on the rows of the pairs
    penalty = regularizers.LpRegularizer(power=2)
    both(
        batch,
        lambda x: penalized(x, labels).loss,
        lambda x: raw(x, labels, chosen) + 0.02 * penalty(x[torch.cat([pairs.first, pairs.second])]),
    )
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


def test_all_semi_hard_triplets_are_those_of_its_semi_hard_miner(batch):
    """It leaves out those beyond the margin, which cost nothing: only a mean over all of them would differ."""
    labels = batch[1]
    squared = distances.LpDistance(power=2)
    ours = losses.build("triplet", dim=6, classes=4, mining="all_semi_hard", alpha=0.8)
    other = theirs.TripletMarginLoss(margin=0.8, distance=squared)
    miner = miners.TripletMarginMiner(margin=0.8, type_of_triplets="semihard", distance=squared)
    assert len(miner(batch[0], labels)[0]) > 12
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels, miner(x.detach(), labels)))
    every = losses.build("triplet", dim=6, classes=4, mining="all", alpha=0.8)
    assert abs(every(*batch).loss - ours(*batch).loss) > 0.05


@pytest.mark.parametrize("mining", ["semi_hard", "random"])
def test_semi_hard_and_random_triplets_cost_the_same_there(batch, mining):
    """On our triplets the losses agree; which they are differs.

    Its semi-hard miner returns every triplet of the band p < n < p + margin, none for a pair without one. Ours returns
    one of each pair, the closest of that band if there is one.
    """
    x, labels = batch
    ours = losses.build("triplet", dim=6, classes=4, mining=mining).eval()
    matrix = triplet.measure(x)
    miner = semi_hard if mining == "semi_hard" else random
    drawn = miner(matrix, labels, ours.generator("mining"))
    squared = distances.LpDistance(power=2)
    other = theirs.TripletMarginLoss(margin=0.2, distance=squared)
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels, tuple(drawn)))
    if mining == "random":
        return
    band = miners.TripletMarginMiner(margin=0.5, type_of_triplets="semihard", distance=squared)(x, labels)
    closest = {}
    for a, p, n in zip(*(column.tolist() for column in band), strict=True):
        closest[a, p] = min(closest.get((a, p), n), n, key=lambda n, a=a: matrix[a, n])
    assert 0 < len(closest) < len(drawn.anchor)
    found = {(a, p): n for a, p, n in zip(*(column.tolist() for column in drawn), strict=True)}
    assert {pair: found[pair] for pair in closest} == closest
    assert len(band[0]) > len(closest)


def test_batch_hard_is_its_batch_hard_miner(batch):
    """Its BatchHardMiner: for each anchor the farthest positive and the closest negative, as our "hard"."""
    labels = batch[1]
    ours = losses.build("triplet", dim=6, classes=4, mining="hard")
    other = theirs.TripletMarginLoss(margin=0.2, distance=distances.LpDistance(power=2))
    miner = miners.BatchHardMiner()
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x, labels, miner(x.detach(), labels)))


@pytest.mark.parametrize(("name", "given"), [("tse", {"alpha": 0.3}), ("tpe", {})])
def test_the_triplet_embeddings_are_triplet_losses_on_cosines_of_projected_faces(batch, name, given):
    """TSE: its triplet loss on cosines with the margin alpha; TPE: the smooth one without margin. All means.

    Theirs has no projection: ours is applied first. By default it divides by the triplets above 0.
    """
    x, labels = batch
    ours = losses.build(name, dim=6, classes=4, size=4, mining="all", **given).double()
    smooth = {"margin": given.get("alpha", 0.0), "smooth_loss": name == "tpe", "distance": distances.CosineSimilarity()}
    other = theirs.TripletMarginLoss(reducer=reducers.MeanReducer(), **smooth)
    weight = ours.project.weight.detach().clone().requires_grad_()
    both(batch, lambda x: ours(x, labels).loss, lambda x: other(x @ weight.T, labels), [ours.project.weight], [weight])
    active = theirs.TripletMarginLoss(**smooth)(ours.project(x), labels)
    assert (abs(active - ours(x, labels).loss) > 0.01) == (name == "tse")  # the smooth one is never 0


def caught(monkeypatch, x, labels):
    """The rows of weights with which its distance-weighted miner draws."""
    seen = []
    place = miners.distance_weighted_miner.lmu
    draw = place.get_random_triplet_indices
    monkeypatch.setattr(place, "get_random_triplet_indices", lambda *a, **k: seen.append(k["weights"]) or draw(*a, **k))
    triplets = miners.DistanceWeightedMiner()(x, labels)
    return seen[0], triplets


def test_distance_weighted_draws_with_its_probabilities(batch, monkeypatch):
    """Same weights, same floor .5 and cutoff 1.4. Ours keeps each pair once; theirs draws positives at random."""
    x, labels = batch
    wanted, _ = caught(monkeypatch, x, labels)  # [12,12]
    matrix = measure(x)
    counts = torch.zeros(12, 12, dtype=torch.float64)
    for seed in range(1500):
        a, _, n = distance_weighted(matrix, labels, torch.Generator().manual_seed(seed), dim=6)
        counts.index_put_((a, n), torch.ones(len(a), dtype=torch.float64), accumulate=True)
    drawn = counts.sum(1)
    rows = (drawn > 0).nonzero().flatten()
    assert torch.equal(rows, torch.isfinite(wanted).all(1).nonzero().flatten())
    assert (counts[rows] > 0).sum() > 30
    share, wanted, drawn = counts[rows] / drawn[rows, None], wanted[rows], drawn[rows, None]
    assert (share - wanted).abs().max() > 0  # it is a sample
    assert (wanted.max() - wanted[wanted > 0].min()) > 0.3  # and the weights are far from equal
    error = (wanted * (1 - wanted) / drawn).sqrt()
    assert ((share - wanted).abs() <= 5 * error + 1e-12).all()


def test_distance_weighted_loses_anchors_there_in_512_dimensions(monkeypatch):
    """Theirs subtracts the largest log weight of the batch: in float32 the other rows underflow and are dropped.

    One pair of identities is .3 apart, the other 1.39: log weights 355 apart.
    """
    x = torch.zeros(8, 512)
    for row, angle in ((0, 0.0), (1, 2 * math.asin(0.15)), (2, 0.0), (3, 2 * math.asin(0.695))):
        x[row, row // 2 * 2], x[row, row // 2 * 2 + 1] = math.cos(angle), math.sin(angle)
    x[torch.arange(4, 8), torch.arange(4, 8)] = 1.0  # the second faces, far from all others
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    _, (anchor, _, _) = caught(monkeypatch, x, labels)
    assert sorted(set(anchor.tolist())) == [0, 1]
    a, _, n = distance_weighted(measure(x), labels, torch.Generator().manual_seed(0), dim=512)
    assert dict(zip(a.tolist(), n.tolist(), strict=True)) == {0: 1, 1: 0, 2: 3, 3: 2}


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
