"""Pictures are unpacked within limits, by decoders that neither run programs nor open other files."""

import io
import struct
import zlib

import pytest
from PIL import Image

from distill_jobs.data.pictures import LARGEST_PICTURE, Undecodable, decoded


def packed(format: str, mode: str = "RGB") -> bytes:
    """A picture of 4 x 3 in a format."""
    stream = io.BytesIO()
    Image.new(mode, (4, 3)).save(stream, format)
    return stream.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no such data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_common_formats_become_rgb_whatever_their_mode(format: str) -> None:
    picture = decoded(packed(format, "L"))
    assert (picture.mode, picture.size) == ("RGB", (4, 3))


@pytest.mark.parametrize("format", ["EPS", "PPM", "ICO", "TGA"])
def test_other_formats_are_no_pictures(format: str) -> None:
    with pytest.raises(Undecodable, match="not a picture"):
        decoded(packed(format))


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (12_000, 12_000, f"12000 x 12000 pixels, at most {LARGEST_PICTURE:,}"),
        (60_000, 60_000, "decompression bomb"),
        (2**31 - 1, 2**31 - 1, "decompression bomb"),
        (100, 100, "truncated"),
    ],
)
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_unpacked(
    width: int, height: int, reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        decoded(png_of(width, height))


def test_a_picture_is_turned_as_its_camera_says() -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 3)).save(stream, "JPEG", exif=exif)
    assert decoded(stream.getvalue()).size == (3, 4)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_damage_to_a_picture_gives_a_picture_or_a_reason(format: str) -> None:
    whole = packed(format)
    outcomes = {outcome(whole[:place] + b"\xff\x7f" + whole[place + 2 :]) for place in range(0, len(whole), 5)}
    assert "" not in outcomes
    assert "not a picture" in outcomes


def outcome(contents: bytes) -> str:
    """The mode of what is decoded, or why it is not."""
    try:
        return decoded(contents).mode
    except Undecodable as error:
        return str(error)
