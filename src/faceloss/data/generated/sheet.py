"""A contact sheet of a generated set: one row per identity."""

import io
from pathlib import Path

from PIL import Image

from faceloss.data.sources import open_source
from faceloss.files import write_atomically


def write_sheet(data: Path, path: Path, *, identities: int = 8, images: int = 10) -> None:
    """The first images of the first identities of a set of faces, as a PNG."""
    rows: dict[str, list[Image.Image]] = {}
    for entry in open_source(data).entries:
        row = rows.setdefault(entry.identity, [])
        if len(row) < images and len(rows) <= identities:
            row.append(Image.open(io.BytesIO(entry.read())).convert("RGB"))
    shown = list(rows.values())[:identities]
    width, height = shown[0][0].size
    sheet = Image.new("RGB", (width * max(map(len, shown)), height * len(shown)))
    for down, row in enumerate(shown):
        for right, picture in enumerate(row):
            sheet.paste(picture, (right * width, down * height))
    file = io.BytesIO()
    sheet.quantize(256).save(file, "PNG", optimize=True)  # a palette halves the file
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.getvalue())
