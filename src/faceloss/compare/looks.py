"""How often a test was looked at: a choice among many results on one test makes the chosen one look better than it is.

``looks/<digest of the test>.jsonl`` beside the cache of decoded faces holds one line per look: what was judged (a run
of a comparison, a file of embeddings), by which command, and when. The same thing judged again is no new look. Of k
equal losses whose results have a standard error e the best looks better by e times the expected largest of k normal
numbers.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped]

from faceloss.data.cache import cache_folder
from faceloss.data.faces import Faces, PairList


class Looks(NamedTuple):
    """``total`` different things were judged on the test so far, in ``sessions`` commands; ``new`` of them now."""

    total: int
    sessions: int
    new: int

    @property
    def luck(self) -> float:
        """By how many standard errors the best of so many equals is expected to look too good."""
        return best_of(self.total)

    def sentence(self, test: str) -> str:
        """For people."""
        if self.total == 1:
            return f"First look at {test}."
        return (
            f"Looks at {test} so far: {self.total}. The best of so many equals would look {self.luck:.1f} standard "
            "errors too good."
        )


def best_of(count: int) -> float:
    """Expected largest of ``count`` independent standard normal numbers.

    >>> round(best_of(2), 4), round(best_of(30), 3)
    (0.5642, 2.043)
    """
    x = np.linspace(-10, 10, 8000)  # an even number, so that the jump at 0 lies in the middle of a step
    tail = 1 - ndtr(x) ** count - (x < 0)  # E = integral of P(max > x) over x > 0, minus that of P(max < x) over x < 0
    return float(np.trapezoid(tail, x))


def look(digest: str, things: Iterable[str], session: str, cache: Path | None = None) -> Looks:
    """Note that ``things`` (ids or hashes) were judged on the test ``digest`` by the command ``session``, and count.

    A record that cannot be written or read never stops a comparison: the count is then that of what can be.
    """
    file = cache_folder(cache) / "looks" / f"{re.sub(r'[^A-Za-z0-9]', '_', digest)[:80]}.jsonl"
    known: dict[str, str] = {}
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, KeyError):
                entry = json.loads(line)
                known[str(entry["what"])] = str(entry["session"])
    new = [thing for thing in dict.fromkeys(things) if thing not in known]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [json.dumps({"what": thing, "session": session, "when": when}) + "\n" for thing in new]
    if lines:
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, "".join(lines).encode())  # one write: lines of two processes do not mix
            finally:
                os.close(handle)
    known |= dict.fromkeys(new, session)
    return Looks(len(known), len(set(known.values())), len(new))


def test_digest(faces: Faces, pairs: PairList | None) -> str:
    """SHA-256 of a test: its faces and, where it is a list, its pairs."""
    if pairs is None:
        return faces.digest
    total = hashlib.sha256(faces.digest.encode())
    for column in (pairs.first, pairs.second, pairs.same, pairs.fold):
        total.update(column.tobytes())
    return total.hexdigest()


def model_hash(folder: Path) -> str:
    """SHA-256 of the trained network in the folder of a run, as its contract says it; "" where there is none."""
    with suppress(OSError, ValueError, KeyError, AttributeError):
        files = json.loads((folder / "model.json").read_text(encoding="utf-8"))["files"]
        return hashlib.sha256("".join(sorted(files.values())).encode()).hexdigest()
    return ""
