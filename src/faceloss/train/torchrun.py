"""The processes that ``torchrun`` started, found and seen to be alike."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from faceloss import __version__
from faceloss.errors import BadInput, FacelossError, Told
from faceloss.train.ranks import ONE, PATIENCE, Ranks, answering

TIMEOUT = "FACELOSS_TIMEOUT"  # environment variable: seconds in which a process must answer


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that ``torchrun`` started with this one, for as long as the block lasts; else :data:`ONE`.

    Raises:
        BadInput: they were not started alike.
        Lost: one of them did not come, or was lost within the block.
        Told: an error in the block that another process tells of.
    """
    rank, size, neighbors, timeout = (
        _number("RANK", 0), _number("WORLD_SIZE", 1), _number("LOCAL_WORLD_SIZE", 1), _number(TIMEOUT, PATIENCE)
    )  # fmt: skip
    if size == 1:
        yield ONE
        return
    if not 0 <= rank < size:
        raise BadInput(f"This is process {rank} of {size} by RANK and WORLD_SIZE; start all with torchrun.")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(_number("LOCAL_RANK", 0)) % torch.cuda.device_count())
    hosting = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # torchrun has a store of its own
    with answering():
        store = _store(size, timeout, hosting)
        ranks = Ranks(int(rank), int(size), int(neighbors), store, timeout)
    try:
        with answering(), ranks.beating():
            _meet(ranks)
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(
                backend, store=PrefixStore("group", store), rank=ranks.rank, world_size=ranks.size,
                timeout=timedelta(seconds=timeout),
            )  # fmt: skip
            yield ranks
            ranks.each(lambda: None)
        ranks.leave(0, hosting=hosting)
        dist.destroy_process_group()
    except BaseException as error:
        code = error.exit_code if isinstance(error, FacelossError) else 1
        again = isinstance(error, FacelossError) and not isinstance(error, Told) and not ranks.first(error)
        ranks.leave(code, hosting=hosting)
        if again:
            raise Told(code) from error
        raise


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        number = float(text) if text else default
        if math.isfinite(number) and number >= 0 and (name != TIMEOUT or number > 0):
            return number
    except ValueError:
        pass
    raise BadInput(f"The environment variable {name} is '{text}', which is not a number that it may be.")


def _store(size: float, timeout: float, hosting: bool) -> Any:
    """The key-value store through which the processes meet."""
    host, port = os.environ.get("MASTER_ADDR"), int(_number("MASTER_PORT", 0))
    if not host or not port:
        raise BadInput(f"WORLD_SIZE is {size:g}, but MASTER_ADDR or MASTER_PORT is not set; start all with torchrun.")
    store = TCPStore(host, port, is_master=hosting, timeout=timedelta(seconds=timeout), wait_for_workers=False)
    return PrefixStore(f"faceloss {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _meet(ranks: Ranks) -> None:
    """See that all were started alike."""
    mine = {"processes": ranks.size, "faceloss": __version__, "torch": str(torch.__version__)}
    ranks.tell(f"hello of {ranks.rank}", {"result": mine})
    for rank in range(ranks.size):
        theirs = ranks.hear(f"hello of {rank}", rank)
        if theirs != mine:
            raise BadInput(f"Process {rank} is {_words(theirs)}, process {ranks.rank} {_words(mine)}; start all alike.")


def _words(mine: dict[str, Any]) -> str:
    return f"one of {mine['processes']} (faceloss {mine['faceloss']}, torch {mine['torch']})"
