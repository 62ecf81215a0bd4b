"""The buttons that ask something of a job, and what was refused."""

from typing import TYPE_CHECKING

import streamlit as st

from registry import RegistryError
from ui.web.job_words import WISH_LABELS
from ui.web.navigation import shared_registry
from ui.web.shortcuts import CANCEL
from ui.web.words import plain
from workbench.errors import WorkbenchError
from workbench.watching import ask, wishes

if TYPE_CHECKING:
    from registry.jobs import Job

REFUSED = "refused"


def wish_buttons(job: "Job", *, has_keys: bool = False) -> None:
    """A button for everything that can be asked of a job now; with `has_keys` Cancel has its key."""
    for wish in wishes(job):
        label, icon = WISH_LABELS[wish]
        st.button(
            label,
            key=f"{wish}-{job.id}",
            icon=icon,
            on_click=_ask,
            args=(job.id, wish),
            shortcut=CANCEL if has_keys and wish == "cancel" else None,
        )


def refusals() -> None:
    """What was refused since the page was shown last."""
    if refused := st.session_state.pop(REFUSED, None):
        st.error(plain(refused), icon=":material/block:")


def _ask(job: int, wish: str) -> None:
    """The job may have ended meanwhile, or somebody else may have asked first: then the answer is shown."""
    from workbench.workers import ensure_worker

    registry = shared_registry()
    try:
        asked = ask(registry, job, wish)
        if wish in ("resume", "retry") and asked.lane == "batch":
            ensure_worker(registry)
    except (RegistryError, WorkbenchError) as error:
        st.session_state[REFUSED] = str(error)
