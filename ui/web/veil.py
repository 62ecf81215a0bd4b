"""The veil over pictures of models that are marked NSFW: the server hands out a blurred one until it is clicked."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.navigation import shared_settings

if TYPE_CHECKING:
    from registry import Preview, Version

UNVEILED = "unveiled"
"""The digests of the pictures that this reader asked to see."""


def is_veiled(version: "Version", preview: "Preview") -> bool:
    """Whether the picture is to be blurred: the model is marked, the settings say so, and nobody asked to see it."""
    return version.nsfw and veils() and preview.picture not in st.session_state.get(UNVEILED, ())


def unveil_button(preview: "Preview", place: str) -> None:
    """The click that shows the picture; `place` tells it from another of the same picture on the page."""
    st.button(
        "Show",
        key=f"unveil-{place}-{preview.picture}",
        on_click=_unveil,
        args=(preview.picture,),
        icon=":material/visibility:",
        help="This model is marked NSFW",
        width="stretch",
    )


def veils() -> bool:
    """Whether this reader's pages blur at all: what the reader chose, else TAU_BLUR_NSFW."""
    return bool(st.session_state.get("veils", shared_settings().blur_nsfw))


def veil_switch() -> None:
    """Turns the veil on or off for this reader."""
    st.session_state.setdefault("veils", shared_settings().blur_nsfw)
    st.toggle("Blur NSFW pictures", key="veils", persist_state="session")


def _unveil(digest: str) -> None:
    st.session_state.setdefault(UNVEILED, set()).add(digest)
