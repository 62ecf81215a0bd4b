"""One picture's bytes, unpacked within limits."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""What is decoded, whatever the name says: no format that runs another program or reads another file."""

LARGEST_FILE = 256 * 1024**2
"""Bytes of one packed picture."""

LARGEST_PICTURE = 128 * 1024**2
"""Pixels of one picture: 384 MiB of RGB."""


class Undecodable(Exception):
    """Bytes that are no picture, a damaged one, or one that is too large; the message is the reason."""


def decoded(contents: bytes) -> Image.Image:
    """The picture in `contents`, upright and in RGB. Raises Undecodable."""
    _require_size(len(contents))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
            picture = Image.open(BytesIO(contents), formats=FORMATS)
        with picture:
            width, height = picture.size
            if width * height > LARGEST_PICTURE:
                raise Undecodable(f"{width} x {height} pixels, at most {LARGEST_PICTURE:,} in all")
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (Undecodable, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise Undecodable("not a picture") from error
    except Exception as error:  # on damaged bytes decoders raise nearly anything
        raise Undecodable(str(error) or type(error).__name__) from error


def contents_of(path: Path) -> bytes:
    """The bytes of a picture file. Raises Undecodable."""
    try:
        _require_size(path.stat().st_size)
        return path.read_bytes()
    except OSError as error:
        raise Undecodable(error.strerror or str(error)) from error


def contents_at(stream: BinaryIO, offset: int, size: int) -> bytes:
    """`size` bytes of a picture at `offset` of a larger file. Raises Undecodable."""
    _require_size(size)
    stream.seek(offset)
    contents = stream.read(size)
    if len(contents) != size:
        raise Undecodable(f"{len(contents):,} bytes, expected {size:,}")
    return contents


def _require_size(size: int) -> None:
    if size > LARGEST_FILE:
        raise Undecodable(f"{size:,} bytes, at most {LARGEST_FILE:,}")
