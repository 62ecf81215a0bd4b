"""The pages' addresses, the links between them, and the registry and settings that they share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import streamlit as st

from registry import Registry
from workbench.opening import open_registry, settings_of

if TYPE_CHECKING:
    from streamlit.elements.lib.layout_utils import Width

    from registry.settings import Settings

CATALOG = "catalog.py"
MODEL = "model.py"
COMPOSE = "compose.py"
GRID = "grid.py"
COMPARE = "compare.py"
JOBS = "jobs.py"
ADMIN = "admin.py"
REPORT = "report.py"

SCENE = "scene"
"""The parameter that holds all parameters of a page."""

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


def link_to_job(job: int, label: str, icon: str = ":material/pending_actions:") -> None:
    """A link to a job's page; `label` is Markdown."""
    st.page_link(JOBS, label=label, icon=icon, query_params={"job": str(job)})


def link_to_page(page: str, label: str, icon: str | None = None, **parameters: str | Sequence[str]) -> None:
    """A link to a page with the parameters of its URL, those that are empty left out; `label` is Markdown.

    Compose and Compare are told all of them in one, which they take apart: Streamlit drops on the way what is called
    like a field that the page before has bound to its own URL.
    """
    said = {name: value for name, value in parameters.items() if value}
    told = {SCENE: urlencode(said, doseq=True)} if page in (COMPOSE, COMPARE) else said
    st.page_link(page, label=label, icon=icon, query_params=told)
