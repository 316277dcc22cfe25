"""Encoded bytes -> crop: faults 1 to 4 of a data set in the wild."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from faceloss.data.decode import Unusable, decode, strict_warnings


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size; the header alone must be enough to refuse it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_a_crop_of_the_right_size_is_left_as_it_is(picture):
    image = picture(1)
    assert np.asarray(image).std() > 20
    np.testing.assert_array_equal(decode(encoded(image), 32), np.asarray(image))


def test_channels_are_rgb():
    red = decode(encoded(Image.new("RGB", (40, 40), (200, 30, 10)), "JPEG", quality=95), 16)
    assert red[8, 8, 0] > 190
    assert red[8, 8, 2] < 30


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_eight_orientations_give_the_same_crop(picture, kind):
    upright = picture(2, 48, 41)
    crop = decode(encoded(upright), 24)
    back = Image.Transpose
    stored_as = {
        1: None, 2: back.FLIP_LEFT_RIGHT, 3: back.ROTATE_180, 4: back.FLIP_TOP_BOTTOM,
        5: back.TRANSPOSE, 6: back.ROTATE_90, 7: back.TRANSVERSE, 8: back.ROTATE_270,
    }  # fmt: skip
    options = {"lossless": True} if kind == "WEBP" else {}
    for orientation, change in stored_as.items():
        stored = upright if change is None else upright.transpose(change)
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = decode(encoded(stored, kind, exif=exif.tobytes(), **options), 24)
        np.testing.assert_array_equal(found, crop, err_msg=f"orientation {orientation}")
        if change is not None:
            assert np.abs(decode(encoded(stored), 24).astype(int) - crop).mean() > 5  # it does make a difference


def test_unreadable_exif_is_no_reason_to_refuse(picture):
    data = encoded(picture(3), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xffgarbage")
    with strict_warnings():
        assert decode(data, 16).shape == (16, 16, 3)


def test_sixteen_bits_keep_their_brightness():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    crop = decode(encoded(Image.fromarray(ramp)), 64)
    assert crop.mean() == pytest.approx(127.5, abs=1)
    np.testing.assert_array_equal(crop[..., 0], (ramp >> 8).astype(np.uint8))


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_floats(top):
    ramp = np.linspace(0, top, 32 * 32, dtype=np.float32).reshape(32, 32)
    crop = decode(encoded(Image.fromarray(ramp), "TIFF"), 32)
    assert crop.mean() == pytest.approx(127.5, abs=1)
    assert crop.max() == 255


@pytest.mark.parametrize("wrong", [-1.0, 300.0, float("nan")])
def test_floats_of_unknown_range_are_refused(wrong):
    values = np.full((32, 32), wrong, dtype=np.float32)
    with pytest.raises(Unusable, match=r"floats outside 0\.\.255"):
        decode(encoded(Image.fromarray(values), "TIFF"), 32)


def test_transparent_parts_become_black():
    image = Image.new("RGBA", (32, 32), (200, 100, 50, 255))
    image.paste((255, 255, 255, 0), (0, 0, 16, 32))
    crop = decode(encoded(image), 32)
    assert crop[:, :16].max() == 0
    assert crop[16, 24].tolist() == [200, 100, 50]
    half = decode(encoded(Image.new("LA", (32, 32), (200, 128))), 32)
    assert half[5, 5].tolist() == pytest.approx([100, 100, 100], abs=1)


def test_palette_grey_bilevel_and_cmyk(picture):
    image = picture(4)
    rgb = np.asarray(image).astype(int)
    palette = decode(encoded(image.quantize(256)), 32)
    assert np.abs(palette - rgb).mean() < 8
    grey = decode(encoded(image.convert("L")), 32)
    np.testing.assert_array_equal(grey[..., 0], np.asarray(image.convert("L")))
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    cmyk = decode(encoded(image.convert("CMYK"), "JPEG", quality=100), 32)
    assert np.abs(cmyk - rgb).mean() < 8
    assert set(np.unique(decode(encoded(image.convert("1")), 32))) == {0, 255}


def test_animations_give_their_first_frame(picture):
    frames = [picture(5), picture(6)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(decode(data, 32), np.asarray(frames[0]))


def test_the_centered_square_is_cut_not_stretched():
    image = Image.new("RGB", (96, 32), (255, 0, 0))
    image.paste((0, 255, 0), (32, 0, 64, 32))
    crop = decode(encoded(image), 32)
    assert (crop == [0, 255, 0]).all()


def test_shrinking_is_antialiased():
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = decode(encoded(Image.fromarray(stripes)), 32)
    assert crop.std() < 10
    assert crop.mean() == pytest.approx(127.5, abs=5)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html><body>404 not found</body></html>", "a web page, not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n", "not an image"),  # would start Ghostscript
        (bytes(1000), "not an image"),
        (bomb(20000, 20000), "more than 50 megapixels"),
        (bomb(10000, 9500), "more than 50 megapixels"),  # where Pillow only warns
        (bomb(8000, 7000), "more than 50 megapixels"),  # where Pillow says nothing
        (bomb(60, 60), "truncated or corrupt"),
        (bomb(400, 7), "a side under 8 pixels"),
        (bomb(9000, 8), "a sliver, one side more than 4 times the other"),
    ],
)
def test_what_is_refused_and_why(data, reason):
    with strict_warnings(), pytest.raises(Unusable) as refused:
        decode(data, 32)
    assert str(refused.value) == reason


def test_a_bomb_is_refused_without_decoding_it():
    data = bomb(20000, 20000)
    tracemalloc.start()
    with strict_warnings(), pytest.raises(Unusable):
        decode(data, 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_no_cut_or_flipped_byte_escapes_as_another_error(picture, kind):
    data = encoded(picture(7, 40, 36), kind)
    random = np.random.default_rng(0)
    refused = 0
    with strict_warnings():
        for trial in range(60):
            broken = bytearray(data[: random.integers(1, len(data))] if trial % 2 else data)
            for at in random.integers(0, len(broken), 3):
                broken[at] = random.integers(256)
            try:
                assert decode(bytes(broken), 16).shape == (16, 16, 3)
            except Unusable:
                refused += 1
    assert refused >= 20
