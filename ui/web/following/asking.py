"""The buttons that ask something of a job."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.following.words import WISH_LABELS
from ui.web.navigation import shared_registry
from ui.web.refusals import refusals_kept
from ui.web.shortcuts import CANCEL
from workbench.jobs.watching import ask, wishes
from workbench.jobs.workers import BATCH, ensure_painter, ensure_worker

if TYPE_CHECKING:
    from registry.jobs import Job


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


@refusals_kept
def _ask(job: int, wish: str) -> None:
    """The job may have ended meanwhile, or somebody else may have asked first: then the answer is kept to be shown."""
    registry = shared_registry()
    asked = ask(registry, job, wish)
    if wish in ("resume", "retry"):
        (ensure_worker if asked.lane == BATCH else ensure_painter)(registry)
