"""What is wrong with a set of faces, by itself and for a model: `faceloss doctor DATA --model MODEL`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from faceloss.compare.contracts import like_the_model
from faceloss.data.appearance import FEWEST, compare, findings, findings_alone, from_text, mean_faces
from faceloss.data.contract import Contract, decisive
from faceloss.data.decode import Unusable, picture, strict_warnings
from faceloss.data.entries import Source
from faceloss.data.faces import Faces
from faceloss.data.load import load_faces, open_named
from faceloss.errors import BadInput

LOOKED_AT = 64  # files whose own size is compared with the contract


class Examined(NamedTuple):
    """Sentences: what is known, what is wrong, and what cannot be told."""

    facts: list[str]
    problems: list[str]
    open: list[str]


def examine(data: str, model: dict[str, Any] | None, size: int, progress: Callable[[str, int, int], None]) -> Examined:
    """Look at the faces of ``data`` at ``size`` pixels, beside what the contract of a ``model`` says, if there is one.

    Found are: files that are not of the size that ``contract.json`` says, another contract than the model's, swapped
    channels, values scaled otherwise, and, against a model that knows its training's mean face, another template or a
    shift of more than a pixel of 112 (`faceloss.data.appearance`). A shift of half a pixel is found in the pipeline
    (`faceloss.compare.self_test`), not in data.
    """
    faces, source = load_faces(data, size=size, progress=progress), open_named(data)
    facts = [f"faces: {len(faces)} images of {len(faces.identities)} identities ({len(faces.refused)} refused)"]
    problems, open_ = [], []
    if faces.contract is None:
        open_.append(f"{data} has no contract.json: nobody says how its faces were aligned and cropped.")
    else:
        template = faces.contract["template"]
        facts.append(f"contract: aligned to {template.get('name')} {template.get('version')}, {_side(faces.contract)}")
        problems += _sizes(source, faces.contract)
    groups = mean_faces(faces)
    found, untold = findings_alone(groups)
    problems += found
    if model is None:
        return Examined(facts, problems, open_ + untold)
    problems += _declared(data, faces, model)
    if model.get("mean_face") is None:
        open_.append(
            f"The model does not say what its training faces look like on average (they were of fewer than {FEWEST} "
            "identities, or it is older than this is): nothing but the contracts can be compared."
        )
        return Examined(facts, problems, open_ + untold)
    there = _mean_face(model)
    if found:  # the same again, beside the training faces
        return Examined(facts, problems, open_)
    found, untold = findings(compare(groups, there))
    return Examined(facts, problems + found, open_ + untold)


def _declared(data: str, faces: Faces, model: dict[str, Any]) -> list[str]:
    try:
        like_the_model(data, faces, model.get("faces"), False, "")
    except BadInput as error:
        return [str(error).strip()]
    return []


def _mean_face(model: dict[str, Any]) -> Any:
    try:
        return from_text(model["mean_face"])
    except (TypeError, ValueError):
        raise BadInput("The mean face in the contract of the model is damaged; hand the model over anew.") from None


def _side(contract: Contract) -> str:
    size = (decisive(contract) or {})["size"]
    return f"{size.get('width')} x {size.get('height')}" if isinstance(size, dict) else str(size)


def _sizes(source: Source, contract: Contract) -> list[str]:
    """Whether files are of the size that the contract says; a problem where one is not."""
    said, wrong = _side(contract), []
    rows = np.unique(np.linspace(0, len(source.entries) - 1, min(LOOKED_AT, len(source.entries))).astype(int))
    with strict_warnings():
        for row in rows.tolist():
            try:
                found = picture(source.entries[row].read())
            except (OSError, Unusable):
                continue  # it is among the refused
            if f"{found.width} x {found.height}" != said:
                wrong.append(f"{source.entries[row].file} ({found.width} x {found.height})")
    if not wrong:
        return []
    return [f"{len(wrong)} of {len(rows)} files are not of the size {said} that contract.json says, first {wrong[0]}."]
