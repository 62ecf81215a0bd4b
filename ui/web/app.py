"""The script that Streamlit runs for each visitor and each change: the frame of every page, then the page."""

from pathlib import Path

import streamlit as st

from registry import RegistryError
from ui.web.navigation import ADMIN, CATALOG, COMPARE, COMPOSE, GRID, JOBS, MODEL, REPORT
from ui.web.pictures import tab_icon
from ui.web.refusals import refuse
from ui.web.shortcuts import shortcuts
from workbench.errors import WorkbenchError

FOLDER = Path(__file__).parent

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
    shown = {page: words for page, words in SHOWN.items() if (FOLDER / page).is_file()}
    page = st.navigation(
        [
            *(st.Page(page, title=title, icon=icon, default=page == CATALOG) for page, (title, icon) in shown.items()),
            st.Page(MODEL, title="Model", icon=":material/deployed_code:", visibility="hidden"),
        ],
        position="top",
    )
    try:
        page.run()
    except (RegistryError, WorkbenchError) as error:
        refuse(error)
    shortcuts({page: title for page, (title, _) in shown.items()})


if __name__ == "__main__":
    run()
