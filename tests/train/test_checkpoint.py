"""A checkpoint survives what happens to files: kills between two writes, full disks, changed bytes."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from faceloss.errors import CouldNotFinish
from faceloss.train import checkpoint


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"net.weight": torch.full((3, 2), value), "net.step": torch.tensor(7), "half": torch.ones(2).bfloat16()}


def test_round_trip(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "checkpoint", tensors(0.1), {"epoch": 3, "totals": {"loss": 0.1 + 0.2}})
    loaded = checkpoint.load(tmp_path, "checkpoint")
    assert loaded is not None
    assert loaded[1] == {"epoch": 3, "totals": {"loss": 0.1 + 0.2}}
    for name, tensor in tensors(0.1).items():
        assert loaded[0][name].dtype == tensor.dtype
        assert torch.equal(loaded[0][name], tensor)


def test_none_is_not_an_error(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path, "checkpoint") is None


def test_only_the_newest_tensors_are_kept(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        checkpoint.save(tmp_path, "checkpoint", tensors(value), {})
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.faults
@pytest.mark.parametrize("failing", [0, 1])  # the tensors' write, or the index's
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    checkpoint.save(tmp_path, "checkpoint", tensors(1.0), {"step": 1})
    calls = iter(range(10))
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CouldNotFinish, match="disk is full"):
        checkpoint.save(tmp_path, "checkpoint", tensors(2.0), {"step": 2})
    monkeypatch.undo()
    loaded = checkpoint.load(tmp_path, "checkpoint")
    assert loaded is not None
    assert loaded[1] == {"step": 1}
    assert loaded[0]["net.weight"][0, 0] == 1.0
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.faults
def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, "checkpoint", tensors(1.0), {})
    file = next(tmp_path.glob("*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(CouldNotFinish, match="SHA-256"):
        checkpoint.load(tmp_path, "checkpoint")


@pytest.mark.faults
@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"files": {"gone.safetensors": ""}, "facts": {}})])
def test_a_foreign_index_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(CouldNotFinish, match="damaged"):
        checkpoint.load(tmp_path, "checkpoint")


@pytest.mark.faults
def test_a_path_in_the_index_cannot_leave_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "run"
    inside.mkdir()
    checkpoint.save(tmp_path, "outside", tensors(1.0), {})
    document = json.loads((tmp_path / "outside.json").read_text())
    document["files"] = {"../" + file: digest for file, digest in document["files"].items()}
    (inside / "checkpoint.json").write_text(json.dumps(document))
    with pytest.raises(CouldNotFinish, match="damaged"):
        checkpoint.load(inside, "checkpoint")
