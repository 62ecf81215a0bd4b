"""The Jobs page: the queue, one job (`job` in the URL), or the form of a new training (`new` in the URL)."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import streamlit as st

from ui.web.fields import mirror
from ui.web.following.asking import wish_buttons
from ui.web.following.job import show_job
from ui.web.following.training import FORMS, show_form
from ui.web.following.words import KIND_ICONS, OTHER_ICON, advice, kind_label, progress_bar, state_badge, subject
from ui.web.navigation import link_to_job, shared_registry
from ui.web.refusals import refusals_kept, show_refusal
from ui.web.shortcuts import NEW, REFRESH
from ui.web.words import plain, time_label
from workbench.jobs.estimates import seconds_left
from workbench.jobs.queueing import queue_of
from workbench.jobs.workers import BATCH, INTERACTIVE, ensure_painter, ensure_worker, is_worker_alive

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job

PAGE = 20
REFRESH_SECONDS = 2.0
LANES = {"batch": "Training and composing", "interactive": "Pictures"}
STATES = {"queued": "waiting", "running": "running", "paused": "paused", "failed": "failed", "succeeded": "done"}


def show() -> None:
    """What the URL asks for."""
    if job := _number(st.query_params.get("job", "")):
        show_job(shared_registry(), job)
    elif (kind := st.query_params.get("new")) in FORMS:
        show_form(shared_registry(), str(kind))
    else:
        _queue()


def _queue() -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.title("Jobs", width="content")
        st.button("New training", icon=":material/add:", type="primary", shortcut=NEW, on_click=_begin)
    registry = shared_registry()
    with st.container(horizontal=True, gap="medium"):
        lane = _filter("Lane", "lane", LANES)
        state = _filter("State", "state", STATES)
    st.fragment(_list, run_every=REFRESH_SECONDS)(registry, lane, state)


def _begin() -> None:
    st.query_params.from_dict({"new": next(iter(FORMS))})


def _filter(label: str, name: str, words: Mapping[str, str]) -> str | None:
    """One choice among the keys of `words`; the URL is its truth."""
    asked = st.query_params.get(name)
    mirror(name, asked if asked in words else None)
    return st.pills(label, list(words), key=name, format_func=words.__getitem__, on_change=_choose, args=(name,))


def _choose(name: str) -> None:
    st.query_params.pop("after", None)
    if st.session_state[name]:
        st.query_params[name] = st.session_state[name]
    else:
        st.query_params.pop(name, None)


def _list(registry: "Registry", lane: str | None, state: str | None) -> None:
    """The jobs of one page, newest first, looked at again and again."""
    show_refusal()
    after = _number(st.query_params.get("after", ""))
    found = queue_of(registry).list(state=state, lane=lane, limit=PAGE + 1, after=after)
    _missing_workers(registry, found)
    left = seconds_left(registry, found[:PAGE])
    for job in found[:PAGE]:
        _row(job, left.get(job.id))
    if not found:
        _nothing(narrowed=any((lane, state, after)))
    with st.container(horizontal=True, horizontal_alignment="center"):
        st.button("Look again", icon=":material/refresh:", shortcut=REFRESH)
        if after is not None:
            st.button("Newest", on_click=_go_after, args=(None,), icon=":material/first_page:")
        if len(found) > PAGE:
            st.button("Older", on_click=_go_after, args=(found[PAGE - 1].id,), icon=":material/chevron_right:")


def _go_after(job: int | None) -> None:
    st.query_params.pop("after", None)
    if job is not None:
        st.query_params["after"] = str(job)


def _row(job: "Job", left: float | None) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            icon = KIND_ICONS.get(job.kind, OTHER_ICON)
            link_to_job(job.id, f"**{job.id} · {plain(kind_label(job.kind))}**", icon)
            state_badge(job)
            st.caption(f"{plain(time_label(job.created_at))} by {plain(job.submitted_by)}", width="content")
        if subject(job):
            st.text(subject(job))
        progress_bar(job, left)
        if job.last_error and job.state != "succeeded":
            st.caption(plain("; ".join(filter(None, (job.last_error, advice(job))))))
        with st.container(horizontal=True, gap="small"):
            wish_buttons(job)


def _missing_workers(registry: "Registry", found: list["Job"]) -> None:
    """Where something waits and nobody works here, a button that starts somebody."""
    for lane, start in ((BATCH, ensure_worker), (INTERACTIVE, ensure_painter)):
        waits = any(job.state == "queued" and job.lane == lane for job in found)
        if waits and not is_worker_alive(registry.home, lane):
            with st.container(border=True, horizontal=True, vertical_alignment="center"):
                who = "worker" if lane == BATCH else "painter"
                st.markdown(f":material/hourglass_empty: No {who} is alive on this machine.", width="content")
                st.button(f"Start a {who}", on_click=refusals_kept(_start), args=(start, registry), key=f"start-{lane}")


def _start(start: "Callable[[Registry], object]", registry: "Registry") -> None:
    start(registry)


def _nothing(*, narrowed: bool) -> None:
    with st.container(border=True):
        st.subheader("No such job" if narrowed else "No job yet", icon=":material/inbox:")
        st.markdown(
            "Take a filter away to see the others."
            if narrowed
            else "A training, a preview or a grid appears here once ordered, and goes on when this page is closed."
        )


def _number(text: str) -> int | None:
    """A job's number out of a URL, which anybody may have typed."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


if __name__ == "__main__":
    show()
