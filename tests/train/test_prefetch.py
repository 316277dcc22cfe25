"""Batches prepared by other threads: the same bits, errors where they belong, and no thread left behind."""

import threading
import time

import numpy as np
import pytest
import torch

from faceloss import losses, nets, threads
from faceloss.data.faces import Faces
from faceloss.train import loop
from faceloss.train.epochs import FaceEpochs
from faceloss.train.loop import Diverged, Index, Pixels, Stopped, train
from faceloss.train.prefetch import ahead
from faceloss.train.settings import Recipe
from faceloss.train.state import State, build_optimizer

torch.set_num_threads(1)
RECIPE = Recipe(
    net="small", net_options={"width": 8}, dim=16, size=16, epochs=2, batch=8, images_per_identity=2,
    learning_rate=0.05, precision="fp32", device="cpu", checkpoint_seconds=1000.0,
)  # fmt: skip


def fresh() -> State:
    net = nets.build("small", dim=16, seed=1, input_size=16, width=8)
    head = losses.build("cosface", dim=16, classes=4, seed=1)
    return State(net, head, build_optimizer(net, head, RECIPE))


def epochs() -> FaceEpochs:
    count, rng = 40, np.random.default_rng(0)
    blank = ("",) * count
    pixels = rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    faces = Faces("toy", pixels, np.arange(count) % 4, tuple("abcd"), blank, blank, blank, blank, (), "")
    return FaceEpochs(faces, RECIPE, seed=5, kind="shuffled")


def nothing(state: State) -> None:
    return


def data_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("faceloss-data")]


@pytest.fixture(params=[0, 1, 3])
def prepared_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count: int = request.param
    monkeypatch.setattr(loop, "data_threads", lambda device, taken: count)
    return count


def trained() -> State:
    state = fresh()
    train(state, epochs(), RECIPE, seed=5, save=nothing)
    return state


def test_results_are_the_same_bits(prepared_by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_by: set[str] = set()
    images = FaceEpochs.images

    def spied(self: FaceEpochs, epoch: int, index: Index) -> Pixels:
        asked_by.add(threading.current_thread().name)
        return images(self, epoch, index)

    monkeypatch.setattr(FaceEpochs, "images", spied)
    found = trained()
    assert (threading.main_thread().name in asked_by) == (prepared_by == 0)
    monkeypatch.setattr(loop, "data_threads", lambda device, taken: 0)
    plain = trained()
    assert found.history == plain.history
    left, right = found.tensors(), plain.tensors()
    assert all(torch.equal(left[name], right[name]) for name in right)
    assert data_threads() == []


@pytest.mark.faults
@pytest.mark.parametrize("how", ["data", "diverged", "stopped", "interrupt", "disk"])
def test_whatever_ends_training_no_thread_is_left(how: str, prepared_by: int) -> None:
    state, source = fresh(), epochs()

    def images(epoch: int, index: Index) -> Pixels:
        if how == "data" and index is source_batches[2]:
            raise OSError("the disk of the images is gone")
        return FaceEpochs.images(source, epoch, index)

    source_batches = source.batches(0)
    source.batches = lambda epoch: source_batches  # type: ignore[method-assign]
    source.images = images  # type: ignore[method-assign]

    def show(state: State, total: int, now: dict[str, float]) -> None:
        assert bool(data_threads()) == (prepared_by > 0)  # so that their absence in the end says something
        if state.step == 2 and how == "diverged":
            with torch.no_grad():
                next(state.loss.parameters()).fill_(float("nan"))
        if state.step == 2 and how == "interrupt":
            raise KeyboardInterrupt
        if state.step == 2 and how == "disk":
            raise OSError("disk full")

    expected: dict[str, tuple[type[BaseException], str]] = {
        "data": (OSError, "the disk of the images is gone"),
        "diverged": (Diverged, "step 2"),
        "stopped": (Stopped, "^$"),
        "interrupt": (KeyboardInterrupt, "^$"),
        "disk": (OSError, "disk full"),
    }
    error, sentence = expected[how]
    with pytest.raises(error, match=sentence) as caught:
        train(state, source, RECIPE, seed=5, save=nothing, show=show, stop=lambda: how == "stopped" and state.step == 2)
    assert data_threads() == [], f"still running while {caught.type.__name__} is handled"
    assert state.step == 2


def test_no_more_than_asked_for_waits() -> None:
    for count in (0, 1, 3):
        begun: list[int] = []
        results = ahead(lambda item, begun=begun: begun.append(item) or item * item, range(10), count)  # type: ignore[func-returns-value]
        for taken, (item, square) in enumerate(results, start=1):
            assert (item, square) == (taken - 1, (taken - 1) ** 2)
            assert len(begun) <= min(10, taken + count)
        assert sorted(begun) == list(range(10))
    assert list(ahead(str, [], 2)) == []
    assert list(ahead(str, [7], 2)) == [(7, "7")]


def test_the_next_one_is_prepared_while_the_caller_works() -> None:
    second = threading.Event()
    results = ahead(lambda item: second.set() if item == 1 else None, range(5), 1)
    next(results)
    assert second.wait(10), "item 1 was not begun before it was asked for"
    results.close()
    assert data_threads() == []


def test_threads_only_where_a_core_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, taken, expected in ((1, 1, 0), (2, 1, 1), (2, 2, 0), (16, 1, 1)):
        monkeypatch.setattr(threads, "cores", lambda cores=cores: cores)
        assert threads.data_threads("cpu", taken) == expected
    for cores, expected in ((1, 0), (2, 1), (16, 4)):
        monkeypatch.setattr(threads, "cores", lambda cores=cores: cores)
        assert threads.data_threads("cuda", 1) == expected
    monkeypatch.setattr(threads.multiprocessing, "parent_process", lambda: object())
    assert threads.data_threads("cpu", 1) == 0, "the workers of a study use all cores"


def test_all_of_a_step_is_timed(prepared_by: int) -> None:
    """Preparation counts, be it before a step, in it or beside it."""

    class Slow(FaceEpochs):
        def images(self, epoch: int, index: Index) -> Pixels:
            time.sleep(0.05)
            end = time.thread_time() + 0.05
            while time.thread_time() < end:
                pass
            return super().images(epoch, index)

    state, source = fresh(), epochs()
    slow = Slow(source.faces, RECIPE.model_copy(update={"epochs": 1}), 5, "shuffled")
    before = time.process_time()
    train(state, slow, slow.recipe, seed=5, save=nothing)
    assert state.step == 5
    assert state.cpu_seconds < time.process_time() - before, "counted twice"
    assert state.cpu_seconds > 0.2
    assert state.seconds > (0.4 if prepared_by < 2 else 0.15)
