"""Training on 2, 3 and 4 processes equals training on one, also when it is stopped and continued on another number."""

import math
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from faceloss import losses
from faceloss.errors import Told
from faceloss.losses.shards import holding
from faceloss.losses.spread import class_parameters, class_rows, spread
from faceloss.train import checkpoint
from faceloss.train.loop import Diverged, Index, Pixels, Stopped, train
from faceloss.train.ranks import ONE, Ranks
from faceloss.train.settings import Recipe
from faceloss.train.state import State, build_optimizer
from faceloss.train.torchrun import joined

CLASSES, DIM, EPOCHS, STEPS = 11, 6, 2, 2
PLAN = ((2, 1), (1, 3), (3, EPOCHS * STEPS))  # processes, and the step after which they stop
CASES: dict[str, tuple[str, dict[str, object], str]] = {
    "arcface": ("arcface", {"s": 8.0, "m": 0.2}, "sgd"),
    "several vectors a class": ("subcenter_arcface", {"s": 8.0, "m": 0.2}, "adamw"),
    "with biases": ("softmax", {}, "adamw"),
    "no class vectors": ("triplet", {}, "sgd"),
    "partial FC with all classes": ("partial_fc", {"rate": 1.0, "s": 8.0}, "sgd"),
    "partial FC with some": ("partial_fc", {"rate": 0.8, "s": 8.0, "margin": "arcface"}, "adamw"),
    "partial FC with those of the batch": ("partial_fc", {"rate": 0.3, "s": 8.0}, "sgd"),
    "a memory that all have": ("vpl", {"s": 8.0, "start": 1, "age": 2}, "sgd"),
    "a memory beside class vectors": ("unitsface", {"s": 8.0}, "sgd"),
    "centers, which all have": ("center", {}, "sgd"),
    "yes-or-no questions": ("sphereface2", {}, "adamw"),
}


class Net(nn.Module):
    """A net in float64 without batch normalization; its embeddings can be spoiled by a ``factor``."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(768, 200).double(), nn.Linear(200, DIM).double()
        self.factor = 1.0

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.last(self.first(images.double().flatten(1)).tanh())
        return self.factor * embeddings


class Toy:
    """Batches of 10 of 33 images, so that 3 and 4 processes have parts of different sizes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.pixels = rng.integers(0, 256, (33, 16, 16, 3)).astype(np.uint8)
        self.all_labels = np.arange(33) % CLASSES

    def batches(self, epoch: int) -> list[Index]:
        order = np.random.default_rng(epoch).permutation(33)
        return [order[10 * i : 10 * i + 10] for i in range(STEPS)]

    def images(self, epoch: int, index: Index) -> Pixels:
        return self.pixels[index]

    def labels(self, index: Index) -> Index:
        return self.all_labels[index]


def recipe_of(case: str) -> Recipe:
    return Recipe(
        dim=DIM, size=16, epochs=EPOCHS, batch=10, optimizer=CASES[case][2], learning_rate=0.05, warmup_epochs=0,
        clip=0.3, weight_decay=0.01, precision="fp32", device="cpu", checkpoint_seconds=1000.0,
    )  # fmt: skip


def fresh(case: str, ranks: Ranks = ONE) -> State:
    name, hyperparameters, _ = CASES[case]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = Net()
    with holding(ranks.rank, ranks.size):
        loss = losses.build(name, dim=DIM, classes=CLASSES, seed=2, **hyperparameters).double()
    if ranks.size > 1:
        spread(loss)
    return State(net, loss, build_optimizer(net, loss, recipe_of(case)))


def run(case: str, state: State, ranks: Ranks = ONE, until: int = EPOCHS * STEPS, folder: Path | None = None) -> None:
    """Train to the step ``until``; save there, if it is not the end."""

    def save(state: State) -> None:
        if folder is not None and state.step == until:
            checkpoint.save(folder, case, state.tensors(), state.facts(), state.held(), ranks)

    halt = ranks.rank == ranks.size - 1  # one process is asked to stop, and all do
    try:
        train(
            state, Toy(), recipe_of(case), seed=5, save=save, ranks=ranks,
            stop=lambda: halt and until == state.step < EPOCHS * STEPS,
        )  # fmt: skip
    except Stopped:
        assert state.step == until < EPOCHS * STEPS
    else:
        assert state.step == until == EPOCHS * STEPS


def off(whole: State, got: State) -> Iterator[str]:
    """Where ``got`` is not ``whole``, of what it holds, to 1e-12; loss history, weights, moments."""
    held, mine = got.held(), got.tensors()
    for name, want in whole.tensors().items():
        part = held.get(name) or held.get(name.rpartition(".")[0])
        if part and want.ndim:
            each = len(want) // part.classes
            want = want[part.low * each : part.high * each]
        difference = float((want.double() - mine[name].double()).norm() / (want.double().norm() + 1e-12))
        if mine[name].shape != want.shape or difference > 1e-12:
            yield f"{name} is off by {difference:.1e}"
    for want_row, got_row in zip(whole.history, got.history, strict=True):
        for key, value in want_row.items():
            if key in ("loss", "learning_rate", "norm", "accuracy") and abs(value - got_row[key]) > 1e-12 * abs(value):
                yield f"epoch {want_row['epoch']}: {key} is {got_row[key]!r}, not {value!r}"
        if "target_angles" in want_row:
            if want_row["target_angles"] != got_row["target_angles"]:
                yield f"epoch {want_row['epoch']}: samples stand at other angles"
            pulls = [[math.inf if w is None else w for w in r.get("target_weights", [])] for r in (want_row, got_row)]
            if not np.allclose(*pulls, rtol=0, atol=1e-9):
                yield f"epoch {want_row['epoch']}: samples are pulled otherwise"
    some = torch.tensor([0, 7, CLASSES - 1])
    rows, mine = class_rows(whole.loss, some), class_rows(got.loss, some)
    if (rows is None) != (mine is None) or (rows is not None and not torch.allclose(rows, mine, rtol=0, atol=1e-6)):
        yield "class vectors that are gathered are others"


def whole_run(case: str) -> State:
    state = fresh(case)
    run(case, state)
    return state


def equal_to_one(ranks: Ranks, folder: Path) -> Iterator[str]:
    for case in list(CASES)[: 3 if ranks.size == 4 else None]:
        whole, many = whole_run(case), fresh(case, ranks)
        run(case, many, ranks)
        yield from (f"{case}: {text}" for text in off(whole, many))


def continued(ranks: Ranks, folder: Path) -> Iterator[str]:
    """This number of processes' turn in PLAN, from the checkpoint of those before."""
    place = [size for size, _ in PLAN].index(ranks.size)
    for case in CASES:
        state = fresh(case, ranks)
        if place:
            saved = checkpoint.load(folder, case, state.held(), ranks)
            assert saved is not None
            state.restore(*saved)
            assert state.step == PLAN[place - 1][1]
        run(case, state, ranks, PLAN[place][1], folder)
        if place == len(PLAN) - 1:
            yield from (f"{case}: {text}" for text in off(whole_run(case), state))
        files = [path.name for path in folder.iterdir() if path.name.startswith(f"{case}-")]
        if len(files) != 1 or (folder / files[0]).is_dir() != (ranks.size > 1):
            yield f"{case}: files left are {files}"


def same_bits(ranks: Ranks, folder: Path) -> Iterator[str]:
    """Run again, or stopped and continued on as many processes: the bits of a run that nobody stopped."""
    for case in ("arcface", "partial FC with some", "partial FC with those of the batch"):
        whole, twin, state = fresh(case, ranks), fresh(case, ranks), fresh(case, ranks)
        run(case, whole, ranks)
        run(case, twin, ranks)
        run(case, state, ranks, 1, folder)
        again = fresh(case, ranks)
        saved = checkpoint.load(folder, case, again.held(), ranks)
        assert saved is not None
        again.restore(*saved)
        run(case, again, ranks)
        want = whole.tensors()
        for how, got in (("run again", twin.tensors()), ("continued", again.tensors())):
            yield from (f"{case}, {how}: {name} is not the same" for name in want if not want[name].equal(got[name]))


def of_process_0(ranks: Ranks, folder: Path) -> Iterator[str]:
    """What is not spread is saved as process 0 has it: running statistics of batch normalization are not alike."""
    tensors = {f"net.{i}": torch.full((10 * i + 1,), float(ranks.rank)) for i in range(6)}
    checkpoint.save(folder, "own", tensors, {}, {}, ranks)
    found = checkpoint.load(folder, "own", {}, ranks)
    assert found is not None
    yield from (f"{name} is that of process {value[0]:.0f}" for name, value in found[0].items() if value.any())


def not_finite(ranks: Ranks, folder: Path) -> Iterator[str]:
    """What is not finite in one process stops all of them in the same step."""
    for where in ("embeddings", "gradient of class vectors"):
        state, steps = fresh("arcface", ranks), []

        def spoil(
            state: State, total: int, now: dict[str, float], where: str = where, steps: list[int] = steps
        ) -> None:
            steps.append(state.step)
            if state.step == 1 and ranks.rank == 1 and where == "embeddings":
                state.net.factor = float("nan")
            if state.step == 1 and ranks.rank == 1 and where != "embeddings":
                next(state.loss.parameters()).register_hook(lambda gradient: gradient * float("inf"))

        try:
            train(state, Toy(), recipe_of("arcface"), seed=5, save=lambda state: None, show=spoil, ranks=ranks)
            yield f"{where}: nobody stopped"
        except Diverged as error:
            if steps[-1] != 1 or "step 1" not in str(error) or not np.array_equal(error.index, Toy().batches(0)[1]):
                yield f"{where}: {error} after {steps}"
        if not all(parameter.isfinite().all() for parameter in state.net.parameters()):
            yield f"{where}: the weights are spoiled"


def errors(ranks: Ranks, folder: Path) -> Iterator[str]:
    """The error of one process ends all; a damaged checkpoint is found by one, and told by it alone."""
    state = fresh("arcface", ranks)
    run("arcface", state, ranks, 2, folder)
    if ranks.rank == 0:
        shard = max(folder.glob("arcface-*/*.safetensors"))
        shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    ranks.each(lambda: None)
    checkpoint.load(folder, "arcface", state.held(), ranks)
    yield "a damaged checkpoint was read"


JOBS = [(2, equal_to_one), (3, equal_to_one), (4, equal_to_one)]
JOBS += [
    (2, continued),
    (1, continued),
    (3, continued),
    (3, same_bits),
    (2, same_bits),
    (3, of_process_0),
    (3, not_finite),
    (2, errors),
]


def worker(rank: int, ports: list[int], folder: str) -> None:
    """All jobs that this process has a part in; writes what is wrong into a file."""
    torch.set_num_threads(1)
    wrong: list[str] = []
    for (size, job), port in zip(JOBS, ports, strict=True):
        if rank >= size:
            continue
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
        os.environ |= {"MASTER_PORT": str(port), "FACELOSS_TIMEOUT": "60", "LOCAL_WORLD_SIZE": str(size)}
        try:
            own = Path(folder) / ("continued" if job is continued else f"{job.__name__}{size}")
            own.mkdir(exist_ok=True)
            with joined() as ranks:
                wrong += [f"{job.__name__} on {size}: {text}" for text in job(ranks, own)]
        except Exception as error:
            expected = job is errors and (isinstance(error, Told) or "SHA-256 differs" in str(error))
            wrong.append(f"ended as it should: {error}" if expected else traceback.format_exc())
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
    Path(folder, f"{rank}.txt").write_text("\n".join([*wrong, "end"]))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]) -> list[list[str]]:
    """What each of four processes found wrong."""
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("spawn")
    ports = free_ports(len(JOBS))
    ranks = [context.Process(target=worker, args=(rank, ports, str(folder))) for rank in range(4)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(240)
        assert process.exitcode == 0
    return [(folder / f"{rank}.txt").read_text().split("\n") for rank in range(4)]


@pytest.mark.parametrize("job", sorted({job.__name__ for _, job in JOBS} - {"errors"}))
def test_many_processes_are_one(found: list[list[str]], job: str) -> None:
    assert [lines[-1] for lines in found] == ["end"] * 4
    traces = [line for lines in found for line in lines if line.startswith("Traceback")]
    assert [line for lines in found for line in lines if line.startswith(f"{job} ")] == []
    assert traces == [], found


def test_an_error_is_told_once_and_ends_all(found: list[list[str]]) -> None:
    ends = [line for lines in found for line in lines if line.startswith("ended")]
    assert sorted(line.partition("(")[2][:3] for line in ends) == ["", "its"]


def test_the_cases_are_of_all_kinds() -> None:
    states = {case: fresh(case) for case in CASES}
    rows = {
        case: {name: len(state.loss.get_parameter(name)) for name in class_parameters(state.loss)}
        for case, state in states.items()
    }
    assert rows["no class vectors"] == {}
    assert max(rows["several vectors a class"].values()) > CLASSES
    assert any("bias" in name for name in rows["with biases"])
    losses_seen = [entry["loss"] for case in ("arcface", "with biases") for entry in whole_run(case).history]
    assert min(losses_seen) > 0
    assert len(set(losses_seen)) == 4


def test_parts_are_all_of_a_batch_and_differ_by_one_at_most() -> None:
    for total in (4, 10, 64, 65):
        for size in (1, 2, 3, 4):
            parts = [Ranks(rank, size).part(np.arange(total)) for rank in range(size)]
            assert np.array_equal(np.concatenate(parts), np.arange(total))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            assert Ranks(0, size).counts(total) == [len(part) for part in parts]
