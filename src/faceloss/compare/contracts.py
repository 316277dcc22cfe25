"""Where images meet a model: that both were prepared alike (`faceloss.data.contract`), or that nobody knows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceloss.compare.study import Study
from faceloss.data.contract import Contract, must_agree, unknown
from faceloss.data.faces import Faces
from faceloss.errors import BadInput

ALIKE = "Prepare both alike; to go on all the same, add --any-contract."


def tests_like_training(study: Study, train: Faces, tests: Sequence[tuple[str, Faces]]) -> None:
    """Refuse a study with a test, by name, that was prepared otherwise than its training faces.

    Raises:
        BadInput: names the test and the differing parts.
    """
    if study.any_contract:
        return
    for name, faces in tests:
        must_agree(name, faces.contract, study.data, train.contract, ALIKE)


def as_begun(records: Sequence[dict[str, Any]], out: Path) -> None:
    """Refuse to go on in ``out`` with sets that were prepared otherwise than when it was begun.

    ``records`` are the "data" records of the sets of now; those of then are in ``out/plan.json``. A set of which one of
    the two does not know how it was prepared is let pass.

    Raises:
        BadInput: names the set and the differing parts.
    """
    file = out / "plan.json"
    if not file.exists():
        return
    try:
        then = json.loads(file.read_bytes())["data"]
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{file} cannot be read ({error}); start anew in another --out.") from None
    known = {(row["role"], row["name"]): row.get("contract") for row in then}
    for row in records:
        before = known.get((row["role"], row["name"]))
        remedy = "Bring its contract.json and images back, or start anew in another --out."
        must_agree(f"{row['name']} of now", row["contract"], f"that of {out}", before, remedy)


def same_as_checkpoint(faces: Faces, facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The ``facts`` of a checkpoint without the contract of its faces, which is refused where ``faces`` has another.

    Raises:
        BadInput: names the differing parts.
    """
    remedy = "Bring its contract.json and images back, or start anew in another --out."
    must_agree(
        faces.name, faces.contract, f"what {folder / 'checkpoint.json'} was trained on", facts.get("faces"), remedy
    )
    return {name: value for name, value in facts.items() if name != "faces"}


def like_the_model(what: str, faces: Faces, model: Contract | None, any_contract: bool, remedy: str = ALIKE) -> str:
    """See that faces are as a model was trained on, whose contract is ``model``; a sentence where that is not known.

    Raises:
        BadInput: names the differing parts, unless ``any_contract``.
    """
    if not any_contract:
        must_agree(what, faces.contract, "the faces that the model was trained on", model, remedy)
    return unknown({what: faces.contract, "the model's training": model})
