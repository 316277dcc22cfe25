"""Losses from outside in a study: what names them in its records, and the copies that make it run again.

A study keeps the source of each loss file in its runs folder, ``losses/NAME.py``, and its SHA-256 in ``study.json`` and
in the ids of the runs. The copy is what runs when the study is continued, wherever the user's file is by then. Of a
plug-in the study keeps the version, and continues with that version only.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from faceloss import losses
from faceloss.compare.study import Study
from faceloss.errors import BadInput
from faceloss.files import write_atomically
from faceloss.losses import outside

FOLDER = "losses"
FILE = re.compile(r"\s*(.*\.py)\s*(\(.*\))?\s*")  # a path, and hyperparameters


def add_files(texts: Iterable[str], specifications: Iterable[str]) -> tuple[str, ...]:
    """``specifications`` and those of the loss files ``texts``, "FILE.py" or "FILE.py(m=0.3)", which become known.

    A file that a specification names already, with the hyperparameters of its choice, adds no row of its own.

    Raises:
        BadInput: a text of another form, or a file that is no loss.
    """
    given = list(specifications)
    named = {specification.partition("(")[0].strip() for specification in given}
    paths: dict[str, Path] = {}
    for text in texts:
        match = FILE.fullmatch(text)
        if not match:
            raise BadInput(f"--loss {text}: write FILE.py or 'FILE.py(parameter=value, ...)'; names go into --losses.")
        path, arguments = Path(match.group(1)), match.group(2) or ""
        if paths.setdefault(path.stem, path) != path:
            raise BadInput(f"--loss {path} and --loss {paths[path.stem]} would both be called {path.stem}; rename one.")
        name = losses.add(path)
        if arguments or name not in named:
            given.append(name + arguments)
    return tuple(given)


def settle(study: Study) -> Study:
    """``study`` with what identifies its losses from outside: SHA-256 of files, package and version of plug-ins."""
    known = {*study.loss_files, *study.plugins}
    names = {specification.partition("(")[0].strip() for specification in study.losses} - known
    files = {name: file.sha256 for name, file in outside.added().items() if name in names}
    plugins = {name: found[0].package for name, found in outside.plugins().items() if name in names - set(files)}
    plugins = {name: package for name, package in plugins.items() if name not in losses.own_names()}
    changes = {"loss_files": study.loss_files | files, "plugins": study.plugins | plugins}
    return study.model_copy(update={field: dict(sorted(value.items())) for field, value in changes.items()})


def use(study: Study, out: Path) -> None:
    """Make the losses from outside of ``study`` known to this process: the copies in ``out`` where they are kept.

    Raises:
        BadInput: a copy is missing or changed, or another version of a plug-in is installed; says what to do.
    """
    for name, sha256 in study.loss_files.items():
        copy = out / FOLDER / f"{name}.py"
        if copy.exists():
            losses.add(copy)
        file = outside.added().get(name)
        if file is None or file.sha256 != sha256:
            raise BadInput(
                f"{copy} is not what this study began with (SHA-256 {sha256[:12]}...): put that file back, or start "
                "another study."
            )
    for name, package in study.plugins.items():
        installed = " and ".join(plugin.package for plugin in outside.plugins().get(name, ())) or "none"
        if installed != package:
            raise BadInput(
                f"The loss {name} of this study is a plug-in of {package}; installed is {installed}. Install that "
                "version, or start another study."
            )


def keep(study: Study, out: Path) -> None:
    """Write the copies of the study's loss files that are not in ``out`` yet."""
    for name in study.loss_files:
        copy = out / FOLDER / f"{name}.py"
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            write_atomically(copy, outside.added()[name].source)
