"""What a version paints: every stored picture with its settings."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.cards import previews_of, show_cover, snippet
from ui.web.pictures import Blobs
from ui.web.words import plain

if TYPE_CHECKING:
    from registry import Preview, Registry, Version

PICTURES_SHOWN = 48
PROMPT = "a large red circle on a white background"
SETTINGS = ("solver", "steps", "guidance", "seed")


def gallery(registry: "Registry", version: "Version") -> None:
    """The newest pictures that the version painted, with the prompt and the settings of each."""
    previews = previews_of(registry, version, limit=PICTURES_SHOWN)
    if not previews:
        st.caption("No picture yet. Paint one:")
        st.code(f'tau preview "{snippet(version)}" -p "{PROMPT}"', language=None)
        return
    blobs = Blobs(registry, (preview.picture for preview in previews))
    grid = st.grid("auto", min_column_width=180)
    for number, preview in enumerate(previews):
        with grid.cell():
            show_cover(version, preview, blobs, place=f"gallery-{number}")
            st.caption(_caption(preview))


def _caption(preview: "Preview") -> str:
    """The prompt, and below it the settings that were recorded."""
    settings = [f"{name} {preview.settings[name]}" for name in SETTINGS if name in preview.settings]
    lines = [str(preview.settings.get("prompt", "")), ", ".join(settings)]
    return "  \n".join(plain(line) for line in lines if line)
