"""One run on several processes, as ``torchrun`` starts them: what they do together.

Each process passes its part of every batch through the net. The embeddings are gathered, so that all have the loss of
the whole batch, each for the classes that it holds (:mod:`faceloss.losses.spread`); the net's gradients are summed.
What concerns files, measures and people is done by process 0, for which the others wait.
"""

import hashlib
import inspect
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from faceloss.errors import CouldNotFinish, Told
from faceloss.losses.shards import gather
from faceloss.train.rows import clip_gradients, gradients, scale_down

PATIENCE = 300.0  # seconds in which a process must answer


class Lost(CouldNotFinish):
    """Another process of the run died, or does not answer."""


class Ranks:
    """The processes of a run, seen from one of them. :data:`ONE` is the only process of a run."""

    def __init__(
        self, rank: int = 0, size: int = 1, neighbors: int = 1, store: Any = None, timeout: float = PATIENCE
    ) -> None:
        self.rank, self.size, self.store, self.timeout = rank, size, store, timeout
        self.neighbors = neighbors  # processes on this machine, this one among them
        self.turn = 0  # of things done together

    def counts(self, total: int) -> list[int]:
        """How many of ``total`` images each process has; they differ by one at most."""
        return [total * (rank + 1) // self.size - total * rank // self.size for rank in range(self.size)]

    def part(self, batch: Any) -> Any:
        """The part of ``batch``, an array of image numbers, that is this process's."""
        if self.size == 1:
            return batch
        counts = self.counts(len(batch))
        low = sum(counts[: self.rank])
        return batch[low : low + counts[self.rank]]

    def parallel(self, net: nn.Module, example: Tensor) -> nn.Module:
        """``net`` itself, but that its gradients are the sum of those of all processes after each backward pass.

        Statistics of batch normalization are those of a process's own part; process 0's are kept.
        """
        if self.size == 1:
            return net
        kind = nn.parallel.DistributedDataParallel
        named = inspect.signature(kind).parameters  # PyTorch 2.13 renamed the option about buffers
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers"
        parallel = kind(net, **{buffers: False})  # type: ignore[arg-type]
        parallel.register_comm_hook(None, _summed)
        # After its first pass it lays out anew the buckets in which it sums, and a sum in another order has other last
        # bits: with that pass behind it, a run that is continued has the bits of one that was not interrupted.
        net.eval()
        parallel(example).sum().backward()
        net.zero_grad(set_to_none=True)
        return parallel

    def gather(self, embeddings: Tensor, total: int) -> Tensor:
        """The embeddings [total,D] of the whole batch from those of this process's part."""
        return embeddings if self.size == 1 else gather(embeddings, self.counts(total))

    def clip(
        self, loss: Tensor, alike: list[nn.Parameter], spread: list[nn.Parameter], limit: float
    ) -> tuple[Tensor, Tensor]:
        """Scale the gradients to a norm of at most ``limit``, over all processes; that norm before, and ``loss``.

        ``alike`` are parameters that all processes have, with equal gradients; of ``spread`` each has a part. What is
        not finite in one process is so in all of them afterwards.
        """
        if self.size == 1:
            return clip_gradients([*alike, *spread], limit), loss
        held = [gradients(some) for some in (alike, spread)]
        mine = [nn.utils.get_total_norm(some).to(loss.device, torch.float64) for some in held]
        sums = torch.stack([mine[0].square() / self.size, mine[1].square(), loss.detach().double() / self.size])
        dist.all_reduce(sums)
        norm = (sums[0] + sums[1]).sqrt()
        scale_down([*held[0], *held[1]], limit, norm)
        return norm, sums[2]

    def any(self, *flags: bool) -> list[bool]:
        """Each flag: whether it is set in any process."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def alone(self, work: Callable[[], Any]) -> Any:
        """What ``work`` returns, as JSON holds it, in process 0, the only one to call it; the others wait for it."""
        return work() if self.size == 1 else self.each(work if self.rank == 0 else lambda: None)[0]

    def each(self, work: Callable[[], Any]) -> list[Any]:
        """What ``work`` returns, as JSON holds it, in each process, which may take its time as long as it is alive.

        Raises:
            Told: another process ended with an error instead.
            Lost: a process died, or gave no sign of life for ``timeout`` seconds.
        """
        if self.size == 1:
            return [work()]
        answer = work()
        key = f"turn {self.turn} of "
        self.tell(f"{key}{self.rank}", {"result": answer})
        self.turn += 1
        return [answer if rank == self.rank else self.hear(f"{key}{rank}", rank) for rank in range(self.size)]

    def heard(self) -> bool:
        """Whether process 0 has told what the others wait for next."""
        with answering():
            return bool(self.store.check([f"turn {self.turn} of 0"]))

    def leave(self, exit_code: int, *, hosting: bool) -> None:
        """Tell those who wait for this process, now or later, that it ends; who hosts the store sees the others off."""
        with suppress(Lost), answering():
            self.tell(f"turn {self.turn} of {self.rank}", {"exit": exit_code})
            self.tell(f"end of {self.rank}", {})
            until = time.monotonic() + min(5.0, self.timeout)
            while hosting and time.monotonic() < until:
                if self.store.check([f"end of {rank}" for rank in range(self.size)]):
                    break
                time.sleep(0.02)

    def first(self, error: Exception) -> bool:
        """Whether no other process has said what ``error`` says; of a loss each has its own words."""
        words = "lost" if isinstance(error, Lost) else hashlib.sha256(str(error).encode()).hexdigest()
        try:
            said: int = self.store.add(f"said {words}", 1)
        except RuntimeError:  # the store is gone
            return True
        return said == 1

    @cached_property
    def mesh(self) -> DeviceMesh:
        """All processes in a row, for what they save together."""
        return init_device_mesh("cpu", (self.size,))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Within it, the others see that this process is alive, whatever it does."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(min(5.0, self.timeout / 4)):
                try:
                    self.store.add(f"beat of {self.rank}", 1)
                except RuntimeError:  # the store is gone
                    return

        thread = threading.Thread(target=beat, name="faceloss-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(self.timeout)  # one that is ended within C++ would abort the process

    def tell(self, key: str, answer: Any) -> None:
        """Let the others know ``answer`` under ``key``."""
        with answering():
            self.store.set(key, json.dumps(answer))

    def hear(self, key: str, rank: int) -> Any:
        """What process ``rank`` told under ``key``; waits for it as long as that process is alive."""
        pause, seen, since = 0.001, -1, time.monotonic()
        with answering():
            while not self.store.check([key]):
                beats = self.store.add(f"beat of {rank}", 0)
                if beats != seen:
                    seen, since = beats, time.monotonic()
                elif time.monotonic() - since > self.timeout:
                    raise Lost(lost(f"process {rank} gave no sign of life for {self.timeout:g} s"))
                time.sleep(pause)
                pause = min(2 * pause, 0.25)
            found = json.loads(self.store.get(key))
        if "exit" in found:
            raise Told(found["exit"])
        return found["result"]


ONE = Ranks()


@contextmanager
def answering() -> Iterator[None]:
    """Errors of the connection to other processes within it are :class:`Lost`."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        words = re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0])  # without the place in gloo's source
        raise Lost(lost(words.partition(". ")[0])) from error


def is_lost(error: BaseException) -> bool:
    """Whether ``error`` says that another process was lost; gloo's errors have no type of their own."""
    return isinstance(error, Lost | dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def lost(why: str) -> str:
    return f"another process of this run was lost ({why})"


def _summed(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Gradients are summed: each process has passed on those of its own part of the batch."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda future: future.value()[0])  # type: ignore[no-any-return]
