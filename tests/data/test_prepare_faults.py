"""Forty broken and odd files, kills, flipped bits, processes that die: the ledger accounts for every file."""

import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloss.data.decode import MAX_PIXELS
from faceloss.data.entries import Entry
from faceloss.data.photographs import pool
from faceloss.data.photographs.detector import choose_detector
from faceloss.data.photographs.prepare import prepare, read_ledger
from faceloss.data.photographs.select import Selection
from faceloss.data.photographs.work import CRASHED, Job, Settings
from faceloss.errors import CouldNotFinish

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("detection")]

FACE = (50, 30, 110)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}), **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def forty(photograph) -> dict[str, tuple[bytes | None, str, tuple[str, ...]]]:
    """name -> (content, None: made by the test; reason, "" = it has a crop; changes)."""
    face = photograph(1, FACE)
    pixels = np.asarray(face)
    gray = face.convert("L")
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    deep = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels.astype(np.uint16) * 257)
    clear = face.convert("RGBA")
    clear.putpixel((0, 0), (9, 9, 9, 0))
    other = face.rotate(9)
    back = Image.Transpose
    stored = {2: back.FLIP_LEFT_RIGHT, 3: back.ROTATE_180, 4: back.FLIP_TOP_BOTTOM, 5: back.TRANSPOSE}
    stored |= {6: back.ROTATE_90, 7: back.TRANSVERSE, 8: back.ROTATE_270}
    files: dict[str, tuple[bytes | None, str, tuple[str, ...]]] = {"plain.png": (encoded(face, "PNG"), "", ())}
    for orientation, change in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(face.transpose(change), "PNG", exif=exif.tobytes())
        files[f"exif{orientation}.png"] = (data, "", ("turned upright by EXIF",))
    files |= {
        "16bit.png": (encoded(wide, "PNG"), "", ("gray to RGB", "16 bits to 8")),
        "16bit.tif": (encoded(wide, "TIFF"), "", ("gray to RGB", "16 bits to 8")),
        "deep.png": (png(*face.size, 16, deep), "", ("16 bits to 8",)),
        "cmyk.jpg": (encoded(face.convert("CMYK")), "", ("CMYK to RGB",)),
        "gray.jpg": (encoded(gray), "", ("gray to RGB",)),
        "alpha.png": (encoded(clear, "PNG"), "", ("alpha channel over black",)),
        "palette.png": (encoded(face.quantize(256), "PNG"), "", ("palette to RGB",)),
        "moving.gif": (
            encoded(face, "GIF", save_all=True, append_images=[other]),
            "",
            ("palette to RGB", "first of several frames"),
        ),
        "moving.webp": (
            encoded(face, "WEBP", save_all=True, append_images=[other], lossless=True),
            "",
            ("alpha channel over black", "first of several frames"),
        ),
        "two.mpo.jpg": (
            encoded(face, "MPO", save_all=True, append_images=[other], quality=95),
            "",
            ("first of several frames",),
        ),
        "float.tif": (encoded(Image.fromarray(np.asarray(gray) / np.float32(255)), "TIFF"), "", ("floats to RGB",)),
        "really-png.jpg": (encoded(face, "PNG"), "", ("named as JPEG, is PNG",)),
        "no-ending": (encoded(face), "", ("named as something else, is JPEG",)),
        "sm\u00f8rbr\u00f8d \U0001f600.png": (encoded(face, "PNG"), "", ()),
        os.fsdecode(b"latin\xff.png"): (encoded(face, "PNG"), "", ()),
        "two\nlines.png": (encoded(face, "PNG"), "", ()),
        "x" * 246 + ".png": (encoded(face, "PNG"), "", ()),
        "same.PNG": (encoded(face, "PNG"), "", ()),
        "same.bmp": (encoded(face, "BMP"), "", ()),
        # From here on none has a crop.
        "empty.jpg": (b"", "empty file", ()),
        "page.jpg": (b"<!DOCTYPE html><html>not found</html>", "a web page, not an image", ()),
        "notes.txt": (b"buy milk", "not an image", ()),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC, which cannot be read here", ()),
        "cut.jpg": (encoded(face)[:2000], "truncated or corrupt", ()),
        "cut.png": (encoded(face, "PNG")[:9000], "truncated or corrupt", ()),
        "bomb.png": (png(20_000, 20_000, 8, bytes(1000)), "more than 50 megapixels", ()),
        "sliver.png": (encoded(face.resize((840, 20)), "PNG"), "a sliver, one side more than 20 times the other", ()),
        "dot.png": (encoded(face.resize((5, 5)), "PNG"), "a side under 8 pixels", ()),
        "stars.tif": (
            encoded(Image.fromarray(np.full((90, 90), 1e9, np.float32)), "TIFF"), "floats outside 0..255", (),
        ),
        "landscape.png": (encoded(photograph(2), "PNG"), "no face found", ()),
        "half.png": (encoded(photograph(8, (-38, 40, 110)), "PNG"), "cut by the border", ()),
        ".hidden.jpg": (encoded(face), "hidden", ()),
        "pipe.jpg": (None, "cannot be read (not a regular file)", ()),
        "gone.jpg": (None, "no such file", ()),
        "loop.jpg": (None, "cannot be read (Too many levels of symbolic links)", ()),
    }  # fmt: skip
    return files


def planted(root: Path, photograph) -> dict[str, tuple[bytes | None, str, tuple[str, ...]]]:
    files = forty(photograph)
    (root / "ann").mkdir(parents=True)
    for name, (data, _, _) in files.items():
        if data is not None:
            (root / "ann" / name).write_bytes(data)
    os.mkfifo(root / "ann" / "pipe.jpg")
    (root / "ann" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "ann" / "loop.jpg").symlink_to("loop.jpg")
    (root / "ann" / "again").symlink_to(root / "ann")
    return files


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_forty_planted_files_come_out_as_they_must(tmp_path, photograph):
    files = planted(tmp_path / "in", photograph)
    assert len(files) >= 40
    done = prepare(tmp_path / "in", tmp_path / "out")
    ledger = {row["file"]: row for row in read_ledger(tmp_path / "out" / "ledger.jsonl")}
    link = ledger.pop("ann/again")
    assert (link["status"], link["reason"]) == ("dropped", "a link to a folder that was already read")
    shown = {
        f"ann/{name.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')}": name for name in files
    }
    assert ledger.keys() == shown.keys()
    crops = {}
    for file, name in shown.items():
        data, reason, changes = files[name]
        row = ledger[file]
        assert (row["reason"], tuple(row["changes"])) == (reason, changes), file
        assert row["status"] == ("dropped" if reason else "changed" if changes else "kept"), file
        if data is not None and reason != "hidden":
            assert row["sha256"] == hashlib.sha256(data).hexdigest()
            assert row["bytes"] == len(data)
        if not reason:
            (found,) = row["faces"]
            written = (tmp_path / "out" / found["crop"]).read_bytes()
            assert found["sha256"] == hashlib.sha256(written).hexdigest()
            crops[name] = np.asarray(Image.open(io.BytesIO(written)), float)
            assert (row["width"], row["height"]) == (220, 200)
    assert sorted(p.name for p in (tmp_path / "out" / "images" / "ann").iterdir()) == sorted(
        Path(face["crop"]).name for row in ledger.values() for face in row["faces"] if face["crop"]
    )
    # The same photograph in all disguises: the lossless ones to the bit, the others nearly.
    plain = crops.pop("plain.png")
    assert plain.std() > 20
    for name, crop in crops.items():
        gray = np.abs(np.diff(crop, axis=2)).max() < 3
        exact = name.startswith(("exif", "deep", "moving.webp", "really", "sm", "latin", "two\n", "x", "same"))
        assert gray == name.startswith(("16bit", "gray", "float")), name
        off = np.abs(crop.mean(2) - (plain @ [0.299, 0.587, 0.114] if gray else plain.mean(2)))
        assert off.max() == 0 if exact else off.mean() < 12, (name, off.mean())
    assert done.kept + done.changed == len(crops) + 1
    assert done.dropped == len(files) + 1 - done.kept - done.changed


def test_after_any_kill_the_bytes_are_the_same(tmp_path, photograph):
    source = tmp_path / "in"
    for number in range(160):
        (source / f"p{number % 5}").mkdir(parents=True, exist_ok=True)
        photograph(number % 20, FACE).save(source / f"p{number % 5}" / f"{number:03d}.jpg")
    prepare(source, tmp_path / "whole", processes=2)
    expected = contents(tmp_path / "whole")
    assert len(expected) == 160 + 4
    out = tmp_path / "out"
    command = [sys.executable, "-m", "faceloss.cli.main", "prepare", str(source), str(out), "--processes", "2"]
    killed = 0
    for jobs in (0, 1, 3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while len(list(out.glob(".work/*/*.jsonl"))) <= jobs and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2  # the last may have been too fast for us
    # What a power failure can do to files that were not synced, and a photograph that changed meanwhile and back.
    crops = sorted(out.rglob("*.png"))
    crops[0].write_bytes(crops[0].read_bytes()[:100])
    crops[1].unlink()
    lines = next(iter(out.glob(".work/*/*.jsonl")), None)
    if lines:
        lines.write_bytes(lines.read_bytes()[:-20])
    subprocess.run([*command[:-1], "1"], check=True, capture_output=True)
    found = contents(out)
    assert found.pop("prepare.html").startswith(b"<!doctype html>")
    assert found == expected


def test_a_photograph_that_changed_is_done_again(tmp_path, photograph, monkeypatch):
    from faceloss.data.photographs import prepare as module

    (tmp_path / "in").mkdir()
    for number in range(2):
        photograph(number, FACE).save(tmp_path / "in" / f"{number}.png")

    def stop(*_: object) -> None:
        raise CouldNotFinish("stopped")

    monkeypatch.setattr(module, "_finish", stop)
    with pytest.raises(CouldNotFinish, match="stopped"):
        prepare(tmp_path / "in", tmp_path / "out")
    monkeypatch.undo()
    photograph(7, FACE).save(tmp_path / "in" / "0.png")
    prepare(tmp_path / "in", tmp_path / "out")
    prepare(tmp_path / "in", tmp_path / "anew")
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


def test_flipped_bits_crash_nothing(tmp_path, photograph):
    random = np.random.default_rng(0)
    face = photograph(1, (5, 3, 80), width=90, height=86)
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "tif": "TIFF"}
    kinds |= {"bmp": "BMP", "avif": "AVIF", "jp2": "JPEG2000", "ppm": "PPM"}
    whole = {ending: encoded(face, kind) for ending, kind in kinds.items()}
    (tmp_path / "in").mkdir()
    for number in range(500):
        ending = list(whole)[number % len(whole)]
        data = bytearray(whole[ending])
        # Half of the flips hit the first bytes: headers are where decoders believe what they read.
        for place in random.integers(0, len(data) if number % 2 else 200, 1 + number % 7):
            data[place] ^= 1 << int(random.integers(8))
        (tmp_path / "in" / f"{number:03d}.{ending}").write_bytes(data)
    done = prepare(tmp_path / "in", tmp_path / "out", selection=Selection(smallest=20), processes=2)
    assert done.files == 500
    assert done.kept + done.changed >= 100
    assert done.dropped >= 100
    known = {"not an image", "truncated or corrupt", "no face found", "only doubtful faces", "several faces"}
    known |= {"cut by the border", "more than 50 megapixels", "a side under 8 pixels", "only small faces"}
    known |= {"a sliver, one side more than 20 times the other"}
    assert done.reasons.keys() <= known


def test_a_file_that_kills_a_process_is_named_and_the_rest_is_done(tmp_path, photograph):
    entries = [
        Entry(f"{number}.png", "", "", "", partial(bytes, encoded(photograph(number, FACE), "PNG")))
        for number in range(6)
    ]
    entries[2] = entries[2]._replace(read=partial(os._exit, 11))
    entries[5] = entries[5]._replace(read=os.abort)
    jobs = [Job(n, tuple(entries[3 * n : 3 * n + 3]), ("a", "b", "c")) for n in range(2)]
    (tmp_path / ".work").mkdir()
    settings = Settings(tmp_path, "64", "png", Selection(), choose_detector("mtcnn"))
    steps: list[int] = []
    pool.run(jobs, settings, 2, lambda what, done, total: steps.append(done))
    reasons = {row["file"]: row["reason"] for n in range(2) for row in pool.records(tmp_path, n)}
    assert reasons == {"0.png": "", "1.png": "", "2.png": CRASHED, "3.png": "", "4.png": "", "5.png": CRASHED}
    assert steps[-1] == 6


def test_a_pool_that_cannot_start_blames_no_file(tmp_path):
    broken = choose_detector("mtcnn")._replace(models={"p": b"no model"})
    (tmp_path / ".work").mkdir()
    settings = Settings(tmp_path, "64", "png", Selection(), broken)
    job = Job(0, (Entry("a.png", "", "", "", partial(bytes, b"x")),), ("a",))
    with pytest.raises(CouldNotFinish, match="Worker processes cannot start here"):
        pool.run([job], settings, 1, lambda *_: None)


def test_a_killed_command_leaves_no_process_behind(tmp_path):
    """Not even one that is at work on a file that takes long."""
    (tmp_path / ".work").mkdir()
    code = f"""
import subprocess, time
from functools import partial
from pathlib import Path
from faceloss.data.decode import MAX_PIXELS
from faceloss.data.entries import Entry
from faceloss.data.photographs import pool
from faceloss.data.photographs.detector import choose_detector
from faceloss.data.photographs.select import Selection
from faceloss.data.photographs.work import Job, Settings
out = Path({str(tmp_path)!r})
first = Entry("a.png", "", "", "", partial(subprocess.check_output, ["touch", str(out / "begun")]))
job = Job(0, (first, Entry("b.png", "", "", "", partial(time.sleep, 90))), ("a", "b"))
pool.run([job], Settings(out, "64", "png", Selection(), choose_detector("mtcnn")), 1, lambda *_: None)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    children = [int(pid) for pid in listed.read_text().split()] if listed.exists() else []
    process.kill()
    process.wait()
    if not Path("/proc/self/task").exists():
        pytest.skip("this system does not list the children of a process")
    assert children
    until = time.monotonic() + 20
    while (left := [pid for pid in children if _alive(pid)]) and time.monotonic() < until:
        time.sleep(0.02)
    assert left == []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_largest_photograph_takes_less_than_a_gigabyte(tmp_path, photograph):
    """50 megapixels of four channels, uncompressed: 200 MB of file and as much once decoded, before it becomes RGB."""
    (tmp_path / "in").mkdir()
    large = Image.new("RGB", (8160, 6120), (90, 120, 100))
    assert large.width * large.height <= MAX_PIXELS < 1.002 * large.width * large.height
    large.paste(photograph(2, (60, 40, 110)).resize((2640, 2400), Image.Resampling.BILINEAR), (3000, 2000))
    large.convert("CMYK").save(tmp_path / "in" / "large.tif")
    del large
    code = f"""
import resource
from pathlib import Path
from faceloss.data.photographs.prepare import prepare
done = prepare(Path({str(tmp_path / "in")!r}), Path({str(tmp_path / "out")!r}), processes=1)
status = Path("/proc/self/status")  # ru_maxrss of a process holds the peak of the one that started it, too
lines = status.read_text().splitlines() if status.exists() else []
own = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
own = own or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
print(done.crops, own[0], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    crops, own, of_workers = map(int, ended.stdout.split())
    assert crops == 1  # it was looked at in full
    unit = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in
    assert of_workers * unit > 200e6  # the picture was in it
    assert (own + of_workers) * unit < 1e9  # 740 MB when this was written
