"""The loop: stops before a bad update, continues to the bit, and computes the same for any order of asking."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from faceloss import losses, nets
from faceloss.losses.core import Loss, LossOutput
from faceloss.train import checkpoint
from faceloss.train.loop import Diverged, Index, LossFailed, Pixels, Stopped, embed, to_input, train
from faceloss.train.settings import Recipe
from faceloss.train.state import State, build_optimizer

torch.set_num_threads(1)
RECIPE = Recipe(
    net="small", net_options={"width": 8}, dim=16, size=32, epochs=2, batch=8, images_per_identity=2,
    learning_rate=0.05, precision="fp32", device="cpu", checkpoint_seconds=1000.0,
)  # fmt: skip


class Toy:
    """Four identities of eight images, each a noisy color."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.all_labels = np.repeat(np.arange(4), 8)
        colors = np.array([[60, 60, 60], [190, 60, 60], [60, 190, 60], [60, 60, 190]])
        color = colors[self.all_labels][:, None, None, :]
        self.pixels = np.clip(color + rng.normal(0, 20, (32, 32, 32, 3)), 0, 255).astype(np.uint8)

    def batches(self, epoch: int) -> list[Index]:
        order = np.random.default_rng(epoch).permutation(32)
        return [order[i : i + 8] for i in range(0, 32, 8)]

    def images(self, epoch: int, index: Index) -> Pixels:
        return self.pixels[index]

    def labels(self, index: Index) -> Index:
        return self.all_labels[index]


def fresh(loss: str = "cosface", recipe: Recipe = RECIPE, **hyperparameters: object) -> State:
    net = nets.build(recipe.net, dim=recipe.dim, seed=1, input_size=recipe.size, **recipe.net_options)
    classes = 100 if loss == "partial_fc" else 4  # so that most classes of a step are drawn at random
    head = losses.build(loss, dim=recipe.dim, classes=classes, seed=1, **hyperparameters)
    return State(net, head, build_optimizer(net, head, recipe))


def equal(a: State, b: State) -> bool:
    left, right = a.tensors(), b.tensors()
    facts = ("epoch", "batch", "step", "images_seen", "history", "totals")
    same = all(getattr(a, name) == getattr(b, name) for name in facts) and np.array_equal(a.census, b.census)
    return same and left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def nothing(state: State) -> None:
    return


def test_it_learns() -> None:
    state = fresh(m=0.1, s=10.0)
    train(state, Toy(), RECIPE.model_copy(update={"epochs": 20}), seed=0, save=nothing)
    assert state.history[0]["accuracy"] < 0.9
    assert state.history[-1]["accuracy"] > 0.95
    assert state.history[-1]["loss"] < 0.5 * state.history[0]["loss"]
    assert state.images_seen == 20 * 32


@pytest.mark.faults
@pytest.mark.parametrize(
    ("loss", "optimizer"),
    [("cosface", "sgd"), ("center", "adamw"), ("margin", "sgd"), ("partial_fc", "sgd"), ("partial_fc", "adamw")],
)
def test_stopped_anywhere_and_resumed_it_ends_in_the_same_bits(tmp_path: Path, loss: str, optimizer: str) -> None:
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "learning_rate": 0.01})
    whole = fresh(loss, recipe)
    train(whole, Toy(), recipe, seed=3, save=nothing)
    for stop_after in (1, 4, 6):  # in the middle of an epoch, at its end, in the second epoch
        state = fresh(loss, recipe)
        save = lambda state: checkpoint.save(tmp_path, f"{loss}{stop_after}", state.tensors(), state.facts())  # noqa: B023, E731
        with pytest.raises(Stopped):
            train(state, Toy(), recipe, seed=3, save=save, stop=lambda state=state: state.step >= stop_after)  # noqa: B023
        again = fresh(loss, recipe)
        assert not equal(again, state)
        saved = checkpoint.load(tmp_path, f"{loss}{stop_after}")
        assert saved is not None
        again.restore(*saved)
        assert equal(again, state)
        train(again, Toy(), recipe, seed=3, save=nothing)
        assert equal(again, whole)


def test_every_sample_of_an_epoch_is_counted_once_where_there_are_classes() -> None:
    state, pairs = fresh(), fresh("triplet")
    for some in (state, pairs):
        train(some, Toy(), RECIPE, seed=0, save=nothing)
    first, last = state.history
    assert sum(first["target_angles"]) == sum(last["target_angles"]) == 32
    middle = np.dot(first["target_angles"], np.arange(2.5, 180, 5)) / 32
    assert middle == pytest.approx(first["target_angle"], abs=2.5)
    assert "target_weights" not in first
    assert len(last["target_weights"]) == 36
    assert not state.census.any()
    assert not {"target_angles", "hardest_tenth", "target_weights"} & pairs.history[-1].keys()


def test_a_course_is_followed_step_by_step() -> None:
    asked: list[float] = []
    seen: list[float] = []

    def course(progress: float) -> dict[str, float]:
        asked.append(progress)
        return {"m": 0.1 + progress}

    state = fresh(m=0.1)
    show = lambda state, total, now: seen.append(float(state.loss.hyperparameters()["m"]))  # noqa: E731
    train(state, Toy(), RECIPE, seed=0, save=nothing, courses=lambda epoch: course, show=show)
    assert asked == [step / 8 for step in range(8)]
    assert seen == [0.1 + step / 8 for step in range(8)]


def test_a_course_that_moves_nothing_leaves_the_training_as_it_is() -> None:
    plain, followed, moved = fresh(), fresh(), fresh()
    train(plain, Toy(), RECIPE, seed=0, save=nothing)
    train(followed, Toy(), RECIPE, seed=0, save=nothing, courses=lambda epoch: losses.course("cosface"))
    train(moved, Toy(), RECIPE, seed=0, save=nothing, courses=lambda epoch: lambda progress: {"m": 0.35 * progress})
    assert equal(plain, followed)
    assert not torch.equal(plain.tensors()["loss.weight"], moved.tensors()["loss.weight"])


@pytest.mark.faults
def test_a_course_is_continued_to_the_bit(tmp_path: Path) -> None:
    course = losses.course("asoftmax", lam=0.5)
    whole, constant = fresh("asoftmax", lam=0.5), fresh("asoftmax", lam=0.5)
    train(whole, Toy(), RECIPE, seed=3, save=nothing, courses=lambda epoch: course)
    train(constant, Toy(), RECIPE, seed=3, save=nothing)
    assert not torch.equal(whole.tensors()["loss.weight"], constant.tensors()["loss.weight"])
    for stop_after in (1, 4, 6):
        state = fresh("asoftmax", lam=0.5)
        save = lambda state: checkpoint.save(tmp_path, f"{stop_after}", state.tensors(), state.facts())  # noqa: B023, E731
        stop = lambda state=state: state.step >= stop_after  # noqa: B023, E731
        with pytest.raises(Stopped):
            train(state, Toy(), RECIPE, seed=3, save=save, courses=lambda epoch: course, stop=stop)
        again = fresh("asoftmax", lam=0.5)
        saved = checkpoint.load(tmp_path, f"{stop_after}")
        assert saved is not None
        again.restore(*saved)
        train(again, Toy(), RECIPE, seed=3, save=nothing, courses=lambda epoch: course)
        assert equal(again, whole)


def test_a_course_that_the_loss_refuses_is_the_losss() -> None:
    with pytest.raises(LossFailed, match=r"the loss raised TypeError: .*margin"):
        train(fresh(), Toy(), RECIPE, seed=0, save=nothing, courses=lambda epoch: lambda progress: {"margin": 0.1})


@pytest.mark.parametrize("loss", ["cosface", "partial_fc"])
def test_a_fork_is_independent_and_complete(loss: str) -> None:
    state = fresh(loss)
    train(state, Toy(), RECIPE, seed=0, save=nothing)
    fork = state.fork()
    assert equal(state, fork)
    longer = RECIPE.model_copy(update={"epochs": 3})
    train(fork, Toy(), longer, seed=0, save=nothing)
    assert not equal(state, fork)
    train(state, Toy(), longer, seed=0, save=nothing)
    assert equal(state, fork)


@pytest.mark.faults
def test_divergence_stops_before_the_update() -> None:
    state = fresh()
    with torch.no_grad():
        for parameter in state.loss.parameters():
            parameter.fill_(float("nan"))
    before = {name: tensor.clone() for name, tensor in state.net.named_parameters()}
    with pytest.raises(Diverged, match="step 0") as caught:
        train(state, Toy(), RECIPE, seed=0, save=nothing)
    assert len(caught.value.index) == 8
    assert state.step == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in state.net.named_parameters())


@pytest.mark.faults
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_is_not_finite_diverged_before_the_loss_is_asked(value: float) -> None:
    state = fresh()
    with torch.no_grad():
        list(state.net.parameters())[-1].fill_(value)
    state.loss.forward = lambda embeddings, labels: pytest.fail("the loss was asked")  # type: ignore[method-assign]
    with pytest.raises(Diverged, match=r"^embeddings not finite at step 0, epoch 1$") as caught:
        train(state, Toy(), RECIPE, seed=0, save=nothing)
    assert len(caught.value.index) == 8
    assert state.step == 0


@pytest.mark.faults
def test_a_gradient_that_is_not_finite_stops_too() -> None:
    state = fresh()
    first = next(state.net.parameters())
    first.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(Diverged, match="gradient"):
        train(state, Toy(), RECIPE, seed=0, save=nothing)
    assert state.step == 0


class Broken(Loss):
    """A loss whose code fails in the third step, in one of several ways."""

    def __init__(self, how: str):
        super().__init__(RECIPE.dim, 4, batches="shuffled", hyperparameters={})
        self.how = how

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        loss = embeddings.square().mean()
        if self.clock[1] < 2:
            return LossOutput(loss, {})
        if self.how == "raises":
            raise KeyError("no such name")
        if self.how == "bare":
            return loss  # type: ignore[return-value]
        if self.how == "statistic":
            return LossOutput(loss, {"norm": embeddings})
        return LossOutput(loss.detach(), {})


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("raises", r"the loss raised KeyError: 'no such name' \(test_loop.py, line \d+\)"),
        ("bare", r"TypeError: Broken.compute must return a LossOutput\(loss, statistics\), not a Tensor"),
        ("statistic", r"the loss raised RuntimeError: shape '\[\]' is invalid for input of size 128"),
        ("detached", "the loss raised RuntimeError: element 0 of tensors does not require grad"),
    ],
)
def test_an_error_in_the_code_of_the_loss_is_the_losss(how: str, sentence: str) -> None:
    state = fresh()
    state.loss = Broken(how)
    with pytest.raises(LossFailed, match=sentence):
        train(state, Toy(), RECIPE, seed=0, save=nothing)
    assert state.step == 2


def test_an_error_of_the_loop_or_of_the_machine_is_not_the_losss() -> None:
    def no_disk(state: State) -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        train(fresh(), Toy(), RECIPE, seed=0, save=no_disk)
    state = fresh()
    state.loss.forward = lambda embeddings, labels: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        train(state, Toy(), RECIPE, seed=0, save=nothing)


def test_input_is_the_documented_scale() -> None:
    pixels = np.array([0, 127, 255], np.uint8).reshape(1, 1, 1, 3)
    assert to_input(pixels, torch.device("cpu")).flatten().tolist() == pytest.approx([-1.0, -1 / 255, 1.0])


def test_embedding_of_a_mirror_image_is_the_same() -> None:
    state, toy = fresh(), Toy()
    toy.pixels[:, :, :16] //= 2  # not symmetric
    plain = embed(state.net, toy.pixels, RECIPE, batch=5)
    mirrored = embed(state.net, toy.pixels[:, :, ::-1], RECIPE, batch=32)
    assert np.allclose(plain, mirrored, atol=1e-4)
    single = embed(state.net, toy.pixels, RECIPE.model_copy(update={"flip_test": False}))
    assert not np.allclose(plain, single, atol=1e-2)


def test_options_of_a_loss_reach_the_optimizer() -> None:
    state = fresh("normface")
    owned = dict(state.loss.named_parameters())
    options = state.loss.optimizer_options()
    assert options
    for name, option in options.items():
        group = next(g for g in state.optimizer.param_groups if any(p is owned[name] for p in g["params"]))
        assert group["weight_decay"] == option.get("weight_decay", group["weight_decay"])
        assert group["scale"] == option.get("learning_rate_scale", 1.0)
    every = [p for group in state.optimizer.param_groups for p in group["params"]]
    assert len(every) == len(list(state.net.parameters())) + len(owned)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_updates_are_those_of_the_plain_optimizer(optimizer: str) -> None:
    recipe = RECIPE.model_copy(update={"optimizer": optimizer, "learning_rate": 0.01, "weight_decay": 0.1})
    ways = []
    for plain in (False, True):
        state = fresh("normface", recipe)
        state.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        state.optimizer = build_optimizer(state.net, state.loss, recipe)
        fused = {bool(group["fused"]) for group in state.optimizer.param_groups}
        assert fused == ({True, False} if optimizer == "sgd" else {True})
        if plain:
            for group in state.optimizer.param_groups:
                group["fused"] = None
        before = {name: tensor.clone() for name, tensor in state.net.named_parameters()}
        train(state, Toy(), recipe.model_copy(update={"epochs": 1}), seed=0, save=nothing)
        assert all((tensor - before[name]).abs().max() > 1e-4 for name, tensor in state.net.named_parameters())
        ways.append(state.net.state_dict())
    torch.testing.assert_close(ways[0], ways[1], rtol=1e-4, atol=1e-5)
