"""Folders on disks that machines share: locks, files that another machine replaces, names of what is written aside."""

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from faceloss import files
from faceloss.compare import search_log
from faceloss.compare.engines.session import session
from faceloss.errors import CouldNotFinish
from faceloss.files import write_atomically
from faceloss.lock import locked
from faceloss.train import checkpoint


def test_who_gets_a_lock_sees_what_the_holder_before_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS, that a file is not there is remembered for a minute, unless its folder is looked into again."""
    done: list[str] = []
    flock, listdir = fcntl.flock, os.listdir
    monkeypatch.setattr(fcntl, "flock", lambda *words: (done.append("locked"), flock(*words)))
    monkeypatch.setattr(os, "listdir", lambda path: (done.append(f"looked into {path}"), listdir(path))[1])
    with locked(tmp_path):
        assert done == ["locked", f"looked into {tmp_path}"]


def test_a_file_that_is_replaced_on_another_machine_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "session.json", b'{"token": "new"}')
    write_atomically(tmp_path / "search.json", b'{"epochs": [1], "policy": null}')
    write_atomically(tmp_path / "outside.json", b'{"files": {"/etc/passwd": ""}, "facts": {}}')
    whole = Path.read_bytes
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    stale = [errno.ESTALE] * 8

    def read(path: Path) -> bytes:
        if stale:
            raise OSError(stale.pop(), "Stale file handle")
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert session(tmp_path) == {"token": "new"}
    stale.append(errno.ESTALE)
    assert search_log.read(tmp_path)["epochs"] == [1]
    stale.append(errno.ESTALE)
    with pytest.raises(CouldNotFinish, match="it names files elsewhere"):  # read, then refused
        checkpoint.load(tmp_path, "outside")
    stale.append(errno.EIO)
    with pytest.raises(OSError, match="Stale file handle"):
        session(tmp_path)
    stale += [errno.ESTALE] * 8
    monkeypatch.setattr(files, "STALE", 0.0)
    with pytest.raises(OSError, match="Stale file handle"):
        session(tmp_path)


def test_machines_that_write_one_file_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process numbers repeat across machines, and are small and few in containers."""
    asides: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(os, "replace", lambda old, new: (asides.append(str(old)), replace(old, new)))
    for _ in range(2):
        write_atomically(tmp_path / "numerics.json", b"{}")
    assert len(set(asides)) == 2
    assert os.listdir(tmp_path) == ["numerics.json"]


def test_a_file_system_without_locks_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(CouldNotFinish, match="file system without locks"), locked(tmp_path):
        pass
