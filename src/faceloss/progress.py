"""Progress a person can follow: one moving line on a terminal, a plain line now and then elsewhere."""

import io
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Callback = Callable[[str, int, int], None]


def clock(seconds: float) -> str:
    """Seconds as people say them.

    >>> clock(42), clock(125), clock(7300)
    ('42 s', '2 min 05 s', '2 h 01 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Writes to stderr, if not ``silent``. ``say`` prints a line that stays; a call shows how far the work is."""

    def __init__(self, stream: TextIO | None = None, every: float = 10.0, *, silent: bool = False):
        self.stream = stream or (io.StringIO() if silent else sys.stderr)
        self.terminal = self.stream.isatty()
        self.every = 0.1 if self.terminal else every  # seconds between two updates
        self.last = time.monotonic()  # so that work of a second or two stays silent
        self.width = 0

    def say(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        print(line, file=self.stream, flush=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        """How far ``what`` is; shown at most every ``every`` seconds."""
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        if self.terminal:
            filled = 20 * done // max(total, 1)
            line = f"[{'#' * filled}{'.' * (20 - filled)}] {100 * done // max(total, 1):3d} %  {what}"
            line = line[: shutil.get_terminal_size().columns - 1]  # a line that wraps cannot be moved over
            print("\r" + line.ljust(self.width), end="", file=self.stream, flush=True)
            self.width = len(line)
        else:
            print(f"{100 * done // max(total, 1):3d} %  {what}", file=self.stream, flush=True)

    @contextmanager
    def continuable(self) -> Iterator[None]:
        """Around work that the same command continues: one who interrupts it is told so."""
        try:
            yield
        except KeyboardInterrupt:
            self.say("Stopped. The same command continues where it was.")
            raise
        self.clear()

    def clear(self) -> None:
        """Take the moving line away."""
        if self.terminal and self.width:
            print("\r" + " " * self.width + "\r", end="", file=self.stream)
            self.width = 0
