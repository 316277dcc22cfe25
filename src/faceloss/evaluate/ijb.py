"""The lists of IJB-A, IJB-B and IJB-C as they come, for the protocol of templates.

Two sets of files are about. A file is known by its columns, and, where it has a head, by its name:

    NIST        *_1N_gallery_*.csv, *_1N_probe_*.csv, search_gallery_*.csv, verify_metadata_*.csv: a head with
                TEMPLATE_ID, SUBJECT_ID and FILENAME (FILE), a line for each face; MEDIA_ID or SIGHTING_ID where known
                *_matches.csv, verify_comparisons_*.csv: two template ids a line, no head
    InsightFace *_face_tid_mid.txt: name of the crop, template id, media id, a line for each face
                *_template_pair_label.txt: two template ids and 1 (one person) or 0

(Klare et al., CVPR 2015; Whitelam et al., CVPRW 2017; Maze et al., ICB 2018. The columns are those that two readers
of these files take: bob.db.ijbc, and insightface ``recognition/_evaluation_/ijb/ijb_11.py`` and ``ijb_1n.py``.)

The rows of the embeddings are the lines of the face list of InsightFace where it is given; the CSVs then only say who
is on a template and whether it is of a gallery. Otherwise they are the lines of the CSVs, in the order of the files.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.errors import BadInput
from faceloss.evaluate.protocol import Array
from faceloss.evaluate.scores import read_text

ROLE = re.compile(r"(?:1n|search)_(gallery|probe)(?:_[a-z]*(\d*))?", re.IGNORECASE)
MEDIA = ("MEDIA_ID", "SIGHTING_ID")
NAMES = ("FILENAME", "FILE")
KNOWN = (
    "known are CSVs with TEMPLATE_ID and SUBJECT_ID in the head, lists of two template ids (and 0 or 1) a line, and "
    "lists of name, template id and media id a line"
)


class Lists(NamedTuple):
    """Arrays of the protocol of templates (:data:`faceloss.evaluate.protocol.ARRAYS`), and a remark or ""."""

    arrays: dict[str, Array]
    note: str


class _Faces(NamedTuple):
    """The lines of one file that tells of faces."""

    templates: NDArray[np.int64]
    subjects: NDArray[np.int64] | None
    media: Array
    role: str
    own_media: bool  # media were told, not taken from the names of files


def read_lists(paths: Sequence[str | Path]) -> Lists:
    """The arrays that the files ``paths`` tell: ``templates``, ``media`` [N], and where they are known ``identities``,
    ``roles`` [N] and ``comparisons`` [M,2..3].

    Raises:
        BadInput: a file that is missing or of no known form, faces told twice, a template of two people or two roles.
    """
    heads: list[_Faces] = []
    faces: list[_Faces] = []
    pairs: list[Array] = []
    for path in map(Path, paths):
        text = read_text(path)
        if not text.strip():
            raise BadInput(f"{path} is empty.")
        first = text.partition("\n")[0]
        fields = [field.strip() for field in (first.split(",") if "," in first else first.split())]
        if "TEMPLATE_ID" in (field.upper() for field in fields):
            heads.append(_csv(path, text))
        elif len(fields) in (2, 3) and all(map(_whole, fields)):
            pairs.append(_table(path, text, range(len(fields))))
        elif len(fields) == 3 and all(map(_whole, fields[1:])):
            template, medium = _table(path, text, (1, 2)).T
            faces.append(_Faces(template, None, medium, "", True))
        else:
            raise BadInput(f"{path} is no list of IJB that is known ({len(fields)} columns, '{first[:60]}'): {KNOWN}.")
    if len(faces) > 1 or len(pairs) > 1:
        raise BadInput(f"There are {len(faces)} lists of faces and {len(pairs)} of pairs; give one of each at most.")
    if not faces and not heads:
        raise BadInput("The lists tell of no face; add the CSVs, or the list of name, template id and media id.")
    arrays = _joined(faces[0], heads) if faces else _stacked(heads)
    if pairs:
        arrays["comparisons"] = pairs[0]
    guessed = not faces and not all(one.own_media for one in heads)
    note = "the lists name no media: each file counts as one, so that a video outvotes a photograph" if guessed else ""
    return Lists(arrays, note)


def with_lists(arrays: dict[str, Array], paths: Sequence[str | Path]) -> Lists:
    """``arrays`` with a row of ``embeddings`` for each face, and what the lists tell of them."""
    found = read_lists(paths)
    rows, told = len(arrays["embeddings"]), len(found.arrays["templates"])
    if rows != told:
        raise BadInput(
            f"The lists tell of {told:,} faces, the embeddings have {rows:,} rows; give one row for each line, in the "
            "order of the lists."
        )
    if twice := sorted(found.arrays.keys() & arrays.keys()):
        raise BadInput(f"{twice[0]} are given with the embeddings and by the lists; leave one out.")
    return Lists({**arrays, **found.arrays}, found.note)


def _whole(field: str) -> bool:
    return field.removeprefix("-").isdecimal()


def _table(path: Path, text: str, columns: Sequence[int]) -> NDArray[np.int64]:
    """[M, len(columns)] of a list without a head."""
    mark = "," if "," in text.partition("\n")[0] else None
    try:
        return np.loadtxt(io.StringIO(text), np.int64, delimiter=mark, usecols=columns, ndmin=2, comments=None)
    except ValueError as reason:
        raise BadInput(f"{path} cannot be read: {len(columns)} whole numbers a line are wanted ({reason}).") from None


def _csv(path: Path, text: str) -> _Faces:
    """The faces of a CSV with a head."""
    lines = [line for line in csv.reader(io.StringIO(text)) if line]
    head = [name.strip().upper() for name in lines[0]]
    named = next((name for name in NAMES if name in head), None)
    medium = next((name for name in MEDIA if name in head), named)
    if "SUBJECT_ID" not in head or medium is None:
        raise BadInput(f"{path} has the columns {', '.join(head[:4])}; it needs TEMPLATE_ID, SUBJECT_ID, FILENAME.")
    own = {name: head.index(name) for name in ("TEMPLATE_ID", "SUBJECT_ID", medium)}
    found = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) <= max(own.values()):
            raise BadInput(f"{path}, row {number}: {len(line)} values under {len(head)} names of columns.")
        template, subject = (line[own[name]].strip() for name in ("TEMPLATE_ID", "SUBJECT_ID"))
        if not _whole(template) or not _whole(subject):
            raise BadInput(f"{path}, row {number}: template '{template}', subject '{subject}'; both are whole numbers.")
        found.append((int(template), int(subject), line[own[medium]].strip()))
    if not found:
        raise BadInput(f"{path} has a head and no face.")
    templates, subjects, media = zip(*found, strict=True)
    role = ROLE.search(path.name)
    part = "" if role is None else "probe" if role[1].lower() == "probe" else f"gallery{role[2] or ''}"
    numbers = np.array(templates, dtype=np.int64), np.array(subjects, dtype=np.int64)
    return _Faces(*numbers, np.array(media), part, medium != named)


def _stacked(heads: Sequence[_Faces]) -> dict[str, Array]:
    """A row for each line of the CSVs."""
    subjects = [one.subjects for one in heads if one.subjects is not None]
    arrays = {
        "templates": np.concatenate([one.templates for one in heads]),
        "identities": np.concatenate(subjects),
        "media": np.concatenate([one.media for one in heads]),
    }
    return arrays | _roles(np.repeat([one.role for one in heads], [len(one.templates) for one in heads]))


def _joined(faces: _Faces, heads: Sequence[_Faces]) -> dict[str, Array]:
    """A row for each line of the face list; the CSVs tell who is on a template, and its role."""
    arrays = {"templates": faces.templates, "media": faces.media}
    if not heads:
        return arrays
    told = _stacked(heads)
    roles = told.get("roles", np.full(len(told["templates"]), ""))
    ids, first = np.unique(told["templates"], return_index=True)
    place = np.searchsorted(ids, told["templates"])
    for what, column in (("subjects", told["identities"]), ("roles", roles)):
        wrong = np.flatnonzero(column != column[first][place])
        if wrong.size:
            raise BadInput(f"The lists tell of several {what} of template {told['templates'][wrong[0]]}.")
    for own, others, who in ((faces.templates, ids, "CSVs"), (ids, faces.templates, "list of faces")):
        absent = np.setdiff1d(own, others)
        if absent.size:
            raise BadInput(
                f"{absent.size:,} templates (first: {absent[0]}) are not in the {who}; give lists that agree."
            )
    place = first[np.searchsorted(ids, faces.templates)]
    return arrays | {"identities": told["identities"][place]} | _roles(roles[place])


def _roles(roles: Array) -> dict[str, Array]:
    """Roles, where there are a gallery and probes to search in it."""
    known = set(roles.tolist())
    return {"roles": roles} if "probe" in known and any(role.startswith("gallery") for role in known) else {}
