"""What a run needs is reckoned before anything is allocated; what cannot fit is refused with the arithmetic."""

from pathlib import Path

import pytest
import torch

from faceloss import losses, memory
from faceloss.compare.engine import compare
from faceloss.compare.memory import not_spread, of_loss, of_network, refuse_what_cannot_fit
from faceloss.compare.study import Competitor, Single, Study
from faceloss.errors import BadInput
from faceloss.losses.shards import holding
from faceloss.train.ranks import Ranks
from faceloss.train.settings import Recipe

RECIPE = Recipe(net_options={"width": 4}, dim=512, size=32, device="cpu", precision="fp32", batch=64)
GIB = 2**30


def have(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(memory, "available", lambda: int(size))


def test_the_sum_of_a_plain_head_by_hand() -> None:
    """10 million classes x 512 numbers of 4 bytes; 64 x 10 million logits are too many to keep, 64 x 512 are not."""
    parts = of_loss(RECIPE, losses.sketch("cosface", dim=512, classes=10**7))
    assert parts["class vectors"] == 4 * 512 * 10**7
    assert parts["their gradient"] == parts["moments of the optimizer"] == 4 * 512 * 10**7
    assert parts["logits"] == 64 * 512 * 4
    few = of_loss(RECIPE, losses.sketch("cosface", dim=512, classes=1000))
    assert few["logits"] == 64 * 1000 * 4
    half = RECIPE.model_copy(update={"head_precision": "bf16"})
    assert of_loss(half, losses.sketch("cosface", dim=512, classes=1000))["logits"] == 64 * 1000 * 2


def test_partial_fc_needs_the_gradient_of_its_share() -> None:
    parts = of_loss(RECIPE, losses.sketch("partial_fc", dim=512, classes=10**6, rate=0.25))
    assert parts["class vectors"] == parts["moments of the optimizer"] == 4 * parts["their gradient"] == 4 * 512 * 10**6
    assert parts["logits"] == 64 * 250_000 * 4


@pytest.mark.parametrize(("optimizer", "momentum", "moments"), [("adamw", 0.9, 2), ("sgd", 0.9, 1), ("sgd", 0.0, 0)])
def test_moments_are_those_of_the_optimizer(optimizer: str, momentum: float, moments: int) -> None:
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "momentum": momentum})
    assert (
        of_loss(recipe, losses.sketch("cosface", dim=512, classes=9))["moments of the optimizer"]
        == moments * 4 * 512 * 9
    )


def test_memories_count() -> None:
    parts = of_loss(RECIPE, losses.sketch("vpl", dim=512, classes=10**6))
    assert parts["memories of the loss"] > 4 * 512 * 10**6


def test_a_network_needs_more_for_more_images() -> None:
    one, two = (of_network(RECIPE.model_copy(update={"batch": batch})) for batch in (64, 128))
    weights = 3 * sum(p.nbytes for p in torch.nn.ModuleList([_net()]).parameters())
    assert two - weights == 2 * (one - weights) > 64 * 4 * 32 * 32


def _net() -> torch.nn.Module:
    from faceloss import nets

    return nets.build(RECIPE.net, dim=RECIPE.dim, input_size=RECIPE.size, **RECIPE.net_options)


def test_what_cannot_fit_is_refused_with_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(data="builtin", losses=("triplet", "cosface(m=0.2)"), recipe=RECIPE)
    have(monkeypatch, 70 * GIB)
    refuse_what_cannot_fit(study, 10**7)
    have(monkeypatch, 50 * GIB)
    with pytest.raises(BadInput, match=r"^softmax with 10,000,000 classes x 512 dimensions cannot be trained here: "):
        refuse_what_cannot_fit(study, 10**7)
    with pytest.raises(BadInput, match=r"class vectors 19\.1 GiB \+ their gradient 19\.1 GiB \+ moments of the opti"):
        refuse_what_cannot_fit(study, 10**7)
    with pytest.raises(BadInput, match=r"= 57\.3 GiB, and there are 50\.0 GiB; lower dim, .* try partial_fc"):
        refuse_what_cannot_fit(study, 10**7)


def test_processes_on_other_machines_bring_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(data="builtin", losses=("cosface",), recipe=RECIPE)
    have(monkeypatch, 20 * GIB)
    for ranks in (Ranks(), Ranks(0, 4, 4)):
        with pytest.raises(BadInput, match="cannot be trained here"):
            refuse_what_cannot_fit(study, 10**7, ranks)
    refuse_what_cannot_fit(study, 10**7, Ranks(0, 4, 1))


def test_of_what_is_not_spread_each_process_needs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 million classes x 512 numbers are 19.1 GiB: of a margin loss three times a fourth, of VPL four times all."""
    have(monkeypatch, 25 * GIB)
    elsewhere = Ranks(0, 4, 1)
    refuse_what_cannot_fit(Study(data="builtin", losses=("cosface",), recipe=RECIPE), 10**7, elsewhere)
    with pytest.raises(BadInput, match=r"^vpl with .*class vectors 19\.1 GiB .* memories of the loss 19\.1 GiB"):
        refuse_what_cannot_fit(Study(data="builtin", losses=("vpl",), recipe=RECIPE), 10**7, elsewhere)
    with pytest.raises(BadInput, match=r"^unitsface with .*class vectors 4\.8 GiB .* memories of the loss 19\.1 GiB"):
        refuse_what_cannot_fit(Study(data="builtin", losses=("unitsface",), recipe=RECIPE), 10**7, elsewhere)


def test_a_share_of_the_logits_is_kept() -> None:
    with holding(0, 4):
        parts = of_loss(RECIPE, losses.sketch("cosface", dim=512, classes=1000))
    assert parts["logits"] == 64 * 250 * 4
    assert parts["class vectors"] == 4 * 512 * 250


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cosface", ""),
        ("triplet", ""),
        ("partial_fc", ""),
        ("vpl", "weight, vectors.memory, vectors.seen are not spread: each of the 2 processes holds all 50 classes"),
        ("unitsface", "terms.uss.vectors.rows is not spread: each of the 2 processes holds all 50 classes there"),
    ],
)
def test_what_is_not_spread_is_said_of_several_processes(name: str, words: str) -> None:
    row = Competitor(name, name, {}, "shuffled")
    assert not_spread(row, RECIPE, 50, Ranks(0, 2)).startswith(words)
    assert bool(not_spread(row, RECIPE, 50, Ranks(0, 2))) == bool(words)
    assert not_spread(row, RECIPE, 50, Ranks()) == ""


def test_a_loss_that_needs_more_than_softmax_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(data="builtin", losses=("triplet", "subcenter_arcface(centers=3)"), recipe=RECIPE)
    have(monkeypatch, 100 * GIB)
    with pytest.raises(BadInput, match=r"^subcenter_arcface\(centers=3\) with 10,000,000 classes"):
        refuse_what_cannot_fit(study, 10**7)


@pytest.mark.faults
def test_compare_refuses_before_it_builds_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, 2**18)
    monkeypatch.setattr(losses, "build", lambda *_, **__: pytest.fail("a loss was built"))
    study = Study(data="builtin", losses=("cosface",), recipe=RECIPE)
    with pytest.raises(BadInput, match=r"cannot be trained here: .* network .* and there are 0\.2 MiB"):
        compare(study, tmp_path / "out")


@pytest.mark.faults
@pytest.mark.parametrize("name", ["cosface", "partial_fc", "softmax", "sphereface2", "center"])
def test_build_refuses_what_cannot_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"^10,000,000,000 classes x 128 dimensions do not fit: .*10,000,000,000 x 128 x 4 b"
    ):
        losses.build(name, dim=128, classes=10**10)
    have(monkeypatch, GIB)
    with pytest.raises(
        ValueError, match=r"3,000,000 x 128 x 4 bytes\) 1\.4 GiB.*, and there are 1\.0 GiB of memory; give f"
    ):
        losses.build(name, dim=128, classes=3 * 10**6)


@pytest.mark.faults
def test_more_classes_than_torch_can_count_are_refused_too() -> None:
    with pytest.raises(ValueError, match=r"do not fit: class vectors \(100,000,000,000,000,000,000 x 128 x 4 bytes\)"):
        losses.build("cosface", dim=128, classes=10**20)


def test_a_loss_that_keeps_nothing_of_classes_may_have_any_number() -> None:
    assert losses.build("triplet", dim=128, classes=10**12).classes == 10**12


@pytest.mark.parametrize("name", losses.own_names())
def test_every_loss_can_be_sketched(name: str) -> None:
    start = losses.describe(name).start
    sketch, built = (make(name, dim=8, classes=6, **start) for make in (losses.sketch, losses.build))
    sizes = [{key: tensor.shape for key, tensor in loss.state_dict().items()} for loss in (sketch, built)]
    assert sizes[0] == sizes[1]
    assert all(tensor.is_meta for tensor in sketch.parameters())


def test_a_single_training_needs_no_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 million class vectors of 512 numbers would not fit; no class vectors do."""
    have(monkeypatch, GIB)
    refuse_what_cannot_fit(Study(data="builtin", losses=("triplet",), recipe=RECIPE, single=Single()), 10**7)
    with pytest.raises(BadInput, match=r"^softmax with"):
        refuse_what_cannot_fit(Study(data="builtin", losses=("triplet",), recipe=RECIPE), 10**7)
