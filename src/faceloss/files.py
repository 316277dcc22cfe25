"""Files that a crash, a kill or a full disk never costs, on disks that machines share too."""

import contextlib
import errno
import os
import secrets
import time
from pathlib import Path

from faceloss.errors import CouldNotFinish

STALE = 5.0  # seconds in which a file system must have noticed that a file was replaced


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step: temporary file, fsync, rename. On failure the old file stays.

    Raises:
        CouldNotFinish: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # process numbers repeat across machines
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise could_not_write(path, error) from error


def read_shared(path: Path) -> bytes:
    """What the file ``path`` holds, which another machine may replace at this very moment.

    Over a network a name may stand for the file that was replaced for a moment more (ESTALE: NFS while it is open,
    GlusterFS for a second); it is then asked for anew, up to ``STALE`` seconds.
    """
    until = time.monotonic() + STALE
    while True:
        try:
            return path.read_bytes()
        except OSError as error:
            if error.errno != errno.ESTALE or time.monotonic() > until:
                raise
        time.sleep(0.1)


def could_not_write(path: Path, error: OSError) -> CouldNotFinish:
    """The error to raise where ``error`` kept ``path`` from being written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return CouldNotFinish(
        f"{path} could not be written ({'the disk is full' if full else error.strerror}); "
        "what was saved before is intact: make room there and resume."
    )
