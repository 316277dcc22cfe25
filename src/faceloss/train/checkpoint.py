"""Tensors as safetensors, everything else as JSON; written so that a crash or a full disk loses nothing.

A checkpoint is two files. The tensors go into a file named after their step; then ``NAME.json``, which holds the
bookkeeping and the tensors' file name and SHA-256, is replaced in one rename. Until that rename the old checkpoint is
the valid one, so there is no moment at which none is.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from faceloss.errors import CouldNotFinish
from faceloss.files import write_atomically


def save(folder: Path, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the checkpoint ``name`` into ``folder``: ``tensors`` and the JSON-serializable ``facts``."""
    content = tensors_to_bytes({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()})
    digest = hashlib.sha256(content).hexdigest()
    file = f"{name}-{digest[:12]}.safetensors"
    write_atomically(folder / file, content)
    document = {"tensors": file, "sha256": digest, "facts": facts}
    write_atomically(folder / f"{name}.json", json.dumps(document, indent=1, sort_keys=True).encode())
    for old in folder.glob(f"{name}-*.safetensors"):
        if old.name != file:
            old.unlink(missing_ok=True)


def load(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint ``name`` of ``folder``, or None when there is none.

    Raises:
        CouldNotFinish: a file is missing, was changed (SHA-256), or is not a checkpoint.
    """
    index = folder / f"{name}.json"
    if not index.exists():
        return None
    damaged = f"The checkpoint {index} is damaged ({{}}); delete that file to start this run again from its beginning."
    try:
        document = json.loads(index.read_text())
        content = (folder / Path(document["tensors"]).name).read_bytes()
        expected, facts = document["sha256"], document["facts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CouldNotFinish(damaged.format(f"{type(error).__name__}: {error}")) from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise CouldNotFinish(damaged.format("its tensors are not those that were saved: SHA-256 differs"))
    return tensors_from_bytes(content), facts
