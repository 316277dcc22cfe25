"""The page of prepared crops: a pure function of the ledger, and without pictures unless asked."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from faceloss.errors import BadInput
from faceloss.report.prepared import write_prepared

PNG = bytes.fromhex("89504e470d0a1a0a")  # enough for a page, which does not decode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files: two kept (one changed), two dropped, one a copy; a name that is markup."""

    def record(file: str, status: str, reason: str = "", changes: tuple[str, ...] = (), score: float = 0.99) -> str:
        crop = f"images/{file}.png" if status != "dropped" else ""
        face = {"box": [10, 20, 40, 70], "landmarks": [], "score": score, "outside": 0.1, "crop": crop, "sha256": ""}
        row = {"file": file, "identity": file[0], "status": status, "reason": reason, "changes": changes}
        return json.dumps({**row, "sha256": "ab" * 32 if file != "b2" else "cd" * 32, "faces": [face]})

    lines = [
        record("a1", "kept"),
        record("a2", "changed", changes=("CMYK to RGB",), score=0.91),
        record("b1", "dropped", "no face found"),
        record("b2", "dropped", "no face found"),
        record("b<script>", "dropped", "empty file"),
    ]
    (tmp_path / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "contract.json").write_text(json.dumps({"contract": 1, "channels": "RGB"}))
    (tmp_path / "images").mkdir()
    for name in ("a1", "a2"):
        (tmp_path / "images" / f"{name}.png").write_bytes(PNG + name.encode())
    return tmp_path


def test_the_page_counts_what_the_ledger_says(folder: Path) -> None:
    text = write_prepared(folder).read_text()
    assert (
        "5 files: 2 kept (1 of them converted), 3 dropped; 2 crops of 1 identity; 1 identity has no crop left" in text
    )
    assert "3 files are exact copies of another one" in text
    plain = re.sub(r"<[^>]*>", " ", text)
    assert re.search(r"no face found\s+2\s+40\.0 %\s+b1, b2", plain)
    assert re.search(r"CMYK to RGB\s+1\s+20\.0 %\s+a2", plain)
    assert re.search(r"score of the detector\s+0\.910\s+0\.910\s+0\.910\s+0\.990\s+0\.990", plain)
    assert re.search(r"side of the face in the photograph, pixels\s+39", plain)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_pictures_only_on_request_and_nothing_from_elsewhere(folder: Path) -> None:
    plain, sheets = write_prepared(folder).read_text(), write_prepared(folder, sheets=True).read_text()
    assert "<img" not in plain
    assert sheets.count("<img") == 2 + 2 + 2  # evenly drawn, lowest scores, nearest the border
    assert sheets.index("a2.png (score 0.910)", sheets.index("Lowest scores")) < sheets.rindex("a1.png (score 0.990)")
    for text in (plain, sheets):
        assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:)[a-z]+:""", text)
        parser = HTMLParser()
        parser.feed(text)
        parser.close()
    assert write_prepared(folder, sheets=True).read_text() == sheets


def test_folders_without_a_ledger_are_refused(folder: Path) -> None:
    (folder / "images" / "a1.png").unlink()
    with pytest.raises(BadInput, match=r"a1\.png cannot be read"):
        write_prepared(folder, sheets=True)
    (folder / "ledger.jsonl").write_text('{"file": "x"}\n')
    with pytest.raises(BadInput, match="no finished folder of faceloss prepare"):
        write_prepared(folder)
    with pytest.raises(BadInput, match="no finished folder of faceloss prepare"):
        write_prepared(folder / "images")
