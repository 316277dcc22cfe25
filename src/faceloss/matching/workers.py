"""One function over many tasks, here or in several processes that read the same arrays from files.

The arrays are written once to a temporary folder and mapped into the memory of every process, so that they are in
memory once. Results do not depend on the number of processes, only the order in which they come back does.
"""

import collections
import concurrent.futures
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from faceloss.matching.screen import Screened, Side
from faceloss.matching.vectors import mapped

Task = TypeVar("Task")
Result = TypeVar("Result")
Arrays = dict[str, Tensor]

_arrays: Arrays = {}  # of a worker process


def flat(name: str, screened: Screened) -> tuple[Arrays, tuple[str, float, bool]]:
    """The arrays of ``screened`` under names that begin with ``name``, and what is left of it; ``whole`` undoes it."""
    one = screened.side
    parts = {"values": one.values, "size": one.size, "length": one.length, "residual": one.residual}
    parts |= {"origin": screened.origin, "vectors": screened.vectors}
    return {f"{name}.{part}": values for part, values in parts.items()}, (one.kind, one.scale, one.turned)


def whole(name: str, arrays: Arrays, facts: tuple[str, float, bool]) -> Screened:
    values, size, length, residual, origin, vectors = (
        arrays[f"{name}.{part}"] for part in ("values", "size", "length", "residual", "origin", "vectors")
    )
    kind, scale, turned = facts
    side = Side(kind, values, scale, turned, size, length, residual)
    return Screened(side, origin, vectors, kind in ("float32", "float64"))


def _open(folder: str, names: Mapping[str, bool]) -> None:
    torch.set_num_threads(1)
    for name, short in names.items():
        values = mapped(Path(folder) / f"{name}.npy")
        _arrays[name] = values.view(torch.bfloat16) if short else values


def _call(function: Callable[[Arrays, Any], Any], task: Any) -> Any:
    return function(_arrays, task)


def each(
    function: Callable[[Arrays, Task], Result], arrays: Arrays, tasks: Iterable[Task], workers: int = 1
) -> Iterator[Result]:
    """``function(arrays, task)`` of every task; a task is made when its turn has come, so that it may hold what the
    results so far have taught.

    With several ``workers`` the function must be one of a module, and the caller's script must not start its work when
    it is imported (``if __name__ == "__main__"``).
    """
    if workers == 1:
        for task in tasks:
            yield function(arrays, task)
        return
    with tempfile.TemporaryDirectory(prefix="faceloss-") as folder:
        short = {name: values.dtype == torch.bfloat16 for name, values in arrays.items()}
        for name, values in arrays.items():
            np.save(Path(folder) / f"{name}.npy", (values.view(torch.int16) if short[name] else values).cpu().numpy())
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, context, _open, (folder, short)) as pool:
            waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
            for task in tasks:
                waiting.append(pool.submit(_call, function, task))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
