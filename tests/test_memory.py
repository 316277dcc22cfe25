"""How much memory there is, as the system and its control groups say."""

import os
from pathlib import Path

from faceloss import memory


def limits(tmp_path: Path, listed: str, files: dict[str, str]) -> list[int]:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "cgroup").write_text(listed)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return memory._control_groups(tmp_path / "cgroup", tmp_path)


def test_the_machine_has_what_its_pages_say() -> None:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 2**28 < memory.available() <= pages


def test_a_control_group_may_allow_less(tmp_path: Path) -> None:
    two = limits(tmp_path / "two", "0::/jobs/run\n", {"jobs/run/memory.max": "max\n", "jobs/memory.max": "3000\n"})
    assert two == [3000]
    one = limits(
        tmp_path / "one",
        "9:pids:/other\n4:memory:/run\n",
        {"memory/run/memory.limit_in_bytes": "500\n", "pids/other/memory.max": "1", "other/memory.max": "2"},
    )
    assert one == [500]


def test_in_a_container_the_group_is_the_root(tmp_path: Path) -> None:
    assert limits(tmp_path, "0::/\n", {"memory.max": "700"}) == [700]
    assert limits(tmp_path, "0::/\n", {"memory.max": "max"}) == []


def test_the_least_counts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(memory, "_control_groups", lambda listed, root: [12345, 2**70])
    assert memory.available() == 12345
