"""The training loop, top to bottom. The same lines for every loss; it never asks which one it has."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faceloss.data.keys import key
from faceloss.losses.outside import in_words
from faceloss.search.courses import Course, constant
from faceloss.threads import data_threads
from faceloss.train import census
from faceloss.train.prefetch import ahead
from faceloss.train.ranks import ONE, Ranks, is_lost
from faceloss.train.schedule import learning_rate
from faceloss.train.settings import Recipe
from faceloss.train.state import State, resolve_device, resolve_precision

Index = NDArray[np.int64]
Pixels = NDArray[np.uint8]


class Diverged(Exception):
    """Embeddings, the loss or its gradient stopped being finite numbers; the weights are those before that step."""

    def __init__(self, reason: str, index: Index):
        super().__init__(reason)
        self.reason = reason
        self.index = index  # the images of the offending batch


class Stopped(Exception):
    """Somebody asked the run to stop; the step was finished and the state saved."""


class LossFailed(Exception):
    """The code of the loss raised an error, or returned what no loss returns; the sentence says what and where."""


class Epochs(Protocol):
    """What an epoch is made of; every answer is a pure function of the epoch. Other threads ask for ``images``."""

    def batches(self, epoch: int) -> list[Index]: ...

    def images(self, epoch: int, index: Index) -> Pixels: ...

    def labels(self, index: Index) -> Index: ...


def to_input(pixels: Pixels, device: torch.device) -> Tensor:
    """uint8 RGB [B,H,W,3] -> float32 [B,3,H,W] in [-1,1], channels last in memory: (value - 127.5) / 127.5."""
    images = torch.from_numpy(np.require(pixels, requirements=("C", "W")))  # faces are read-only
    if device.type == "cuda":  # from pinned memory the copy runs beside the computation
        images = images.pin_memory().to(device, non_blocking=True)
    return images.permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)


def own_images(epochs: Epochs, epoch: int, ranks: Ranks, index: Index) -> Pixels:
    """The images of this process's part of the batch ``index``."""
    return epochs.images(epoch, ranks.part(index))


def numbers(*values: Tensor) -> list[float]:
    """0-d tensors as numbers, all in one transfer: each by itself would wait for the GPU."""
    return torch.stack([value.detach().to(values[0].device).reshape(()) for value in values]).tolist()


@contextmanager
def keyed(device: torch.device, seed: int, step: int, rank: int = 0) -> Iterator[None]:
    """Random numbers of the network (dropout) depend on the arguments; torch's generators stay as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key(seed, step, "net", *([rank] if rank else [])) % 2**63)
        yield


@contextmanager
def blamed_on_the_loss() -> Iterator[None]:
    """Errors of the loss's own code end this run with a reason; those of the loop, the disk or the machine do not."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if is_lost(error):
            raise
        raise LossFailed(f"the loss raised {in_words(error)}") from error


def train(
    state: State,
    epochs: Epochs,
    recipe: Recipe,
    *,
    seed: int,
    save: Callable[[State], None],
    courses: Callable[[int], Course] = lambda epoch: constant,
    until: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    observe: Callable[[State], dict[str, float]] = lambda state: {},
    show: Callable[[State, int, dict[str, float]], None] = lambda state, total, now: None,
    ranks: Ranks = ONE,
) -> None:
    """Train ``state`` from where it stands to the end of the recipe, or to step ``until``.

    Args:
        epochs: hands out the batches of an epoch and their augmented images; the next batch's are prepared by a
            second thread during a step, where a core is free for it, which changes no result.
        courses: of an epoch, the course that tells from the share of all steps done what the hyperparameters are.
        save: keeps the state; called after every epoch and every ``recipe.checkpoint_seconds`` inside one.
        stop: asked after each step; True saves the state and raises :class:`Stopped`.
        observe: measures the network after an epoch, e.g. on the validation identities; goes into the history.
        show: told after each step: the state, the total number of steps, the step's statistics and images a second.
        ranks: the processes that train together; all call this function, with states whose losses are spread over them.
            ``observe`` is asked in process 0 only.

    Raises:
        Diverged: embeddings, loss or gradient not finite; raised *before* the update, so the weights are still good.
        LossFailed: the code of the loss raised an error.
        Stopped: ``stop`` said so.
        Lost: another process died or does not answer.
    """
    device = resolve_device(recipe.device)
    autocast = resolve_precision(recipe.precision, device) == "bf16"
    net = ranks.parallel(state.net, torch.zeros(2, 3, recipe.size, recipe.size, device=device))
    alike, spread = state.parameters()
    threads = data_threads(device.type, recipe.threads * ranks.neighbors)
    saved = time.monotonic()
    for epoch in range(state.epoch, recipe.epochs):
        batches, course = epochs.batches(epoch), courses(epoch)
        if state.step == until and state.batch < len(batches):
            return  # at the end of all its batches an epoch is still to be closed
        total = len(batches) * recipe.epochs
        state.net.train()
        state.loss.train()
        started = time.perf_counter(), time.process_time()
        images_of = partial(own_images, epochs, epoch, ranks)
        with closing(ahead(images_of, batches[state.batch :], threads)) as prepared:
            for index, pixels in prepared:
                rate = learning_rate(recipe, state.step, len(batches))
                for group in state.optimizer.param_groups:
                    group["lr"] = rate * group["scale"]
                images = to_input(pixels, device)
                labels = torch.from_numpy(epochs.labels(index)).to(device)

                state.optimizer.zero_grad(set_to_none=True)
                random = keyed(device, seed, state.step, ranks.rank)
                with random, torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                    embeddings = ranks.gather(net(images), len(index))  # [B,D] of the whole batch
                if not bool(torch.isfinite(embeddings).all()):
                    raise Diverged(f"embeddings not finite at step {state.step}, epoch {epoch + 1}", index)
                state.loss.key(seed, state.step)
                with blamed_on_the_loss():
                    state.loss.set_hyperparameters(course(state.step / total))
                    output = state.loss(embeddings, labels)
                    output.loss.backward()
                    clipped, loss = ranks.clip(output.loss, alike, spread, recipe.clip or math.inf)
                    norm, *values = numbers(clipped, loss, *output.statistics.values())
                statistics = dict(zip(("loss", *output.statistics), values, strict=True))
                if not math.isfinite(statistics["loss"]):
                    raise Diverged(f"loss {statistics['loss']} at step {state.step}, epoch {epoch + 1}", index)
                if not math.isfinite(norm):
                    raise Diverged(f"gradient norm {norm} at step {state.step}, epoch {epoch + 1}", index)
                state.optimizer.step()

                for name, value in statistics.items():
                    if math.isfinite(value):  # a batch without tuples has no active share
                        total_so_far, images_so_far = state.totals.get(name, (0.0, 0))
                        state.totals[name] = (total_so_far + value * len(index), images_so_far + len(index))
                if state.loss.targets is not None:
                    census.count(state.census, state.loss.targets)
                state.step += 1
                state.batch += 1
                state.images_seen += len(index)
                elapsed = time.perf_counter() - started[0]
                state.seconds += elapsed
                state.cpu_seconds += time.process_time() - started[1]
                show(state, total, {**statistics, "images_per_second": len(index) / max(elapsed, 1e-9)})
                halt, due = ranks.any(stop(), time.monotonic() - saved > recipe.checkpoint_seconds)
                arrived = state.step == until and state.batch < len(batches)  # the end of an epoch is saved below
                if halt or due or arrived:
                    save(state)
                    saved = time.monotonic()
                if halt:
                    raise Stopped
                if arrived:
                    return
                started = time.perf_counter(), time.process_time()

        means = {name: value / count for name, (value, count) in state.totals.items()}
        rate = learning_rate(recipe, state.step - 1, len(batches))
        observed = ranks.alone(lambda: observe(state))
        counted = census.facts(state.census, weights=epoch + 1 == recipe.epochs)
        seen = {"images_seen": state.images_seen}
        state.history.append({"epoch": epoch + 1, "learning_rate": rate, **seen, **means, **counted, **observed})
        state.clock.append(state.seconds)
        state.totals, state.census, state.batch, state.epoch = {}, census.empty(), 0, epoch + 1
        save(state)
        saved = time.monotonic()


def embed(
    net: nn.Module,
    pixels: Pixels,
    recipe: Recipe,
    *,
    project: Callable[[Tensor], Tensor] = lambda embeddings: embeddings,
    batch: int = 256,
) -> NDArray[np.float32]:
    """What is compared of crops [N,H,W,3] uint8: their embeddings [N, dim], not normalized, passed through ``project``.

    With ``recipe.flip_test`` the embedding is the sum of the crop's and its mirror image's. ``project`` is the
    :meth:`faceloss.losses.core.Loss.embed` of the loss that the net was trained with.
    """
    device = resolve_device(recipe.device)
    autocast = resolve_precision(recipe.precision, device) == "bf16"
    net.eval()
    rows = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        for start in range(0, len(pixels), batch):
            images = to_input(pixels[start : start + batch], device)
            rows.append(net(images).float())
            if recipe.flip_test:
                rows[-1] = rows[-1] + net(images.flip(3)).float()
    embeddings = torch.cat(rows) if rows else torch.zeros(0, recipe.dim, device=device)
    with torch.inference_mode():
        return project(embeddings).float().cpu().numpy()
