"""What a run starts from."""

import torch

from faceloss.compare.run import build_state
from faceloss.compare.study import Competitor, Run, Study
from faceloss.train.settings import Recipe

STUDY = Study(
    data="builtin", losses=("softmax",), recipe=Recipe(net_options={"width": 4}, dim=8, size=32, device="cpu")
)


def state(loss: str, seed: int) -> dict[str, torch.Tensor]:
    return build_state(Run("id", Competitor(loss, loss, {}, "shuffled"), seed), STUDY, classes=5).tensors()


def test_every_loss_starts_from_the_same_weights_and_class_vectors() -> None:
    one, other = state("cosface", 3), state("arcface", 3)
    shared = [name for name in one if name.startswith("net.") or name == "loss.weight"]
    assert "loss.weight" in shared
    assert all(torch.equal(one[name], other[name]) for name in shared)


def test_every_seed_starts_from_its_own() -> None:
    one, other = state("cosface", 3), state("cosface", 4)
    matrices = [name for name, tensor in one.items() if tensor.ndim > 1]
    assert "loss.weight" in matrices
    assert not any(torch.equal(one[name], other[name]) for name in matrices)
