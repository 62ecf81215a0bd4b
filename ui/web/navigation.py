"""Which pages there are, and what all of them share."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st
from streamlit.navigation.page import Page

from registry import Registry, RegistryError
from ui.web import catalog, model, report
from ui.web.words import plain
from workbench.opening import open_registry


@dataclass(frozen=True)
class Site:
    """The open registry, and the pages to link to."""

    registry: Registry
    catalog: Page
    model: Page
    report: Page


@st.cache_resource(show_spinner=False, on_release=Registry.close)
def shared_registry() -> Registry:
    """One registry a server process, opened from TAU_* settings: its connections are pooled over the visitors' threads."""
    return open_registry()


def run() -> None:
    """Show the page that the URL names."""
    pages: dict[str, Page] = {}

    def page(name: str, show: Callable[[Site], None], **options: object) -> Page:
        pages[name] = st.Page(lambda: show(Site(shared_registry(), **pages)), url_path=name, **options)
        return pages[name]

    entries = [
        page("catalog", catalog.show, title="Catalog", icon=":material/grid_view:", default=True),
        page("model", model.show, title="Model", icon=":material/deployed_code:", visibility="hidden"),
        page("report", report.show, title="Report", icon=":material/summarize:"),
    ]
    try:
        st.navigation(entries, position="top").run()
    except RegistryError as error:
        st.error(plain(str(error)), icon=":material/error:")
