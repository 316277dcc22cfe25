"""Losses from outside the package: files of the user's own, and plug-ins of installed packages. Free of torch.

A file is held by this process as it was when it was read; editing or moving it changes nothing any more. A
plug-in is an entry point of the group ``faceloss.losses``: its name is the loss's, its value the module with ``build``.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from faceloss.errors import BadInput

if TYPE_CHECKING:
    from faceloss.losses.core import Loss

GROUP = "faceloss.losses"


class LossFile(NamedTuple):
    """A file of the user's own: the source that runs, and where it was read."""

    name: str
    path: Path
    source: bytes

    @property
    def sha256(self) -> str:
        """Of the source, in hex."""
        return hashlib.sha256(self.source).hexdigest()


class Plugin(NamedTuple):
    """A loss of an installed package, for example module "rings.losses.ring" of "rings 1.2"."""

    name: str
    module: str
    package: str


_added: dict[str, LossFile] = {}


def read(path: Path) -> LossFile:
    """The loss file at ``path``.

    Raises:
        BadInput: the file cannot be read, or its name cannot be a loss's.
    """
    name = path.stem
    if path.suffix != ".py" or not (name.isidentifier() and name.isascii()) or name.startswith("_") or name == "all":
        raise BadInput(
            f"'{path.name}' cannot be a loss file: the loss is called as its file, which must be letters, digits and _ "
            "with .py behind, and not 'all'."
        )
    try:
        return LossFile(name, path, path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); give the path of a loss file.") from error


def hold(file: LossFile) -> None:
    """Keep ``file`` in this process under its name, in place of another of that name."""
    _added[file.name] = file


def drop(name: str) -> None:
    """Keep the file called ``name`` no longer."""
    _added.pop(name, None)


def added() -> dict[str, LossFile]:
    """The files that this process holds, by name."""
    return dict(_added)


@cache  # packages are not installed under a running process, and a scan costs as much as all the rest of a listing
def plugins() -> dict[str, tuple[Plugin, ...]]:
    """The plug-ins of all installed packages, by name; more than one where packages collide."""
    offered = set()
    for entry in importlib.metadata.entry_points(group=GROUP):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed package"
        offered.add(Plugin(entry.name, entry.value.partition(":")[0].strip(), package))
    names = sorted({plugin.name for plugin in offered})
    return {name: tuple(sorted(plugin for plugin in offered if plugin.name == name)) for name in names}


def source(plugin: Plugin) -> str:
    """The source of the module of a plug-in, found without importing anything.

    Raises:
        BadInput: there is no such module, or it is not a Python file.
    """
    where, spec = None, None
    parts = plugin.module.split(".")
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        try:  # the first part through all finders, as an editable install brings its own
            spec = importlib.util.find_spec(name) if number == 1 else PathFinder.find_spec(name, where)
        except (ImportError, ValueError):
            spec = None
        where = list(spec.submodule_search_locations or ()) if spec else []
    try:
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            raise OSError
        return Path(spec.origin).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The loss {plugin.name} of {plugin.package} cannot be used: {plugin.module} is not a Python file that can "
            "be found; install that package again, or remove it."
        ) from error


def construct(name: str, dim: int, classes: int, hyperparameters: Mapping[str, float | str]) -> "Loss":
    """The loss of the file or plug-in called ``name``.

    Raises:
        BadInput: its module cannot run, its ``build`` raises what is no TypeError or ValueError, or returns no loss.
    """
    from faceloss.losses.core import Loss  # here, because it imports torch

    defined = module(name)
    try:
        loss = defined.build(dim, classes, **hyperparameters)
    except (TypeError, ValueError):
        raise  # a hyperparameter is refused
    except Exception as error:
        raise BadInput(f"build of the loss {name} raises an error: {in_words(error)}.") from error
    if not isinstance(loss, Loss):
        raise BadInput(f"build of the loss {name} must return a faceloss.losses.core.Loss; it returns {loss!r:.80}.")
    return loss


def module(name: str) -> ModuleType:
    """The module of the file or plug-in called ``name``.

    Raises:
        BadInput: it cannot run.
    """
    file = _added.get(name)
    return _run(file) if file else _import(plugins()[name][0])


def _run(file: LossFile) -> ModuleType:
    """The module of a loss file, from the source that is held."""
    name = f"faceloss_file_{file.name}_{file.sha256[:16]}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = str(file.path)
        sys.modules[name] = module  # before it runs, as dataclasses look their module up
        try:
            exec(compile(file.source, str(file.path), "exec"), module.__dict__)
        except Exception as error:
            del sys.modules[name]
            raise BadInput(
                f"{file.path} cannot be used: {in_words(error)}. A loss file stands alone: what it imports must be "
                "installed."
            ) from error
    return sys.modules[name]


def _import(plugin: Plugin) -> ModuleType:
    try:
        return importlib.import_module(plugin.module)
    except Exception as error:
        raise BadInput(f"The loss {plugin.name} of {plugin.package} cannot be used: {in_words(error)}.") from error


def in_words(error: BaseException) -> str:
    """An error as one line: what it is, what it says, and the last line outside of torch that it came through.

    >>> in_words(ValueError("no such thing"))
    'ValueError: no such thing'
    """
    said = " ".join(str(error).split())
    text = f"{type(error).__name__}: {said[:300]}" if said else type(error).__name__
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "torch" not in Path(frame.filename).parts and not frame.filename.startswith("<")
    ]
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text
