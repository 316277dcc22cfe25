"""Progress: a moving line on a terminal, plain lines elsewhere, silence for short work."""

import io
from contextlib import nullcontext

import pytest

from faceloss.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_elsewhere() -> None:
    stream = io.StringIO()
    progress = Progress(stream, every=0.0)
    progress("decoding images", 1, 4)
    progress.say("done")
    assert stream.getvalue() == " 25 %  decoding images\ndone\n"


def test_one_moving_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    progress = Progress(stream)
    progress.every = 0.0
    progress("a long text " * 20, 1, 2)
    progress("short", 2, 2)
    progress.say("done")
    moves = stream.getvalue().split("\r")
    assert moves[1].startswith("[##########..........]  50 %  a long")
    assert all(len(move) < 60 for move in moves)
    assert "[####################] 100 %  short" in moves[2]
    assert moves[-1] == "done\n"


def test_short_work_is_silent() -> None:
    stream = io.StringIO()
    Progress(stream)("decoding images", 1, 4)
    assert stream.getvalue() == ""


def continuing(ending: type[BaseException] | None) -> str:
    """What a terminal shows last of work that ends in ``ending``."""
    stream = Terminal()
    progress = Progress(stream)
    progress.every = 0.0
    with pytest.raises(ending) if ending else nullcontext(), progress.continuable():
        progress("faces", 1, 2)
        if ending:
            raise ending
    return stream.getvalue().rpartition("\r")[2]


def test_who_interrupts_is_told_that_the_work_can_be_continued() -> None:
    assert continuing(KeyboardInterrupt) == "Stopped. The same command continues where it was.\n"
    assert continuing(ValueError).endswith("faces")
    assert continuing(None) == ""
