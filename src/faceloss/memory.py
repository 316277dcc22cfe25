"""How much memory there is, and sums of bytes in words."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def available() -> int:
    """Bytes of memory that this process may use: all of the machine's, or what its control group allows."""
    limits = [sys.maxsize, *_control_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits)


def _control_groups(listed: Path, root: Path) -> list[int]:
    """The limits of the control groups (version 1 and 2) that the file ``listed`` names, and of those around them."""
    limits = []
    for line in listed.read_text().splitlines() if listed.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, file = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            text = (folder / file).read_text().strip() if (folder / file).exists() else "max"
            limits += [int(text)] if text.isdigit() else []
    return limits


def in_words(size: float) -> str:
    """A number of bytes.

    >>> in_words(3 * 2**30), in_words(2.5 * 2**20)
    ('3.0 GiB', '2.5 MiB')
    """
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def sum_in_words(parts: Mapping[str, float]) -> str:
    """A sum of bytes; parts of less than a hundredth of it are not named.

    >>> sum_in_words({"weights": 3 * 2**30, "gradient": 3 * 2**30, "step": 4})
    'weights 3.0 GiB + gradient 3.0 GiB = 6.0 GiB'
    """
    total = sum(parts.values())
    named = [f"{name} {in_words(size)}" for name, size in parts.items() if size >= total / 100]
    return f"{' + '.join(named)} = {in_words(total)}" if len(named) > 1 else " + ".join(named)
