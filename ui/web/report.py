"""The Report page: what `tau demo` wrote about the run that filled this registry."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from ui.web.navigation import DEMO_COMMANDS, link_to_catalog, shared_registry
from ui.web.words import plain, size_label, time_label

FILE_NAME = "report.html"
HEIGHT = 1400  # pixels: the frame scrolls on its own


def show() -> None:
    """The demo's one-file report with a button that downloads it; without one, the command that makes it."""
    st.title("Report")
    path = shared_registry().home / FILE_NAME
    if path.is_file():
        _report(path)
    else:
        _remedy(path)


def _report(path: Path) -> None:
    content = path.read_bytes()
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f"Written {time_label(written)} · {size_label(len(content))} · one file, complete without a network")
        st.download_button("Download", content, FILE_NAME, "text/html", on_click="ignore", icon=":material/download:")
    # A data: address has an origin of its own, so that nothing inside the report can reach the workbench around it.
    encoded = base64.b64encode(content).decode("ascii")
    st.iframe(f"data:text/html;charset=utf-8;base64,{encoded}", height=HEIGHT, alt="The demo's report")


def _remedy(path: Path) -> None:
    with st.container(border=True):
        st.subheader("No report yet", icon=":material/summarize:")
        st.markdown(
            "The demo distils an acceleration LoRA on a small base model, composes it with two styles, measures what"
            " the sums paint, and writes a report with pictures, a table and the lineage."
            " It takes about five minutes and fills a registry of its own, which the second command opens."
        )
        st.code(DEMO_COMMANDS, language=None)
        st.caption(f"This page looks for {plain(str(path))}.")
        link_to_catalog("Back to the catalog")


if __name__ == "__main__":
    show()
