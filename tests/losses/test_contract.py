"""The contract that all losses share: registry, description, hyperparameters, keys, sums."""

import subprocess
import sys

import pytest
import torch

from faceloss import losses
from faceloss.errors import BadInput
from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.mining import Pairs
from faceloss.losses.pairwise import distances
from faceloss.losses.sums import SumLoss, Term
from faceloss.losses.tuples import TupleHead, total


def test_names_and_descriptions_need_no_torch():
    code = """
import sys
from faceloss import losses
assert {"softmax", "arcface", "triplet"} <= set(losses.names())
assert not {"core", "heads", "mining", "operations", "pairwise", "sums", "tuples"} & set(losses.names())
for name in losses.names():
    losses.describe(name)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_description_says_what_the_file_says():
    about = losses.describe("arcface")
    assert about.title == "ArcFace: an angle is added to the target's angle."
    assert about.formula.startswith("loss = mean of -log(")
    assert "Deng" in about.paper
    assert "2019" in about.paper
    assert "Deviations" not in about.paper + about.summary
    assert about.batches == "shuffled"
    assert "cos = +-1" in about.deviations
    assert about.hyperparameters["m"][:2] == ("float", 0.5)
    assert about.hyperparameters["beyond_pi"] == ("str", "subtract", ("subtract", "continuous", "none"))
    assert losses.describe("triplet").batches == "identity-balanced"


def test_an_unknown_loss_is_bad_input_with_the_nearest_name():
    with pytest.raises(BadInput, match="did you mean 'arcface'"):
        losses.build("arcfase", dim=4, classes=3)
    with pytest.raises(BadInput, match=r"Known: .*softmax"):
        losses.describe("core")


def test_a_misspelt_hyperparameter_is_named_with_the_nearest():
    with pytest.raises(TypeError, match=r"hyperparameter of triplet named 'alpa'; did you mean 'alpha'\? Known: alpha"):
        losses.build("triplet", dim=4, classes=3, alpa=0.1)
    with pytest.raises(TypeError, match="softmax has no hyperparameters; given 's'"):
        losses.build("softmax", dim=4, classes=3, s=64.0)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"s": 0}, "s must be a finite number above 0; given 0"),
        ({"s": "64"}, "s must be of type float or auto, for example 64.0; given '64'"),
        ({"s": True}, "s must be of type float"),
        ({"m": float("inf")}, "m must be a finite number; given inf"),
        ({"gradient": "exakt"}, "did you mean 'exact'"),
    ],
)
def test_a_wrong_value_is_a_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        losses.build("arcface", dim=4, classes=3, **wrong)


def test_a_whole_number_will_do_for_a_float():
    assert float(losses.build("cosface", dim=4, classes=3, s=30).hyperparameters()["s"]) == 30.0


def test_hyperparameters_keep_their_exact_value():
    assert losses.build("cosface", dim=4, classes=3).hyperparameters()["m"].item() == 0.35


def test_losses_of_one_seed_start_from_the_same_class_vectors():
    weights = [losses.build(name, dim=8, classes=5, seed=3).weight for name in ("softmax", "cosface", "normface")]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    many = losses.build("softmax", dim=64, classes=500).weight.norm(dim=1)
    assert 0.95 < many.mean().item() < 1.05


class Drawing(Loss):
    """A loss that is nothing but its random number."""

    def __init__(self, purpose="draw"):
        super().__init__(2, 2, batches="shuffled", hyperparameters={})
        self.purpose = purpose

    def compute(self, embeddings, labels):
        return LossOutput(torch.rand((), generator=self.generator(self.purpose)) + 0 * embeddings.sum(), {})


def draw(loss):
    return loss(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)).loss.item()


def test_random_numbers_depend_on_seed_step_and_purpose_only():
    loss, seen = Drawing(), set()
    for seed in range(3):
        for step in range(3):
            loss.key(seed, step)
            seen.add(draw(loss))
    assert len(seen) == 9
    other = Drawing("another purpose")
    other.key(0, 0)
    assert draw(other) not in seen


def test_unkeyed_training_passes_take_the_next_step_and_evaluation_does_not():
    loss = Drawing()
    loss.key(4, 10)
    first, second = draw(loss), draw(loss)
    assert first != second
    loss.key(4, 11)
    assert draw(loss) == second
    loss.eval()
    assert draw(loss) == draw(loss)


def test_a_key_reaches_the_terms_of_a_sum():
    terms = {"one": Term(Drawing("one")), "two": Term(Drawing("two"), weight="w")}
    loss = SumLoss(2, 2, terms=terms, hyperparameters={"w": Number(10.0)})
    loss.key(1, 5)
    value = draw(loss)
    expected = 0.0
    for purpose, weight in (("one", 1.0), ("two", 10.0)):
        alone = Drawing(purpose)
        alone.key(1, 5)
        expected += weight * draw(alone)
    assert value == pytest.approx(expected)


def test_a_sum_adds_weighs_and_keeps_statistics(batch):
    embeddings, labels = batch
    arc = losses.build("arcface", dim=6, classes=4)
    triplet = losses.build("triplet", dim=6, classes=4)
    terms = {"arcface": Term(arc), "triplet": Term(triplet, weight="lam")}
    loss = SumLoss(6, 4, terms=terms, hyperparameters={"lam": Number(0.25, low=0)}).double()
    assert loss.batches == "identity-balanced"
    assert set(loss.hyperparameters()) == {"lam", "m", "s", "alpha"}
    result, one, two = (part(embeddings, labels) for part in (loss, arc, triplet))
    assert two.loss.item() > 0
    torch.testing.assert_close(result.loss, one.loss + 0.25 * two.loss)
    assert result.statistics["accuracy"] == one.statistics["accuracy"]
    assert result.statistics["triplet"] == two.loss.detach()
    assert result.statistics["triplet.active"] == two.statistics["active"]


def test_a_sum_refuses_two_hyperparameters_of_one_name():
    terms = {name: Term(losses.build(name, dim=6, classes=4)) for name in ("arcface", "cosface")}
    with pytest.raises(ValueError, match="hyperparameter named m, s"):
        SumLoss(6, 4, terms=terms, hyperparameters={})


def test_optimizer_options_of_a_term_carry_its_path():
    terms = {"normface": Term(losses.build("normface", dim=6, classes=4))}
    loss = SumLoss(6, 4, terms=terms, hyperparameters={})
    assert loss.optimizer_options() == {"terms.normface.log_scale": {"weight_decay": 0.0}}
    assert "terms.normface.log_scale" in dict(loss.named_parameters())


def test_a_margin_on_plain_logits_scales_with_both_norms(batch):
    """rho = ||x||, omega = ||w||: z_y = ||x|| ||w_y|| psi(c_y) + b_y, as the losses of 2016 have it."""
    embeddings, labels = batch
    head = ClassHead(
        6,
        4,
        scale="norm",
        unit_classes=False,
        bias=True,
        psi=lambda cos, m: cos - m,
        hyperparameters={"m": Number(0.2)},
    ).double()
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = [
            x.norm() * w.norm() * ((w @ x) / (w.norm() * x.norm()) - 0.2 * (j == y)) for j, w in enumerate(head.weight)
        ]
        total = total - torch.stack(scores).log_softmax(0)[y]
    torch.testing.assert_close(head(embeddings, labels).loss, total / len(labels))


def test_the_statistics_of_a_head_do_not_depend_on_its_margin(batch):
    embeddings, labels = batch
    plain = losses.build("cosface", dim=6, classes=4, m=0.0, s=20.0)(embeddings, labels)
    margin = losses.build("arcface", dim=6, classes=4, m=0.5, s=20.0)(embeddings, labels)
    assert margin.loss > plain.loss + 1
    for name in ("accuracy", "target_angle", "cross_entropy", "scale", "norm"):
        assert margin.statistics[name].item() == pytest.approx(plain.statistics[name].item(), rel=1e-6)
    assert plain.statistics["nats"].item() == 0 < margin.statistics["nats"].item()


def test_a_tie_is_not_a_right_answer():
    loss = losses.build("cosface", dim=6, classes=4)
    assert loss(torch.zeros(4, 6), torch.arange(4)).statistics["accuracy"].item() == 0


def test_a_tuple_loss_on_pairs_hands_out_distance_sameness_and_label(batch):
    embeddings, labels = batch
    given = {}

    def miner(distances, labels, generator):
        first, second = torch.triu_indices(len(labels), len(labels), 1)
        return Pairs(first, second, labels[first] == labels[second])

    def term(distance, same, label, weight):
        given.update(distance=distance.detach(), same=same, label=label)
        return weight * torch.where(same, distance, (2 - distance).clamp_min(0))

    numbers = {"weight": Number(3.0)}
    head = TupleHead(6, 4, measure=distances, miner=miner, term=term, reduction="mean", hyperparameters=numbers)
    head(embeddings, labels)
    first, second = torch.triu_indices(12, 12, 1)
    torch.testing.assert_close(given["distance"], torch.pdist(embeddings))
    assert torch.equal(given["same"], labels[first] == labels[second])
    assert torch.equal(given["label"], labels[first])


@pytest.mark.parametrize(("how", "expected"), [("mean", 0.75), ("active", 1.5)])
def test_a_reduction_says_by_what_it_divides(how, expected):
    assert total(torch.tensor([0.0, 1.0, 2.0, 0.0])).reduce(how).item() == expected
    empty = torch.zeros(0, requires_grad=True)
    total(empty).reduce(how).backward()
    assert empty.grad is not None


def test_a_mean_over_nothing_is_not_a_number(batch):
    """A batch without positives has no angle between positives; 0 degrees would look like success."""
    statistics = losses.build("triplet", dim=6, classes=4)(batch[0][:3], torch.arange(3)).statistics
    assert statistics["target_angle"].isnan()
    assert statistics["positive_distance"].isnan()
    assert not statistics["negative_distance"].isnan()


def test_the_nearest_other_face_decides_the_accuracy_of_a_tuple_loss():
    angles = torch.tensor([0.0, 10.0, 50.0, 55.0, 90.0]).deg2rad()
    x = torch.stack([angles.cos(), angles.sin()], 1)
    statistics = losses.build("triplet", dim=2, classes=3)(x, torch.tensor([0, 0, 1, 2, 2])).statistics
    assert statistics["accuracy"].item() == pytest.approx(3 / 5)  # 55 degrees is nearest to 50, 90 to 55


@pytest.mark.faults
@pytest.mark.parametrize("name", ["cosface", "partial_fc", "softmax", "triplet"])
@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        (-1, r"^Labels must lie in 0 \.\. 4; given -1 \.\. 3\.$"),
        (5, r"^Labels must lie in 0 \.\. 4; given 0 \.\. 5\.$"),
    ],
)
def test_a_label_of_no_class_is_one_sentence(name, label, sentence):
    with pytest.raises(ValueError, match=sentence):
        losses.build(name, dim=4, classes=5)(torch.randn(4, 4), torch.tensor([0, 3, label, 1]))


@pytest.mark.faults
@pytest.mark.parametrize("name", ["cosface", "partial_fc", "softmax", "triplet"])
@pytest.mark.parametrize(("value", "word"), [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf")])
def test_an_embedding_that_is_not_finite_is_one_sentence_with_its_row(name, value, word):
    embeddings = torch.randn(4, 4)
    embeddings[2, 1] = embeddings[3, 0] = value
    with pytest.raises(ValueError, match=rf"^Embeddings must be finite numbers; row 2 has {word}\.$"):
        losses.build(name, dim=4, classes=5)(embeddings, torch.tensor([0, 3, 3, 1]))
