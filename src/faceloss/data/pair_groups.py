"""The paths of several pair lists that are one test, a list a group, as in RFW (Wang et al., ICCV 2019).

    rfw/{African,Asian,Caucasian,Indian}_test.bin
    txts/{African,Asian,Caucasian,Indian}/{African,Asian,Caucasian,Indian}_pairs.txt

Braces hold the names of the groups; where they stand twice, each list has the same name in both places.
"""

import os
import re
from pathlib import Path

from faceloss.errors import BadInput

_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def group_lists(path: str | os.PathLike[str]) -> dict[str, Path]:
    """The pair list of each group, in the order named; empty if ``path`` names no groups or is there as it stands.

    >>> list(group_lists("rfw/{African,Asian}_test.bin"))
    ['African', 'Asian']

    Raises:
        BadInput: two braces that differ, a name that is empty or given twice.
    """
    text = os.fspath(path)
    found = _BRACES.findall(text)
    if not found or os.path.exists(text):
        return {}
    names = [name.strip() for name in found[0].split(",")]
    if len(set(found)) > 1 or "" in names or len(set(names)) < len(names):
        raise BadInput(
            f"{text} does not name the lists of groups; braces hold each group once, and the same ones wherever they "
            "stand: 'rfw/{African,Asian,Caucasian,Indian}_test.bin'."
        )
    return {name: Path(_BRACES.sub(lambda _, name=name: name, text)) for name in names}  # type: ignore[misc]


def short(path: str | os.PathLike[str]) -> Path:
    """``path`` with ``*`` in place of the names of groups: ``rfw/*_test.bin``."""
    return Path(_BRACES.sub("*", os.fspath(path)) if group_lists(path) else path)
