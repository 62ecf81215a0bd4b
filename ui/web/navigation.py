"""The pages' addresses, the links between them, and the registry and settings that they share."""

from typing import TYPE_CHECKING

import streamlit as st

from registry import Registry
from workbench.opening import open_registry, settings_of

if TYPE_CHECKING:
    from streamlit.elements.lib.layout_utils import Width

    from registry.settings import Settings

CATALOG = "catalog.py"
MODEL = "model.py"
REPORT = "report.py"

DEMO_COMMANDS = "tau demo\ntau ui --demo --port 8502"
"""The demo fills a registry of its own; its pages want a port of their own while these run."""


@st.cache_resource(show_spinner=False, on_release=Registry.close)
def shared_registry() -> Registry:
    """One registry a server process, opened from TAU_* settings; visitors' threads share its connections."""
    return open_registry()


@st.cache_resource(show_spinner=False)
def shared_settings() -> "Settings":
    """The TAU_* settings that the server process began with."""
    return settings_of()


def link_to(ref: str, label: str, icon: str | None = None, width: "Width" = "content") -> None:
    """A link to a version's page; `label` is Markdown."""
    st.page_link(MODEL, label=label, icon=icon, query_params={"ref": ref}, width=width)


def link_to_catalog(label: str = "Catalog") -> None:
    """A link back to the catalog without filters."""
    st.page_link(CATALOG, label=label, icon=":material/arrow_back:")
