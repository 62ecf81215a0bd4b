"""Texts that are copied with one click.

Streamlit's own code block loads a highlighter of 1.5 MB with every page that has one, a fifth of the time in which the
catalog opens. What is drawn here is a small component: its script is ours, and what it is given stays text.
"""

from functools import cache
from pathlib import Path

import streamlit as st

FOLDER = Path(__file__).parent
NAME = "tauworks.copying"


def copy_texts(*texts: str, key: str) -> None:
    """Each text in a line of its own, beside the button that copies it; `key` tells them from others on the page."""
    st.components.v2.component(NAME, js=_read("js"), css=_read("css"))(data={"texts": list(texts)}, key=key)


@cache
def _read(suffix: str) -> str:
    """A file of the component, which every card of a page shows again."""
    return (FOLDER / f"copying.{suffix}").read_text("utf-8")
