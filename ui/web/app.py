"""The script that Streamlit runs for each visitor and each change: the frame of every page, then the page."""

import streamlit as st

from ui.web.navigation import ADMIN, CATALOG, COMPARE, COMPOSE, GRID, JOBS, MODEL, REPORT
from ui.web.pictures import tab_icon
from ui.web.refusals import refusals_shown
from ui.web.shortcuts import shortcuts

SHOWN = {
    CATALOG: ("Catalog", ":material/grid_view:"),
    COMPOSE: ("Compose", ":material/tune:"),
    GRID: ("Grid", ":material/apps:"),
    COMPARE: ("Compare", ":material/compare:"),
    JOBS: ("Jobs", ":material/pending_actions:"),
    ADMIN: ("Admin", ":material/shield_person:"),
    REPORT: ("Report", ":material/summarize:"),
}
"""The pages of the menu, in its order: what each is called, and its icon."""


def run() -> None:
    """Show the page that the URL names; what the registry or the workbench refuses is said on it."""
    st.set_page_config(page_title="Tauworks", page_icon=tab_icon(), layout="wide")
    page = st.navigation(
        [
            *(st.Page(page, title=title, icon=icon, default=page == CATALOG) for page, (title, icon) in SHOWN.items()),
            st.Page(MODEL, title="Model", icon=":material/deployed_code:", visibility="hidden"),
        ],
        position="top",
    )
    with refusals_shown():
        page.run()
    shortcuts({page: title for page, (title, _) in SHOWN.items()})


if __name__ == "__main__":
    run()
