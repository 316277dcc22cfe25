"""What theory says about the losses, each statement a test: here, or where INDEX says.

Statements about randomness of policies (T19) are in tests/search/test_guided.py.
"""

import ast
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloss import losses
from faceloss.losses import theory

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# Statement -> the tests that hold it: "file.function" beside this file, or a check of the conformance suite by its
# name alone, which is run on every loss.
INDEX = {
    "T1 a modulated probability is a shifted logit is CosFace": [
        "test_theory.test_a_is_a_margin_in_value_and_gradient",
        "test_cosface.test_equals_the_modulated_probability",
        "test_random_softmax.test_equals_cosface",
    ],
    "T2 h is in (0, 1]": ["test_theory.test_the_modulating_factor_only_lowers"],
    "T3 NormFace's bound on the mean loss": [
        "test_theory.test_no_placement_gets_below_the_least_mean_loss",
        "test_theory.test_the_least_mean_loss_is_reached_by_the_simplex_and_needs_balance",
        "test_normface.test_never_below_its_bound",
    ],
    "T4 a larger scale never lowers the largest probability": ["test_theory.test_a_larger_scale_sharpens"],
    "T5 CosFace's bound on the scale": [
        "test_theory.test_the_least_scale_reproduces_the_probability_and_the_inverted_factor_overshoots",
        "test_theory.test_no_placement_beats_the_least_scale",
    ],
    "T6 CosFace's bound on the margin": [
        "test_theory.test_no_vectors_keep_a_larger_margin",
        "test_theory.test_the_largest_margin_is_attained",
        "test_theory.test_no_vectors_get_below_welch",
    ],
    "T7 CoCo's bound on alpha": [
        "test_theory.test_both_bounds_on_alpha_hold_and_the_balanced_one_is_sharp",
        "test_coco.test_the_bound_on_alpha",
    ],
    "T8 alpha of L2-Softmax": ["test_l2_softmax.test_the_probability_at_the_lower_bound_of_alpha"],
    "T9 the angle between boundaries of L-Softmax": [
        "test_theory.test_angle_margins_by_hand",
        "test_lsoftmax.test_the_angle_between_the_decision_boundaries",
    ],
    "T10 from which m A-Softmax separates": [
        "test_theory.test_the_least_angle_factor_is_where_width_and_gap_meet",
        "test_asoftmax.test_from_which_factor_on_the_classes_are_tighter_than_their_gaps",
    ],
    "T11 margins fall and stay below cos": [
        "test_target_margins.test_a_margin_falls_and_stays_below_cos",
        "test_target_margins.test_raw_arcface_and_easy_margin_fail_it",
        "test_target_margins.test_every_margin_is_in_the_table",
    ],
    "T12 V-Softmax stays above ln 2": ["test_vsoftmax.test_never_below_ln_2"],
    "T13 the hard-margin loss is the margin loss damped": ["test_hard_margin.test_it_is_the_margin_loss_damped"],
    "T14 the step of a center": ["test_center.test_n_equal_samples_move_a_center_by_alpha_n_over_1_plus_n"],
    "T15 TPE, N-pair and Circle are cross entropies": [
        "test_tpe.test_it_is_softplus_of_the_difference",
        "test_npair.test_it_is_cross_entropy_with_diagonal_targets",
        "test_theory.test_circle_is_the_cross_entropy_of_its_logits",
    ],
    "T16 gradients are exact, and finite at the edges": ["exact_gradient", "finite_at_edges"],
    "T17 half precision gives the float32 loss": ["low_precision"],
    "T18 duplicates in a batch change no gradient": ["duplicates"],
    "T19 the reward-guided mean finds the best value, and as published never moves": [
        "test_guided.test_the_mean_reaches_the_best_value",
        "test_guided.test_as_published_the_mean_never_moves",
    ],
    "T20 the distance-weighted sampler is flat in distance": [
        "test_mining.test_distance_weighted_draws_all_distances_equally_often",
        "test_mining.test_distance_weighted_weights_are_those_of_the_paper",
    ],
}


def functions(path):
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("place", sorted({place for places in INDEX.values() for place in places}))
def test_what_the_index_names_exists(place):
    file, dot, function = place.rpartition(".")
    paths = (
        [*(ROOT / "tests").rglob(f"{file}.py")]
        if dot
        else [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src").rglob("*.py")]
    )
    assert any(function in functions(path) for path in paths), place


def test_the_index_is_complete():
    assert [key.split()[0] for key in INDEX] == [f"T{i}" for i in range(1, 21)]
    named = {place for places in INDEX.values() for place in places}
    assert sum(place.startswith("test_theory.") for place in named) >= 14


def unit(*shape, seed):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=-1)


def simplex(classes):
    return torch.nn.functional.normalize(torch.eye(classes, dtype=torch.float64) - 1 / classes)


def mean_loss(vectors, samples, s, m=0.0):
    """The mean loss of one sample per class, by torch's own cross entropy."""
    logits = s * (samples @ vectors.T - m * torch.eye(len(vectors), dtype=torch.float64))
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(vectors))).item()


def largest_cosine(vectors):
    return (vectors @ vectors.T - 3 * torch.eye(len(vectors), dtype=torch.float64)).max().item()


# T1, T2


@pytest.mark.parametrize("a", [-0.5, -10.0, -73_129.0])
def test_a_is_a_margin_in_value_and_gradient(a):
    """CE with the target logit lowered by ln(1-a) = -ln(p h) = CosFace with m = ln(1-a)/s, to 1e-10."""
    s, labels = 16.0, torch.arange(9) % 5
    logits = s * unit(9, 5, seed=1)
    results = []
    for form in ("shift", "modulated", "margin"):
        z = logits.clone().requires_grad_()
        if form == "modulated":
            p = z.softmax(1)[torch.arange(9), labels]
            value = -(p / (a * p + 1 - a)).log().mean()
        else:
            taken = math.log1p(-a) if form == "shift" else s * theory.margin_from_a(a, s)
            value = torch.nn.functional.cross_entropy(
                z - taken * torch.nn.functional.one_hot(labels, 5).double(), labels
            )
        results.append((value, torch.autograd.grad(value, z)[0]))
    assert results[0][1].abs().max() > 1e-3
    for value, gradient in results[1:]:
        torch.testing.assert_close(value, results[0][0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-10, atol=1e-10)
    assert theory.a_from_margin(theory.margin_from_a(a, s), s) == pytest.approx(a, rel=1e-12)


@given(st.floats(-1e6, 0), st.floats(0, 1))
def test_the_modulating_factor_only_lowers(a, p):
    h = theory.modulating_factor(a, p)
    assert 0 < h <= 1
    assert h * p <= p
    assert h == pytest.approx(1 / (a * p + 1 - a), rel=1e-6)
    assert theory.modulating_factor(0.0, p) == theory.modulating_factor(a, 1.0) == 1
    if a < -1e-6 and p < 0.999:
        assert h < 1


# T3, T4


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_placement_gets_below_the_least_mean_loss(classes):
    gaps = []
    for seed in range(200):
        s = [0.5, 2.0, 8.0][seed % 3]
        vectors = unit(classes, 4, seed=seed)
        samples = torch.nn.functional.normalize(vectors + (seed % 5) * 0.3 * unit(classes, 4, seed=seed + 1000))
        gaps.append(mean_loss(vectors, samples, s) - theory.least_mean_loss(s, classes))
    assert 0 < min(gaps) < 0.2


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_least_mean_loss_is_reached_by_the_simplex_and_needs_balance(classes):
    corners = simplex(classes)
    assert mean_loss(corners, corners, 2.0) == pytest.approx(theory.least_mean_loss(2.0, classes), rel=1e-12)
    bent = torch.nn.functional.normalize(corners + 0.1 * unit(classes, classes, seed=0))
    assert mean_loss(bent, bent, 2.0) > theory.least_mean_loss(2.0, classes) + 1e-7
    if classes == 3:  # one class alone: the others opposite to it
        opposite = torch.tensor([1.0, -1, -1], dtype=torch.float64)
        alone = -(2.0 * opposite).log_softmax(0)[0].item()
        assert alone == pytest.approx(0.036, abs=5e-4)
        assert theory.least_mean_loss(2.0, 3) == pytest.approx(0.095, abs=5e-4)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=8), st.floats(1, 10))
def test_a_larger_scale_sharpens(logits, t):
    z = torch.tensor(logits, dtype=torch.float64)
    assert (t * z).softmax(0).max() >= z.softmax(0).max() * (1 - 1e-12)


# T5


def test_the_least_scale_reproduces_the_probability_and_the_inverted_factor_overshoots():
    """K = 10, P = 0.99: 6.113 gives exactly 0.99 at the simplex; K/(K-1), as reviews print it, gives 7.547."""
    s = theory.least_scale(0.99, 10)
    assert s == pytest.approx(6.113, abs=5e-4)
    corners = simplex(10)
    assert math.exp(-mean_loss(corners, corners, s)) == pytest.approx(0.99, rel=1e-12)
    printed = 10 / 9 * math.log(0.99 * 9 / 0.01)
    assert printed == pytest.approx(7.547, abs=5e-4)
    assert math.exp(-mean_loss(corners, corners, printed)) > 0.997
    assert theory.least_scale(0.9, 10_575) == pytest.approx(11.46, abs=5e-3)
    assert theory.least_scale(0.9, 85_742) == pytest.approx(13.56, abs=5e-3)


@pytest.mark.parametrize("m", [0.0, 0.35])
@pytest.mark.parametrize(("classes", "dim"), [(4, 8), (12, 3)])
def test_no_placement_beats_the_least_scale(classes, dim, m):
    """In every dimension, with the margin; the best of many placements comes near it where there is a simplex."""
    s = theory.least_scale(0.9, classes, target=1 - m)
    assert theory.most_probability(s, classes, target=1 - m) == pytest.approx(0.9, rel=1e-12)
    reached = []
    for seed in range(150):
        vectors = unit(classes, dim, seed=seed)
        samples = torch.nn.functional.normalize(vectors + 0.2 * (seed % 3) * unit(classes, dim, seed=seed + 500))
        reached.append(math.exp(-mean_loss(vectors, samples, s, m)))
    assert max(reached) < 0.9
    if classes <= dim + 1:
        corners = simplex(classes)
        assert math.exp(-mean_loss(corners, corners, s, m)) == pytest.approx(0.9, rel=1e-12)


def test_a_probability_that_chance_gives_needs_no_scale():
    assert theory.least_scale(0.05, 10) == 0
    assert theory.least_scale(0.1, 10) == pytest.approx(0, abs=1e-12)
    assert theory.least_scale(0.11, 10) > 0


@pytest.mark.parametrize("target", [1.0, 0.65])
def test_the_spread_scale_is_enough_for_random_vectors_and_more_than_the_least(target):
    classes, dim, p = 2000, 256, 0.99
    s = theory.spread_scale(p, classes, dim, target=target)
    assert s > theory.least_scale(p, classes, target=target)
    vectors = unit(classes, dim, seed=3)
    cosines = s * vectors @ vectors.T
    others = cosines.fill_diagonal_(-torch.inf).logsumexp(1)
    odds = (s * target - others).mean().item()
    wanted = math.log(p / (1 - p))
    assert wanted <= odds < wanted + 0.2
    assert theory.spread_scale(p, classes, 20, target=target) == math.inf


# T6


@pytest.mark.parametrize(("classes", "dim"), [(2, 1), (3, 1), (3, 2), (5, 2), (4, 3), (5, 3), (6, 3), (20, 4)])
def test_no_vectors_keep_a_larger_margin(classes, dim):
    bound = theory.largest_cosine_margin(classes, dim)
    kept = [1 - largest_cosine(unit(classes, dim, seed=seed)) for seed in range(300)]
    assert max(kept) <= bound + 1e-12


PLANE = torch.arange(5, dtype=torch.float64) * 2 * math.pi / 5


@pytest.mark.parametrize(
    ("dim", "vectors"),
    [
        (3, simplex(4)),
        (9, simplex(10)),
        (2, torch.stack([PLANE.cos(), PLANE.sin()], 1)),
        (3, torch.cat([torch.eye(3), -torch.eye(3)]).double()),
    ],
    ids=["simplex of 4", "simplex of 10", "pentagon", "octahedron"],
)
def test_the_largest_margin_is_attained(dim, vectors):
    assert torch.linalg.matrix_rank(vectors) <= dim
    bound = theory.largest_cosine_margin(len(vectors), dim)
    assert 1 - largest_cosine(vectors) == pytest.approx(bound, abs=1e-7)


@pytest.mark.parametrize(("classes", "dim"), [(8, 4), (30, 5), (3, 2)])
def test_no_vectors_get_below_welch(classes, dim):
    bound = theory.welch_bound(classes, dim)
    for seed in range(100):
        cosines = unit(classes, dim, seed=seed)
        cosines = (cosines @ cosines.T).fill_diagonal_(0)
        assert cosines.abs().max() >= bound
    assert theory.welch_bound(3, 2) == pytest.approx(0.5), "attained by three vectors in the plane"
    assert theory.welch_bound(10_575, 512) == pytest.approx(0.043, abs=5e-4)
    assert theory.welch_bound(5, 5) == 0


# T7


@pytest.mark.parametrize("eps", [0.01, 0.5])
def test_both_bounds_on_alpha_hold_and_the_balanced_one_is_sharp(eps):
    classes, corners = 5, simplex(5)
    sharp = theory.least_coco_alpha(eps, classes, balanced=True)
    half = theory.least_coco_alpha(eps, classes)
    assert half < sharp < 2 * half
    values = []
    for s in (half, sharp, 1.01 * sharp):
        loss = losses.build("coco", dim=5, classes=classes, s=s).double()
        values.append(loss(corners, torch.arange(5)).loss.item())
    assert values[0] > eps > values[2]
    assert values[1] == pytest.approx(eps, rel=1e-9)
    assert theory.least_coco_alpha(math.log(classes) + 0.01, classes) == 0


# T9, T10


def test_angle_margins_by_hand():
    assert theory.boundary_gap(180.0, 2.0) == pytest.approx(60.0)
    assert theory.boundary_gap(90.0, 1.0) == 0
    assert theory.class_width(40.0, 3.0) == pytest.approx(40 / 2 + 40 / 4)
    assert theory.least_alpha(0.9, 10_575) == pytest.approx(11.46, abs=5e-3)


def test_the_least_angle_factor_is_where_width_and_gap_meet():
    least = theory.least_angle_factor(2)
    assert least == pytest.approx(3.732, abs=5e-4)
    assert theory.class_width(1.0, least) == pytest.approx(theory.boundary_gap(1.0, least))
    assert theory.boundary_gap(1.0, least) == pytest.approx(0.5774, abs=5e-5)
    for m, separates in ((least - 0.01, False), (least + 0.01, True)):
        assert (theory.class_width(1.0, m) <= theory.boundary_gap(1.0, m)) == separates
    several = theory.least_angle_factor(3)
    for m, separates in ((several - 0.01, False), (several + 0.01, True)):
        assert (2 / (m + 1) <= theory.boundary_gap(1.0, m)) == separates


# T15


def test_circle_is_the_cross_entropy_of_its_logits(batch):
    embeddings, labels = batch
    loss = losses.build("circle", dim=6, classes=4, s=8.0, gradient="exact").double()
    cos = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(loss.weight).T
    own = torch.nn.functional.one_hot(labels, 4).bool()
    yes, no = (1.25 - cos).clamp_min(0) * (cos - 0.75), (cos + 0.25).clamp_min(0) * (cos - 0.25)
    expected = torch.nn.functional.cross_entropy(8.0 * torch.where(own, yes, no), labels)
    assert expected > 0.1
    torch.testing.assert_close(loss(embeddings, labels).loss, expected)


# Bad input


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: theory.least_scale(1.0, 10), "probability must lie between 0 and 1"),
        (lambda: theory.least_scale(0.9, 1), "classes must be a finite number of at least 2; given 1"),
        (lambda: theory.least_scale(0.9, 10, target=-0.2), "target must be above -1/"),
        (lambda: theory.least_scale(math.nan, 10), "probability"),
        (lambda: theory.most_probability(0.0, 10), "scale must be a finite number above 0"),
        (lambda: theory.spread_scale(0.9, 10, 0), "dim must be"),
        (lambda: theory.spread_scale(0.9, 10, 8, target=1.2), "target must lie in"),
        (lambda: theory.least_alpha(0.9, 2), "at least 3"),
        (lambda: theory.least_alpha(0.1, 3), "not above 0"),
        (lambda: theory.least_mean_loss(-1.0, 10), "scale must be"),
        (lambda: theory.least_coco_alpha(0.0, 10), "loss must be"),
        (lambda: theory.largest_cosine_margin(1, 3), "classes must be"),
        (lambda: theory.welch_bound(3, 0), "dim must be"),
        (lambda: theory.boundary_gap(181.0, 2.0), "between must be an angle"),
        (lambda: theory.boundary_gap(90.0, 0.5), "m must be a finite number of at least 1"),
        (lambda: theory.class_width(90.0, 1.0), "m must be a finite number above 1"),
        (lambda: theory.modulating_factor(0.1, 0.5), "a must be a finite number of at most 0"),
        (lambda: theory.modulating_factor(-1.0, 1.1), "p must lie in"),
        (lambda: theory.margin_from_a(-1.0, 0.0), "scale must be"),
        (lambda: theory.a_from_margin(0.35, 1e6), "margin must lie between"),
    ],
)
def test_what_is_out_of_range_is_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@settings(max_examples=50)
@given(st.floats(0.01, 0.9999), st.integers(2, 10**6), st.floats(0.2, 1))
def test_scale_and_probability_are_inverse(p, classes, target):
    s = theory.least_scale(p, classes, target=target)
    if s > 1e-6:
        assert theory.most_probability(s, classes, target=target) == pytest.approx(p, rel=1e-9)
    else:
        assert p <= 1 / classes + 1e-6
