"""The two ways in which a command ends badly; each message is one sentence a person can act on.

BadInput         what was given cannot be used           exit code 2
CouldNotFinish   the input was fine, the work stopped     exit code 3
"""

from collections.abc import Iterable
from difflib import get_close_matches


class FacelossError(Exception):
    """Root of the errors that the command line prints as one sentence, without a traceback."""

    exit_code = 1


class BadInput(FacelossError):
    """What was given cannot be used; nothing was changed."""

    exit_code = 2


class CouldNotFinish(FacelossError):
    """The work stopped before its end; what was done so far is kept."""

    exit_code = 3


class Told(FacelossError):
    """Another process of the same command says what is wrong; this one only ends, with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__("")
        self.exit_code = exit_code


def unknown(what: str, given: str, allowed: Iterable[str]) -> str:
    """One sentence for a name that does not exist: what was given, the nearest name, and all that is allowed.

    >>> unknown("loss", "arcfase", ["arcface", "softmax"])
    "There is no loss named 'arcfase'; did you mean 'arcface'? Known: arcface, softmax."
    """
    known = list(allowed)
    close = get_close_matches(given, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"There is no {what} named '{given}'{hint} Known: {', '.join(known)}."
