"""InsightFace ``train.rec`` and ``train.idx`` (MXNet RecordIO) without MXNet.

The file is a row of parts, each at a multiple of four bytes, all numbers little-endian:

    part      magic 0xced7230a u32 | flag << 29 + length u32 | length bytes | zeros up to a multiple of 4
    flag      0 a whole record; 1, 2, 3 its first, a middle, its last part
    record    IRHeader: floats u32, label f32, id u64, id2 u64 | ``floats`` labels f32, where not 0 | image file

A record whose bytes hold the magic at a multiple of four is cut there, and the magic itself is not stored: the reader
puts it back between the parts (dmlc-core, ``recordio.h``). The index has a line ``key <tab> offset`` for each record.

InsightFace puts tables among the images, all of them without an image: record 0 with the labels (first key after the
images, last key + 1), and after the images one record for each identity. Where record 0 is an image, every record is.
The identity of an image is its first label, a class number; further labels (landmarks, say) are not used.
"""

import mmap
import os
import struct
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceloss.data.entries import MAX_FILE, Entry, Source, finish
from faceloss.errors import BadInput

MAGIC = 0xCED7230A
_MAGIC = struct.pack("<I", MAGIC)
_PART = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")


class _Record(NamedTuple):
    labels: tuple[float, ...]
    image: int  # bytes of the image; 0 in a table


def open_records(path: Path) -> Source:
    """The images of ``FOLDER/NAME.rec``, read in place, with the keys of ``FOLDER/NAME.idx`` where there is one.

    Images are called by their key, identities by their class number, both padded with zeros so that they sort as
    numbers do. Raises BadInput where the two files do not fit each other or one of them is cut or garbled.
    """
    index = path.with_suffix(".idx")
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise BadInput(f"{path} is empty; it must be a record file as InsightFace and MXNet write it.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                records = _scan(data, path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None
    keys = _read_index(index, path, list(records)) if index.is_file() else dict(enumerate(records))
    first = records[keys[0]] if 0 in keys else None
    tables = first is not None and first.image == 0 and len(first.labels) >= 2
    images = [(key, offset) for key, offset in sorted(keys.items()) if not tables or records[offset].image]
    if tables:
        assert first is not None
        _check_count(path, len(images), first.labels[0] - 1)
    if not images:
        raise BadInput(f"{path} holds no images, only tables; get the record file anew.")
    digits = len(str(images[-1][0]))
    numbers = {offset: _class_number(records[offset].labels, key, path) for key, offset in images}
    width = len(str(max(numbers.values())))
    names = {number: f"{number:0{width}d}" for number in set(numbers.values())}  # shared: there may be millions
    place = os.fspath(path)
    entries = [
        Entry(f"{key:0{digits}d}", names[numbers[offset]], "", "", partial(read_record, place, offset))
        for key, offset in images
    ]
    return finish(path.resolve().parent.name if path.stem == "train" else path.stem, entries, [])


def read_record(path: str, offset: int) -> bytes:
    """The image file inside the record at ``offset``; raises OSError where no whole record is there."""
    parts: list[bytes] = []
    with open(path, "rb") as file:
        file.seek(offset)
        while True:
            head = file.read(_PART.size)
            if len(head) < _PART.size:
                raise OSError("record file ends early")
            magic, word = _PART.unpack(head)
            flag, length = word >> 29, word & 0x1FFFFFFF
            if magic != MAGIC or (flag in (0, 1)) != (not parts):
                raise OSError("no record where the index says")
            if sum(len(part) for part in parts) + length > MAX_FILE:
                raise OSError("more than 500 MB")
            data = file.read(length)
            if len(data) < length:
                raise OSError("record file ends early")
            parts.append(data)
            if flag in (0, 3):
                break
            file.seek(-length % 4, os.SEEK_CUR)
    record = _MAGIC.join(parts)
    return record[_HEADER.size + 4 * _HEADER.unpack_from(record)[0] :]


def _scan(data: mmap.mmap, path: Path) -> dict[int, _Record]:
    """Every record by its offset, in the order of the file."""
    found: dict[int, _Record] = {}
    place = 0
    while place < len(data):
        start, head, length, flag = place, b"", 0, 1
        while True:
            if place + _PART.size > len(data):
                raise _ends_early(path, len(found))
            magic, word = _PART.unpack_from(data, place)
            flag, size = word >> 29, word & 0x1FFFFFFF
            if magic != MAGIC or flag > 3 or (flag in (0, 1)) != (place == start):
                raise BadInput(f"{path} is garbled at byte {place}: no record starts there; get the record file anew.")
            if place + _PART.size + size > len(data):
                raise _ends_early(path, len(found))
            joint = b"" if place == start else _MAGIC
            if len(head) < 1024:  # enough for the labels, wherever the record was cut
                head += joint + data[place + _PART.size : place + _PART.size + min(size, 1024)]
            length += len(joint) + size
            place += _PART.size + size + -size % 4
            if flag in (0, 3):
                break
        found[start] = _parse(head, length, start, path)
    return found


def _parse(head: bytes, length: int, start: int, path: Path) -> _Record:
    floats, label = _HEADER.unpack_from(head)[:2] if len(head) >= _HEADER.size else (0, 0.0)
    if length < _HEADER.size + 4 * floats:
        raise BadInput(f"The record at byte {start} of {path} is shorter than its own labels; get the file anew.")
    image = length - _HEADER.size - 4 * floats
    known = min(floats, (len(head) - _HEADER.size) // 4)
    return _Record(struct.unpack_from(f"<{known}f", head, _HEADER.size) if floats else (label,), image)


def _ends_early(path: Path, records: int) -> BadInput:
    return BadInput(f"{path} ends in the middle of record {records + 1}: it was cut; get the record file anew.")


def _read_index(index: Path, path: Path, offsets: list[int]) -> dict[int, int]:
    """Offset of each key; every record of the file must have exactly one."""
    keys: dict[int, int] = {}
    try:
        lines = index.read_text(encoding="ascii").splitlines()
        for line in lines:
            key, offset = line.split("\t")
            if keys.setdefault(int(key), int(offset)) != int(offset):
                raise ValueError("a key twice")
    except OSError as error:
        raise BadInput(f"{index} cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise BadInput(
            f"{index} is no index of a record file: each line must be a key of its own, a tab and an offset; "
            f"get it anew, or remove it and {path.name} is read without it."
        ) from None
    if sorted(keys.values()) != offsets:
        fitting = len(set(keys.values()) & set(offsets))
        raise BadInput(
            f"{index} and {path.name} do not belong together: the index has {len(lines)} offsets, the file "
            f"{len(offsets)} records, and {fitting} of them agree; get both anew, or remove the index and "
            f"{path.name} is read without it."
        )
    return keys


def _check_count(path: Path, images: int, told: float) -> None:
    """Record 0 tells the number of images as a 32-bit float, which from 2^24 on is a rounded number."""
    if not abs(images - told) <= float(np.spacing(np.float32(max(images, 1)))):
        raise BadInput(
            f"{path} says that it holds {told:g} images but has {images}; the record file or its index was cut or "
            "put together from two sets: get both anew."
        )


def _class_number(labels: tuple[float, ...], key: int, path: Path) -> int:
    label = labels[0]
    if not (0 <= label < 2**31 and label == int(label)):  # NaN fails the first comparison
        raise BadInput(f"Image {key} of {path} has the label {label:g}, which is no class number (0, 1, 2, ...).")
    return int(label)
