"""InsightFace ``.bin`` pair files without unpickling them.

Such a file is a pickle of (2M encoded images, M booleans); pair i compares images 2i and 2i + 1. Unpickling a foreign
file runs whatever its author wrote into it, so only the handful of names that such files need is understood, each by a
harmless stand-in that builds plain data; any other name is refused before anything is called.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from faceloss.errors import BadInput


class _Array:
    """What a pickled NumPy array says about itself; NumPy is not asked to rebuild it."""

    def __init__(self) -> None:
        self.shape: Any = ()
        self.kind: Any = ""
        self.data: Any = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, kind, _, self.data = state
        self.kind = getattr(kind, "name", "")


class _Kind:
    """A pickled NumPy dtype: its name, e.g. ``u1``."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like say nothing for single bytes."""


class _Foreign(Exception):
    pass


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Fresh functions for every name: a file that sets attributes on them changes nothing for the next file.
        def token(*_: Any) -> Any:
            raise _Foreign(name)

        def empty_array(*_: Any) -> _Array:
            return _Array()

        def kind(*arguments: Any) -> _Kind:
            return _Kind(*arguments)

        def flat_array(data: Any, of: Any, shape: Any, *_: Any) -> _Array:
            array = _Array()
            array.__setstate__((1, shape, of, False, data))
            return array

        def scalar(of: Any, data: Any) -> Any:
            return bool(data[0]) if getattr(of, "name", "") in _BOOLEANS and len(data) == 1 else None

        def latin1(text: Any, encoding: Any) -> Any:
            return text.encode("latin1") if isinstance(text, str) and encoding in ("latin1", "latin-1") else None

        def byte_array(*arguments: Any) -> Any:
            return bytes(arguments[0]) if arguments and isinstance(arguments[0], bytes | bytearray) else b""

        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): token,
            ("numpy", "dtype"): kind,
            ("multiarray", "_reconstruct"): empty_array,
            ("multiarray", "scalar"): scalar,
            ("numeric", "_frombuffer"): flat_array,
            ("_codecs", "encode"): latin1,
            ("builtins", "bytes"): byte_array,
            ("builtins", "bytearray"): byte_array,
            ("__builtin__", "bytes"): byte_array,
            ("__builtin__", "bytearray"): byte_array,
        }
        for prefix in ("numpy.core.", "numpy._core."):
            module = module.removeprefix(prefix)
        if (module, name) not in known:
            raise _Foreign(f"{module}.{name}")
        return known[module, name]


_BYTES = ("u1", "|u1", "uint8")
_BOOLEANS = ("b1", "|b1", "bool", "?")


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """The encoded images [2M] and the answers [M] of a ``.bin`` file; raises BadInput with one sentence otherwise."""
    shape = "it must be a pickle of a list of encoded images and a list of booleans, one for each two images"
    try:
        data = path.read_bytes()
        for code, argument, _ in pickletools.genops(data):
            # The reader makes room up to the largest number used here: a few bytes could ask for all memory.
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(str(argument)) > len(data):
                raise ValueError("memory bomb")
        content = _Reader(io.BytesIO(data), encoding="bytes").load()
    except _Foreign as name:
        raise BadInput(f"{path} asks for {name}, which no pair file needs, and was not read; {shape}.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    except Exception:  # a broken pickle raises nearly anything
        raise BadInput(f"{path} is no readable pair file; {shape}.") from None
    try:
        images, answers = content
        encoded = [_as_bytes(image) for image in images]
        same = [_as_bool(answer) for answer in _as_list(answers)]
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path} is no pair file ({error}); {shape}.") from None
    if not same or len(encoded) != 2 * len(same):
        raise BadInput(f"{path} holds {len(encoded)} images and {len(same)} answers; {shape}.")
    return encoded, same


def _as_bytes(image: Any) -> bytes:
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, _Array) and image.kind in _BYTES and isinstance(image.data, bytes | bytearray):
        if int(np.prod([int(side) for side in image.shape])) == len(image.data) == max(image.shape):
            return bytes(image.data)
        # Decoded pixels do not say whether they are RGB or BGR, and a wrong guess goes unnoticed.
        raise ValueError("its images are arrays of pixels instead of encoded files")
    raise ValueError("its images are not bytes")


def _as_list(answers: Any) -> list[Any]:
    if isinstance(answers, _Array) and answers.kind in _BOOLEANS and isinstance(answers.data, bytes | bytearray):
        return [bool(value) for value in answers.data]
    if isinstance(answers, list | tuple):
        return list(answers)
    raise ValueError("its second part is no list")


def _as_bool(answer: Any) -> bool:
    if isinstance(answer, int) and answer in (0, 1):
        return bool(answer)
    raise ValueError("an answer is neither true nor false")
