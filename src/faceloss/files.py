"""Writing files so that a crash, a kill or a full disk never costs what was there before."""

import contextlib
import errno
import os
from pathlib import Path

from faceloss.errors import CouldNotFinish


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step: temporary file, fsync, rename. On failure the old file stays.

    Raises:
        CouldNotFinish: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
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


def could_not_write(path: Path, error: OSError) -> CouldNotFinish:
    """The error to raise where ``error`` kept ``path`` from being written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return CouldNotFinish(
        f"{path} could not be written ({'the disk is full' if full else error.strerror}); "
        "what was saved before is intact: make room there and resume."
    )
