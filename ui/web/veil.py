"""The veil over pictures of models that are marked NSFW: the server hands out a blurred one until it is clicked."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.navigation import shared_settings

if TYPE_CHECKING:
    from registry import Preview, Version

UNVEILED = "unveiled"
"""The digests of the pictures that this reader asked to see."""

SHOWN = "marked-shown"
"""Whether this reader asked to see what marked models paint, wherever it is painted."""

BLURRED = "Blurred: marked NSFW"
"""What a blurred picture is called to those who do not see it."""


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


def is_hidden(*, is_marked: bool) -> bool:
    """Whether what is painted with marked models is to be blurred for this reader."""
    return is_marked and veils() and not st.session_state.get(SHOWN)


def unveil_pictures(*, is_marked: bool) -> None:
    """The click after which this reader sees what marked models paint."""
    if is_hidden(is_marked=is_marked):
        st.button("Show pictures of models that are marked NSFW", icon=":material/visibility:", on_click=_show)


def _show() -> None:
    st.session_state[SHOWN] = True


def veil_switch() -> None:
    """Turns the veil on or off for this reader."""
    st.session_state.setdefault("veils", shared_settings().blur_nsfw)
    st.toggle("Blur NSFW pictures", key="veils", persist_state="session")


def _unveil(digest: str) -> None:
    st.session_state.setdefault(UNVEILED, set()).add(digest)
