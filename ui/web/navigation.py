"""The pages' addresses, the links between them, and the registry that they share."""

from collections.abc import Mapping

import streamlit as st

from registry import Registry
from workbench.opening import open_registry

CATALOG = "catalog.py"
MODEL = "model.py"
COMPOSE = "compose.py"
GRID = "grid.py"
COMPARE = "compare.py"
JOBS = "jobs.py"
ADMIN = "admin.py"
REPORT = "report.py"

DEMO_COMMANDS = "tau demo\ntau ui --demo --port 8502"
"""The demo fills a registry of its own; its pages want a port of their own while these run."""


@st.cache_resource(show_spinner=False, on_release=Registry.close)
def shared_registry() -> Registry:
    """One registry a server process, opened from TAU_* settings; visitors' threads share its connections."""
    return open_registry()


def link_to(ref: str, label: str, icon: str | None = None) -> None:
    """A link to a version's page; `label` is Markdown."""
    st.page_link(MODEL, label=label, icon=icon, query_params={"ref": ref})


def link_to_catalog(label: str = "Catalog") -> None:
    """A link back to the catalog without filters."""
    st.page_link(CATALOG, label=label, icon=":material/arrow_back:")


def link_to_job(job: int, label: str) -> None:
    """A link to a job's page; `label` is Markdown."""
    st.page_link(JOBS, label=label, icon=":material/pending_actions:", query_params={"job": str(job)})


def link_to_page(page: str, label: str, icon: str | None = None, **parameters: str) -> None:
    """A link to a page with the parameters of its URL, those that say nothing left out; `label` is Markdown."""
    said: Mapping[str, str] = {name: value for name, value in parameters.items() if value}
    st.page_link(page, label=label, icon=icon, query_params=dict(said))
