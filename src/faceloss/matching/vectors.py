"""Vectors as they are given: checked, at length 1, in memory or in a file."""

import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from faceloss.errors import BadInput


def mapped(path: Path) -> Tensor:
    """The array of an .npy file, mapped into memory: only what is looked at is read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}; give an .npy file of embeddings [N,D].") from None
    except (OSError, ValueError, EOFError) as reason:
        raise BadInput(f"{path} cannot be read as an .npy file of numbers ({reason}).") from None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # nobody writes
        return torch.from_numpy(array)


def checked(vectors: ArrayLike | Tensor, what: str, dim: int | None = None) -> Tensor:
    """[N,D] float32 as they are; refuses NaN, infinity, zeros and a dimension other than ``dim``."""
    x = vectors if isinstance(vectors, Tensor) else torch.from_numpy(_numbers(vectors, what))
    if x.ndim != 2 or not x.numel():
        raise BadInput(f"The {what} have shape {tuple(x.shape)}; give a row of numbers per image.")
    if dim is not None and x.shape[1] != dim:
        raise BadInput(f"The {what} have {x.shape[1]} dimensions, the others {dim}; use one network for both.")
    x = x.float()
    largest = x.abs().amax(1)  # NaN where a row holds NaN
    if bad := int((~torch.isfinite(largest)).sum()):
        raise BadInput(f"{bad} of {len(x)} {what} hold NaN or infinity; the run diverged or the file is damaged.")
    if bad := int((largest == 0).sum()):
        raise BadInput(f"{bad} of {len(x)} {what} are zero vectors without a direction; leave them out.")
    return x


def unit(vectors: ArrayLike | Tensor, what: str = "embeddings", dim: int | None = None) -> Tensor:
    """[N,D] float32 of length 1; refuses what has no direction. Vectors within 1e-6 of that length stay as they are."""
    x = checked(vectors, what, dim)
    largest = x.abs().amax(1, keepdim=True)
    scaled = x / largest  # so that the norm neither overflows nor underflows
    norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return torch.where((norm * largest - 1).abs() <= 2.0**-20, x, scaled.div_(norm))


def _numbers(values: ArrayLike, what: str) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise BadInput(f"The {what} have type {array.dtype}; give numbers.")
    return np.ascontiguousarray(array, dtype=np.float32)


def whose(labels: ArrayLike, n: int, what: str = "identities") -> Tensor:
    """[n] int64."""
    array = np.asarray(labels)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise BadInput(
            f"The {what} have shape {array.shape} and type {array.dtype}; give a whole number per image, {n}."
        )
    return torch.from_numpy(array.astype(np.int64))
