"""The next batches are prepared by other threads while the loop computes on the one before."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")


def ahead(
    prepare: Callable[[Item], Prepared], items: Iterable[Item], threads: int
) -> Generator[tuple[Item, Prepared], None, None]:
    """(item, prepare(item)) for each item, in order; ``threads`` items beyond the one handed out are being prepared.

    What ``prepare`` raises is raised where its item would have come. With 0 threads each item is prepared when it is
    asked for. The threads end with the generator: close it (``contextlib.closing``) when leaving early.
    """
    if threads < 1:
        for item in items:
            yield item, prepare(item)
        return
    waiting: deque[tuple[Item, Future[Prepared]]] = deque()
    with ThreadPoolExecutor(threads, "faceloss-data") as pool:
        for item in items:
            waiting.append((item, pool.submit(prepare, item)))
            if len(waiting) > threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
