"""The script that Streamlit runs for each visitor and each change: the frame of every page, then the page."""

import streamlit as st

from registry import RegistryError
from ui.web.navigation import CATALOG, MODEL, REPORT
from ui.web.pictures import tab_icon
from ui.web.refusals import refuse
from workbench.errors import WorkbenchError


def run() -> None:
    """Show the page that the URL names; what the registry refuses is said on it."""
    st.set_page_config(page_title="Tauworks", page_icon=tab_icon(), layout="wide")
    page = st.navigation(
        [
            st.Page(CATALOG, title="Catalog", icon=":material/grid_view:", default=True),
            st.Page(MODEL, title="Model", icon=":material/deployed_code:", visibility="hidden"),
            st.Page(REPORT, title="Report", icon=":material/summarize:"),
        ],
        position="top",
    )
    try:
        page.run()
    except (RegistryError, WorkbenchError) as error:
        refuse(error)


if __name__ == "__main__":
    run()
