"""Hugging Face datasets saved to disk, read by pyarrow alone; needs the extra ``arrow``.

    FOLDER/dataset_dict.json     {"splits": ["train", "test"]}: each split is a sub-folder as below
    FOLDER/dataset_info.json     the kind of each column under "features"
    FOLDER/state.json            the names of the files; where it is missing, all *.arrow in order
    FOLDER/*.arrow               Arrow streams; the image is a column of encoded ``bytes`` (and ``path``)

The column of images is the one of kind Image; that of identities the only one of kind ClassLabel, else the first of
identity, label, labels, id. Class numbers appear under the names that the features give them.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from faceloss.data.entries import SPLIT_NAMES, Entry, Source, finish, shown
from faceloss.data.faces import Refused
from faceloss.data.shards import pad
from faceloss.errors import BadInput

_IDENTITY = ("identity", "label", "labels", "id")


def is_arrow(path: Path) -> bool:
    """A folder that ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote."""
    return (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file()


def open_arrow(path: Path) -> Source:
    """The labeled images of a dataset on disk; only labels are read now, images stay in the mapped files.

    Raises BadInput if a file is cut or missing, or no column holds encoded images or identities.
    """
    parts = {"": path}
    if (path / "dataset_dict.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not splits:
            raise BadInput(f"{path / 'dataset_dict.json'} names no splits; get the dataset anew.")
        parts = {str(split): path / str(split) for split in splits}
    rows: list[tuple[str, str | None, str, Any, int]] = []  # file, identity, split, array of bytes, place in it
    for split, folder in parts.items():
        found = _rows(folder)
        digits = len(str(max(len(found) - 1, 0)))
        before, named = (f"{split}/" if split else ""), SPLIT_NAMES.get(split.casefold(), split)
        rows += [(f"{before}{n:0{digits}d}", who, named, *where) for n, (who, *where) in enumerate(found)]
    names = pad({who for _, who, *_ in rows if who is not None})
    refused = [Refused(file, "a row without an identity", "", split) for file, who, split, *_ in rows if who is None]
    entries = [
        Entry(file, names[who], split, "", partial(_read, array, place))
        for file, who, split, array, place in rows
        if who is not None
    ]
    if not entries:
        raise BadInput(f"{path} holds no labeled images.")
    return finish(path.resolve().name, entries, refused)


def _rows(folder: Path) -> list[tuple[str | None, Any, int]]:
    """(identity, array of encoded images, place in it) of every row."""
    features = _json(folder / "dataset_info.json").get("features") or {}
    if not isinstance(features, dict):
        raise BadInput(f"{folder / 'dataset_info.json'} does not describe columns; get the dataset anew.")
    state = _json(folder / "state.json") if (folder / "state.json").is_file() else {}
    if state.get("_indices_data_files"):
        raise BadInput(f"{folder} is a selection of rows; save it again after dataset.flatten_indices().")
    try:
        listed = [folder / str(file["filename"]) for file in state.get("_data_files") or ()]
    except (TypeError, KeyError):
        raise BadInput(f"{folder / 'state.json'} does not name its files; get the dataset anew.") from None
    found: list[tuple[str | None, Any, int]] = []
    for file in listed or sorted(folder.glob("*.arrow")):
        table = _table(file)
        image, label = _columns(features, table.column_names, folder)
        kinds = features.get(label)
        classes = kinds.get("names") if isinstance(kinds, dict) else None
        who = [_identity(value, classes, file) for value in table.column(label).to_pylist()]
        place = 0
        for chunk in table.column(image).chunks:
            encoded = hasattr(chunk, "field") and chunk.type.get_field_index("bytes") >= 0
            array = chunk.field("bytes") if encoded else None
            if array is None or str(array.type) not in ("binary", "large_binary", "null"):
                raise BadInput(f"The column {image} of {file} holds no encoded images; save the dataset with them.")
            found += [(who[place + row], array, row) for row in range(len(chunk))]
            place += len(chunk)
    return found


def _table(file: Path) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise BadInput(
            f"{file.parent} is a Hugging Face dataset, which needs the extra arrow; install it with: "
            "pip install 'faceloss[arrow]'"
        ) from None
    try:
        with open(file, "rb") as stream:
            stream.seek(-8, 2)
            if (
                stream.read() != b"\xff\xff\xff\xff\0\0\0\0"
            ):  # a stream that was cut between two batches would read as a shorter one
                raise BadInput(f"{file} has no end: it was cut; get it anew.")
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
    except (OSError, pyarrow.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise BadInput(f"{file} is no readable Arrow stream ({reason}); get it anew.") from None


def _columns(features: dict[str, Any], columns: list[str], folder: Path) -> tuple[str, str]:
    def of_kind(kind: str) -> list[str]:
        return [c for c in columns if isinstance(features.get(c), dict) and features[c].get("_type") == kind]

    images = of_kind("Image") or [column for column in ("image", "img") if column in columns]
    classes = of_kind("ClassLabel")
    labels = classes if len(classes) == 1 else [column for column in _IDENTITY if column in columns]
    if len(images) != 1 or not labels:
        raise BadInput(
            f"{folder} has the columns {', '.join(map(shown, columns))}; it needs one with images, and one with the "
            "identity named identity, label, labels or id."
        )
    return images[0], labels[0]


def _identity(value: Any, classes: Any, file: Path) -> str | None:
    if value is None or value == "" or (isinstance(classes, list) and value == -1):  # -1: ClassLabel's "unknown"
        return None
    if isinstance(classes, list):
        if not isinstance(value, int) or not 0 <= value < len(classes):
            raise BadInput(f"{file} has the label {value}, but only {len(classes)} names of classes; get it anew.")
        return shown(str(classes[value]))
    if not isinstance(value, str | int):
        raise BadInput(f"{file} has the label {value!r}, which is neither a number nor a name.")
    return shown(str(value))


def _read(array: Any, place: int) -> bytes:
    data = array[place].as_py()
    if data is None:
        raise OSError("its bytes are not in the dataset")
    return bytes(data)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{path} is garbled; get the dataset anew.")
    return found
