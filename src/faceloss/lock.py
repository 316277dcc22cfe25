"""A folder is worked on by one process at a time; the kernel frees the lock when that process dies.

On a folder that machines share it is the file server that frees it: at once when the process dies, after the server's
lease (90 s as NFS comes) when the machine does.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceloss.errors import CouldNotFinish


class InUse(CouldNotFinish):
    """Another process works on the folder."""


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``folder``; ``wait`` seconds for a holder that is just ending.

    Raises:
        InUse: another process holds it.
        CouldNotFinish: the file system has no locks.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    break
                raise BlockingIOError  # its holder has just removed it: whoever comes next makes another
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise InUse(
                        f"{folder} is in use by another process; wait for it or stop it, or choose another folder."
                    ) from None
                time.sleep(0.1)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                raise CouldNotFinish(
                    f"{folder} is on a file system without locks ({error.strerror}); choose a folder on another, or "
                    "have it mounted with them (Lustre: -o flock)."
                ) from error
        os.listdir(folder)  # over a network: what the holder before wrote is seen from here on
        yield
    finally:
        os.close(descriptor)
