"""Pictures for cards: thumbnails of stored previews, and a drawn placeholder for what has none yet."""

import colorsys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from PIL import Image, ImageOps

from ui.web.words import plain

if TYPE_CHECKING:
    from registry import Registry, Version

SIDE = 384  # pixels: a card is at most that wide on an ordinary screen


@st.cache_data(max_entries=2048, show_spinner=False)
def thumbnail(digest: str, _path: Path) -> bytes:
    """The picture at `_path` cropped to a square PNG of 384 pixels; `digest` alone is the cache's key, for blobs never change."""
    with Image.open(_path) as picture:
        small = max(picture.size) <= SIDE // 2
        square = ImageOps.fit(
            picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.BICUBIC if small else Image.Resampling.LANCZOS
        )
    buffer = BytesIO()
    square.save(buffer, format="PNG")
    return buffer.getvalue()


def placeholder(digest: str) -> str:
    """An SVG of soft discs, the same for the same digest: it tells cards apart without pretending to be a picture.

    `digest`: hexadecimal, at least 24 digits.
    """
    values = bytes.fromhex(digest[:24])
    hue = values[0] / 256
    discs = "".join(
        f'<circle cx="{40 + values[1 + 3 * i] * 304 // 255}" cy="{40 + values[2 + 3 * i] * 304 // 255}"'
        f' r="{60 + values[3 + 3 * i] * 90 // 255}" fill="{_colour(hue + 0.07 * (i - 1), 0.5)}" fill-opacity="0.55"/>'
        for i in range(3)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">'
        f'<rect width="{SIDE}" height="{SIDE}" fill="{_colour(hue, 0.72)}"/>{discs}</svg>'
    )


def gallery(registry: "Registry", version: "Version") -> None:
    """Every picture that the version painted, with the prompt and settings it was painted with."""
    previews = registry.previews(version.ref)
    if not previews:
        st.caption("No picture yet. Paint one:")
        st.code(f'tau preview "{version.ref}" -p "a large red circle on a white background"', language="shell")
        return
    grid = st.grid("auto", min_column_width=200)
    for preview in previews:
        with grid.cell():
            st.image(thumbnail(preview.picture, registry.blob_path(preview.picture)), width="stretch")
            st.caption(plain(", ".join(f"{name} {value}" for name, value in preview.settings.items())))


def _colour(hue: float, lightness: float) -> str:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, 0.42)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
