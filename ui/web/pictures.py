"""Pictures for cards: thumbnails of stored previews, and a drawn placeholder for what has none yet."""

import colorsys
from collections.abc import Iterable
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from registry import CorruptBlob

if TYPE_CHECKING:
    from registry import Registry

SIDE = 384  # pixels: a card is at most that wide on an ordinary screen
KEPT = 4096  # thumbnails
BLURRED_SIDE = 12  # pixels: what is left of a blurred picture before it is enlarged
JPEG_QUALITY = 85


class Blobs:
    """Where pictures lie, asked for together at the first one of which no thumbnail is kept."""

    def __init__(self, registry: "Registry", digests: Iterable[str]) -> None:
        self._registry = registry
        self._digests = sorted(set(digests))

    def path(self, digest: str) -> Path:
        """Where one of them lies. Raises CorruptBlob for bytes that are not whole."""
        return self._paths[digest] if digest in self._paths else self._registry.blob_path(digest)

    @cached_property
    def _paths(self) -> dict[str, Path]:
        try:
            return dict(self._registry.blob_paths(self._digests))
        except CorruptBlob:  # which one it is shows when each is asked for
            return {}


@st.cache_data(max_entries=KEPT, show_spinner=False)
def thumbnail(digest: str, _blobs: Blobs, *, blurred: bool = False) -> bytes:
    """A picture as a square of SIDE pixels: PNG where it is so small that its pixels show, else JPEG.

    The cache's key is `digest`, for blobs never change. Of a blurred one BLURRED_SIDE pixels a side are left, so that
    nobody can undo it. Raises CorruptBlob.
    """
    with Image.open(_blobs.path(digest)) as picture:
        small = max(picture.size) <= SIDE // 2 and not blurred
        square = ImageOps.fit(
            picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        )
    if blurred:
        square = _blurred(square)
    buffer = BytesIO()
    square.save(buffer, format="PNG" if small else "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


@st.cache_data(max_entries=KEPT, show_spinner=False)
def blurred_strip(path: Path) -> bytes:
    """A file of pictures beside one another, blurred as `thumbnail` does it: a JPEG as large as the file's picture."""
    with Image.open(path) as picture:
        strip = _blurred(picture.convert("RGB"))
    buffer = BytesIO()
    strip.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _blurred(picture: Image.Image) -> Image.Image:
    """BLURRED_SIDE pixels are left of its height, and as many of each width that is as long."""
    left = (max(1, picture.width * BLURRED_SIDE // picture.height), BLURRED_SIDE)
    small = picture.resize(left, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)
    return small.filter(ImageFilter.GaussianBlur(picture.height // BLURRED_SIDE))


def placeholder(digest: str) -> str:
    """An SVG of faint discs that belong to the digest, and the words "no picture yet".

    Everything is translucent, so that it is quiet on the light and on the dark page. `digest`: at least 24 hex digits.
    """
    values = bytes.fromhex(digest[:24])
    hue = values[0] / 256
    discs = "".join(
        f'<circle cx="{40 + values[1 + 3 * i] * 304 // 255}" cy="{30 + values[2 + 3 * i] * 264 // 255}"'
        f' r="{50 + values[3 + 3 * i] * 80 // 255}" fill="{_colour(hue + 0.08 * (i - 1))}" fill-opacity="0.3"/>'
        for i in range(3)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">'
        f'<rect width="{SIDE}" height="{SIDE}" fill="{_colour(hue)}" fill-opacity="0.13"/>{discs}'
        f'<text x="{SIDE // 2}" y="{SIDE - 24}" text-anchor="middle" font-family="sans-serif" font-size="17"'
        ' fill="#8f8880">no picture yet</text></svg>'
    )


def tab_icon() -> Image.Image:
    """The sign in the browser's tab, drawn here: a named icon would be fetched from another server."""
    icon = Image.new("RGBA", (256, 256))
    for left, colour in ((16, (180, 67, 15, 255)), (96, (255, 149, 99, 190))):
        disc = Image.new("RGBA", icon.size)
        ImageDraw.Draw(disc).ellipse((left, 56, left + 144, 200), fill=colour)
        icon.alpha_composite(disc)
    return icon.resize((64, 64), Image.Resampling.LANCZOS)


def _colour(hue: float) -> str:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, 0.55, 0.45)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
