"""What a version paints: every stored picture with its settings."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.cards import painted
from ui.web.words import plain

if TYPE_CHECKING:
    from registry import Registry, Version


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
            painted(registry, preview)
            st.caption(plain(", ".join(f"{name} {value}" for name, value in preview.settings.items())))
