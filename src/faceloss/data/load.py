"""`load_faces`: from a path to a decoded, cached set of crops."""

import os
from dataclasses import replace
from pathlib import Path

from faceloss.data.cache import read_faces
from faceloss.data.contract import contract_of
from faceloss.data.entries import Source, silent
from faceloss.data.faces import Faces
from faceloss.data.sources import open_source
from faceloss.progress import Callback


def load_faces(
    path: str | os.PathLike[str],
    *,
    size: int,
    cache: Path | None = None,
    progress: Callback | None = None,
    stream: bool = False,
) -> Faces:
    """The faces behind ``path`` as crops of ``size`` × ``size`` pixels.

    ``path`` is a folder with one sub-folder per identity, the same as an uncompressed ``.tar``, a ``.csv`` with the
    columns file and identity, an InsightFace ``.rec``, WebDataset shards (``{000..004}.tar``), or the word ``builtin``
    for the rendered faces that come with the package (a folder of that name is ``./builtin``). Images that cannot be
    used are listed in ``refused``, never an error; raises BadInput if there is nothing to use, CouldNotFinish if the
    cache cannot be written. With ``stream``, the decoded images are not kept there: each is decoded when it is asked
    for.
    """
    source = open_named(path)
    faces = read_faces(source, size, cache, progress or silent, stream=stream)
    return replace(faces, contract=contract_of(path, source))


def open_named(path: str | os.PathLike[str]) -> Source:
    """`open_source`, which knows ``builtin`` too."""
    if os.fspath(path) == "builtin":
        from faceloss.data.builtin import builtin_path

        return open_source(builtin_path())._replace(name="builtin", generated=True)
    return open_source(path)
