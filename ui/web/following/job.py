"""One job: how far it is, its curves, the pictures along it, its log, its settings, and what happened to it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from registry import NotFound
from ui.web.following.asking import wish_buttons
from ui.web.following.result import result
from ui.web.following.words import advice, kind_label, progress_bar, state_badge, subject
from ui.web.navigation import JOBS
from ui.web.pictures import blurred_strip
from ui.web.refusals import show_refusal
from ui.web.veil import BLURRED, is_hidden, unveil_pictures
from ui.web.words import plain, time_label
from workbench.jobs.estimates import seconds_left
from workbench.jobs.queueing import UNDER_WAY, queue_of, why_no_log
from workbench.jobs.watching import Curve, Sample, curves, log_tail, samples
from workbench.painting.marks import is_job_marked
from workbench.training.guidance import in_both_ways

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job

REFRESH_SECONDS = 1.0
SECTION_SECONDS = 2.0
LOG_HEIGHT = 420  # pixels
LOG_CHARACTERS = 100_000
"""Of the end of a log that are kept for a visitor."""

SAMPLES_SHOWN = 40


def show_job(registry: "Registry", number: int) -> None:
    """The job of that number, followed while it is under way."""
    st.page_link(JOBS, label="All jobs", icon=":material/arrow_back:", query_params={})
    try:
        job = queue_of(registry).get(number)
    except NotFound as error:
        st.error(plain(str(error)), icon=":material/search_off:")
        return
    st.title(f"Job {job.id}: {plain(kind_label(job.kind))}", anchor=False)
    if subject(job):
        st.text(subject(job))
    is_under_way = job.state in UNDER_WAY
    st.fragment(_heading, run_every=REFRESH_SECONDS if is_under_way else None)(registry, job)
    _sections(registry, job)


def _heading(registry: "Registry", shown: "Job") -> None:
    """State, progress and buttons; the whole page is drawn anew when the job has ended or begun again."""
    job = queue_of(registry).get(shown.id)
    if (job.state in UNDER_WAY) != (shown.state in UNDER_WAY):
        st.rerun()
    show_refusal()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        state_badge(job)
        st.caption(plain(_history_line(job)), width="content")
    progress_bar(job, seconds_left(registry, [job]).get(job.id))
    if job.last_error and job.state != "succeeded":
        st.error(plain(job.last_error), icon=":material/error:")
    if said := advice(job):
        st.caption(plain(said))
    with st.container(horizontal=True, gap="small"):
        wish_buttons(job, has_keys=True)
    _numbers(job)


def _history_line(job: "Job") -> str:
    parts = [f"ordered {time_label(job.created_at)} by {job.submitted_by}", f"attempt {job.attempt}/{job.max_attempts}"]
    if job.lease_owner and job.state == "running":
        parts.append(f"runs at {job.lease_owner}")
    if job.finished_at:
        parts.append(f"ended {time_label(job.finished_at)}")
    return " · ".join(parts)


def _numbers(job: "Job") -> None:
    """The newest loss and learning rate."""
    told = {"Loss": job.progress.get("loss"), "Learning rate": job.progress.get("learning_rate")}
    known = {label: value for label, value in told.items() if value is not None}
    if known:
        with st.container(horizontal=True):
            for label, value in known.items():
                st.metric(label, f"{value:.4g}", border=True, width=180)


def _sections(registry: "Registry", job: "Job") -> None:
    """The sections as tabs; the URL carries which one is open, and only that one is computed, while the job runs again
    and again.
    """
    sections: dict[str, Callable[[Registry, int], None]] = {
        "Result": result,
        "Curves": _curves,
        "Samples": _samples,
        "Log": _log,
        "Settings": _settings,
        "Events": _events,
    }
    tabs = st.tabs(list(sections), key="section", on_change="rerun", bind="query-params")
    for tab, section in zip(tabs, sections.values(), strict=True):
        if tab.open:
            with tab:
                every = SECTION_SECONDS if job.state in UNDER_WAY else None
                st.fragment(section, run_every=every)(registry, job.id)


def _curves(registry: "Registry", job: int) -> None:
    found = curves(queue_of(registry).metrics(job))
    if not found:
        st.caption("No number has been recorded. A training tells its loss along the way.")
    grid = st.grid("auto", min_column_width=340)
    for curve in found:
        with grid.cell():
            st.subheader(plain(curve.measure.replace("_", " ")), anchor=False)
            st.line_chart(_rows(curve), x="step", y=curve.measure, color=_colour(curve), height=260)


def _rows(curve: Curve) -> list[dict[str, Any]]:
    return [
        {"step": step, "series": name, curve.measure: value}
        for name, points in curve.series.items()
        for step, value in points
    ]


def _colour(curve: Curve) -> str | None:
    return "series" if len(curve.series) > 1 else None


def _samples(registry: "Registry", job: int) -> None:
    """The strips, the newest first: each from the same noise and prompts."""
    found = samples(registry, job)[::-1]
    seen = queue_of(registry).get(job)
    if not found:
        st.caption(
            "No sample on this machine. A training paints them where its order names prompts and says how often."
        )
        return
    is_marked = is_job_marked(registry, seen)
    unveil_pictures(is_marked=is_marked)
    st.caption(plain(" · ".join(seen.spec.get("sample_prompts") or [])))
    for sample in found[:SAMPLES_SHOWN]:
        _sample(sample, is_blurred=is_hidden(is_marked=is_marked))
    if len(found) > SAMPLES_SHOWN:
        st.caption(f"and {len(found) - SAMPLES_SHOWN} earlier ones beside them, in {plain(str(found[0].path.parent))}")


def _sample(sample: Sample, *, is_blurred: bool) -> None:
    st.caption(f"after step {sample.step:,}")
    shown = blurred_strip(sample.path) if is_blurred else str(sample.path)
    st.image(shown, width="content", alt=BLURRED if is_blurred else f"Painted after step {sample.step}")


def _log(registry: "Registry", job: int) -> None:
    """The end of the log; what is added later is read from where the reading ended."""
    kept: dict[int, tuple[str, int]] = st.session_state.setdefault("job-logs", {})
    if job not in kept:
        tail = log_tail(registry, job)
        kept[job] = tail.text, tail.next_offset
    text, offset = kept[job]
    piece = queue_of(registry).log(job, offset)
    kept[job] = (text + piece.text)[-LOG_CHARACTERS:], piece.next_offset
    if not kept[job][0]:
        st.caption(plain(why_no_log(queue_of(registry).get(job))))
        return
    with st.container(height=LOG_HEIGHT, autoscroll=True, border=False):
        st.code(kept[job][0], language=None, wrap_lines=True)
    st.caption(f"The whole log: `tau jobs logs {job}`")


def _settings(registry: "Registry", job: int) -> None:
    """What the job was told to do, every default included."""
    _table(in_both_ways(queue_of(registry).get(job).spec))


def _table(said: Mapping[str, object]) -> None:
    st.dataframe([{"setting": key, "value": _told(value)} for key, value in said.items()], hide_index=True)


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _events(registry: "Registry", job: int) -> None:
    rows = [
        {
            "when": time_label(event.at),
            "who": event.actor,
            "what": event.action,
            "attempt": event.attempt,
            "detail": ", ".join(f"{key}: {value}" for key, value in event.detail.items()),
        }
        for event in reversed(queue_of(registry).events(job))
    ]
    st.dataframe(rows, hide_index=True)
