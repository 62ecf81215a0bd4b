"""Texts that are copied with one click.

Streamlit's own code block loads a highlighter of 1.5 MB with every page that has one, a fifth of the time in which the
catalog opens. What is drawn here is a small component: its script is ours, and what it is given stays text.
"""

from pathlib import Path

import streamlit as st

FOLDER = Path(__file__).parent
NAME = "tauworks.copying"


def copy_texts(*texts: str, key: str) -> None:
    """Each text in a line of its own, beside the button that copies it; `key` tells them from others on the page."""
    script, style = ((FOLDER / f"copying.{suffix}").read_text("utf-8") for suffix in ("js", "css"))
    st.components.v2.component(NAME, js=script, css=style)(data={"texts": list(texts)}, key=key)
