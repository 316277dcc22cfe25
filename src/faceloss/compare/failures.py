"""The hardest errors of a run as a record, and the pictures of them that the page may show.

Pictures lie in ``pictures.jsonl`` of the runs folder, never in the records. Those of generated faces are kept always,
those of real people only where whoever runs the command consents to show them (``show_faces``).
"""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceloss.compare.prepare import Bench, Test, prepare
from faceloss.compare.study import Study
from faceloss.errors import BadInput
from faceloss.evaluate import Judged
from faceloss.evaluate.hardest import Pair, hardest_of_matrix, hardest_of_pairs
from faceloss.evaluate.scale import WHOLE
from faceloss.files import write_atomically

Record = dict[str, Any]
FILE = "pictures.jsonl"
SIDE, QUALITY = 56, 80  # pixels, and JPEG's


def failures_record(test: Test, rows: NDArray[np.float32], judged: Judged) -> Record | None:
    """``{"kind": "failures", ...}`` at the threshold that the score histogram marks; None for sets too large."""
    faces, pairs = test.faces, test.pairs
    names = [faces.identities[label] for label in faces.labels.tolist()]
    head: Record = {"kind": "failures", "test": test.name, "false_matches": [], "false_non_matches": []}
    head |= {"threshold": judged.threshold, "threshold_far": judged.threshold_far, "status": "not measurable"}
    if judged.threshold is None:
        return head
    if pairs is not None:
        known = None if "" in faces.identities else np.array(names)
        found = hardest_of_pairs(rows, pairs.first, pairs.second, pairs.same, judged.threshold, known)
    elif len(faces) ** 2 // 2 <= WHOLE:
        found = hardest_of_matrix(rows, np.array(names), judged.threshold)
    else:
        return None

    def told(pair: Pair) -> Record:
        ends = {"first": pair.first, "second": pair.second}
        who = {end: {"file": faces.files[i], "identity": names[i]} for end, i in ends.items()}
        return {"score": round(pair.score, 6), **who}

    head |= {name: [told(pair) for pair in getattr(found, name)] for name in found._fields}
    return head | {"status": "measured"}


def keep_pictures(out: Path, bench: Bench, *, show_faces: bool = False) -> None:
    """Write ``out/pictures.jsonl``: thumbnails of the failures of each loss's first seed, by ``out/records.jsonl``.

    Generated faces only; with ``show_faces`` of all tests. The file is a function of records and faces; where there is
    nothing to show there is none.
    """
    tests = {test.name: test.faces for test in bench.tests if test.faces.generated or show_faces}
    first: dict[str, int] = {}
    wanted: dict[tuple[str, str], None] = {}
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    records = [record for record in records if record["kind"] == "failures"]
    for record in sorted(records, key=lambda record: record["seed"]):
        if first.setdefault(record["label"], record["seed"]) == record["seed"] and record["test"] in tests:
            for pair in record["false_matches"] + record["false_non_matches"]:
                wanted |= {(record["test"], pair[end]["file"]): None for end in ("first", "second")}
    rows = {name: {file: i for i, file in enumerate(faces.files)} for name, faces in tests.items()}
    lines = []
    for test, file in sorted(wanted):
        faces = tests[test]
        jpeg = base64.b64encode(thumbnail(faces.pixels[rows[test][file]])).decode()
        row = {"kind": "picture", "test": test, "file": file, "generated": faces.generated, "jpeg": jpeg}
        lines.append(json.dumps(row, sort_keys=True) + "\n")
    if lines:
        write_atomically(out / FILE, "".join(lines).encode())
    else:
        (out / FILE).unlink(missing_ok=True)


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG of at most ``SIDE`` pixels a side, without metadata."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def keep_anew(out: Path) -> None:
    """`keep_pictures` with consent, of a study that is done: its faces are read again.

    Raises:
        BadInput: they are no longer there, or no longer those of the study.
    """
    study = Study.model_validate_json((out / "study.json").read_bytes())
    bench = prepare(study)
    held = [record["digest"] for record in json.loads((out / "plan.json").read_text())["data"]]
    if [record["digest"] for record in bench.records] != held:
        raise BadInput(f"The faces of {out} have changed since they were compared; their pictures cannot be shown.")
    keep_pictures(out, bench, show_faces=True)
