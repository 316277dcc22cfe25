"""A folder is worked on by one process at a time; the kernel frees the lock when that process dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceloss.errors import CouldNotFinish


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``folder``; ``wait`` seconds for a holder that is just ending.

    Raises:
        CouldNotFinish: another process holds it.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise CouldNotFinish(
                        f"{folder} is in use by another process; wait for it or stop it, or choose another --out."
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
