"""Training from shards whose images are decoded on the way: the same bits, stopped anywhere, in any order of shards."""

from pathlib import Path

import numpy as np
import pytest
import torch

from faceloss import losses, nets
from faceloss.data.encoded import shards_of
from faceloss.data.export import export_shards
from faceloss.data.faces import Faces
from faceloss.data.load import load_faces
from faceloss.data.sources import open_source
from faceloss.errors import BadInput, CouldNotFinish
from faceloss.train import checkpoint
from faceloss.train.epochs import FaceEpochs
from faceloss.train.loop import Stopped, train
from faceloss.train.settings import Recipe
from faceloss.train.state import State, build_optimizer

torch.set_num_threads(1)
RECIPE = Recipe(
    net_options={"width": 4}, dim=8, size=24, epochs=2, batch=16, images_per_identity=2, learning_rate=0.05,
    precision="fp32", device="cpu", checkpoint_seconds=1000.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(toy_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 images of 16 identities in six shards."""
    out = tmp_path_factory.mktemp("shards") / "toy"
    export_shards(open_source(toy_faces), out, per_shard=24)
    return out


def fresh(recipe: Recipe) -> State:
    net = nets.build(recipe.net, dim=recipe.dim, seed=1, input_size=recipe.size, **recipe.net_options)
    head = losses.build("cosface", dim=recipe.dim, classes=16, seed=1, m=0.1, s=10.0)
    return State(net, head, build_optimizer(net, head, recipe))


def trained(faces: Faces, kind: str = "shuffled", recipe: Recipe = RECIPE) -> State:
    state = fresh(recipe)
    train(state, FaceEpochs(faces, recipe, 3, kind), recipe, seed=3, save=lambda state: None)  # type: ignore[arg-type]
    return state


def equal(a: State, b: State) -> bool:
    left, right = a.tensors(), b.tensors()
    assert left.keys() == right.keys()
    assert a.step == b.step > 0
    return a.history == b.history and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("kind", ["shuffled", "identity-balanced"])
def test_streamed_or_kept_the_weights_are_the_same(shards: Path, kind: str) -> None:
    kept, streamed = (load_faces(shards, size=24, stream=stream) for stream in (False, True))
    assert equal(trained(kept, kind), trained(streamed, kind))


@pytest.mark.faults
@pytest.mark.parametrize("window", [0, 2])
def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(shards: Path, tmp_path: Path, window: int) -> None:
    recipe = RECIPE.model_copy(update={"shard_window": window})
    whole = trained(load_faces(shards, size=24, stream=True), recipe=recipe)
    for steps in (3, 8):  # in an epoch, and where one ends
        state, folder = fresh(recipe), tmp_path / str(steps)
        folder.mkdir()

        def save(state: State, folder: Path = folder) -> None:
            checkpoint.save(folder, "checkpoint", state.tensors(), state.facts())

        faces = load_faces(shards, size=24, stream=True)
        with pytest.raises(Stopped):
            train(
                state, FaceEpochs(faces, recipe, 3, "shuffled"), recipe, seed=3, save=save,
                stop=lambda state=state, steps=steps: state.step == steps,
            )  # fmt: skip
        again, saved = fresh(recipe), checkpoint.load(folder, "checkpoint")
        assert saved is not None
        again.restore(*saved)
        assert again.step == steps
        faces = load_faces(shards, size=24, stream=True)
        train(again, FaceEpochs(faces, recipe, 3, "shuffled"), recipe, seed=3, save=save)
        assert equal(again, whole)


def test_the_parts_of_ranks_are_the_batch(shards: Path) -> None:
    recipe = RECIPE.model_copy(update={"shard_window": 2})
    epochs = FaceEpochs(load_faces(shards, size=24, stream=True), recipe, 3, "shuffled")
    batch = epochs.batches(1)[4]
    parts = [epochs.images(1, part) for part in np.array_split(batch, 2)]  # as each of two processes asks
    assert (np.concatenate(parts) == epochs.images(1, batch)).all()


def test_windows_read_a_few_shards_at_a_time(shards: Path) -> None:
    faces = load_faces(shards, size=24, stream=True)
    where = shards_of(faces)
    assert where is not None
    orders = {}
    for window in (0, 2):
        epochs = FaceEpochs(faces, RECIPE.model_copy(update={"shard_window": window}), 3, "shuffled")
        orders[window] = [len(set(where[batch].tolist())) for batch in epochs.batches(0)]
    assert min(orders[0]) > 4  # exact shuffling: each batch is from nearly all of the six
    assert max(orders[2]) <= 4  # two windows at most
    with pytest.raises(BadInput, match="streamed from shards"):
        FaceEpochs(load_faces(shards, size=24), RECIPE.model_copy(update={"shard_window": 2}), 3, "shuffled").batches(0)


@pytest.mark.faults
def test_a_shard_that_changes_meanwhile_ends_the_training_with_a_sentence(toy_faces: Path, tmp_path: Path) -> None:
    export_shards(open_source(toy_faces), tmp_path / "toy", per_shard=64)
    faces = load_faces(tmp_path / "toy", size=24, stream=True)
    (tmp_path / "toy" / "00001.tar").write_bytes(b"")
    with pytest.raises(CouldNotFinish, match="cannot be read as it was at the start"):
        trained(faces)
