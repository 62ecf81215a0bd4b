"""Keys that work on every page, and the list of all of them."""

from collections.abc import Mapping
from typing import Final

import streamlit as st

PAINT: Final = "P"
CANCEL: Final = "X"
NEW: Final = "N"
REFRESH: Final = "U"

ON_PAGES: Final = {
    PAINT: "paint what the page shows: the preview on Compose, the grid on Grid",
    CANCEL: "cancel what the page is waiting for",
    NEW: "begin a new training, on Jobs",
    REFRESH: "look again now, on Jobs and Admin",
}
"""What a key does on the pages that have a use for it."""


def shortcuts(pages: Mapping[str, str]) -> None:
    """At the foot of a page: a key for each of `pages` (its file and what it is called), and the other keys."""
    with st.expander("Keyboard shortcuts", icon=":material/keyboard:"):
        with st.container(horizontal=True, gap="small"):
            for key, (page, title) in enumerate(pages.items(), start=1):
                if st.button(title, key=f"shortcut-{page}", shortcut=str(key), type="tertiary"):
                    st.switch_page(page)
        lines = [f"- **{key}**: {what}" for key, what in ON_PAGES.items()]
        st.markdown("\n".join([*lines, "\nA field that you are typing into takes keys as letters; leave it with Tab."]))
