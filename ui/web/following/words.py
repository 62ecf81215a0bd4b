"""The words for jobs: what each kind is called, what a job is about, how far it is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.words import plain, seconds_label
from workbench.jobs.queueing import remedy

if TYPE_CHECKING:
    from registry.jobs import Job

KINDS = {
    "lcd-lora": "Acceleration LoRA",
    "lcd": "Few-step base",
    "lcf": "Few-step fine-tuning",
    "style": "Style LoRA",
    "preflight": "Pre-flight",
    "preview": "Preview",
    "grid": "Grid",
    "compose": "Composition",
    "import": "Import",
    "demo": "Demo",
}
KIND_ICONS = {
    "lcd-lora": ":material/bolt:",
    "lcd": ":material/speed:",
    "lcf": ":material/auto_fix:",
    "style": ":material/palette:",
    "preflight": ":material/flight_takeoff:",
    "preview": ":material/image:",
    "grid": ":material/apps:",
    "compose": ":material/layers:",
    "import": ":material/download:",
    "demo": ":material/play_circle:",
}
OTHER_ICON = ":material/build:"
STATE_COLOURS = {
    "queued": "gray",
    "running": "blue",
    "paused": "yellow",
    "succeeded": "green",
    "failed": "red",
    "dead": "red",
    "cancelled": "gray",
}
ENDINGS = {"dead": "given up"}
"""The states in which a job ends whose names say too little."""

STOPPING = {"cancel": "being cancelled", "pause": "being paused"}
WISH_LABELS = {
    "pause": ("Pause", ":material/pause:"),
    "resume": ("Resume", ":material/play_arrow:"),
    "cancel": ("Cancel", ":material/close:"),
    "retry": ("Try again", ":material/replay:"),
}
MINUTE, HOUR, DAY = 60, 3600, 86400
FEW_SECONDS = 10
"""Below it tenths of a second are told."""


def kind_label(kind: str) -> str:
    """What a kind of job is called; one that has no words here as it is."""
    return KINDS.get(kind, kind)


def subject(job: "Job") -> str:
    """What a job is about: the name of what is to come, the recipe, or the source; of a grid of recipes its axes."""
    order = job.spec.get("order")
    said = order if isinstance(order, dict) else job.spec
    axes = ", ".join(str(said[axis]) for axis in ("x", "y") if said.get(axis))
    return str(said.get("name") or said.get("recipe") or said.get("text") or said.get("source") or axes)


def state_badge(job: "Job") -> None:
    """The state of a job, or what it is about to become."""
    is_stopping = job.state == "running" and job.wanted in STOPPING
    words = STOPPING[job.wanted] if is_stopping else job.state
    st.badge(plain(words), color="orange" if is_stopping else STATE_COLOURS.get(job.state, "gray"))  # type: ignore[arg-type]


def progress_bar(job: "Job", seconds_left: float | None) -> None:
    """How far a job is, and how long it will take where that is known; of one that has ended, its outcome."""
    if job.finished_at is not None:
        st.caption(plain(outcome(job)))
        return
    step, steps = job.progress.get("step", 0), job.progress.get("steps")
    words = [f"step {step:,} of {steps:,}"] if steps else []
    if job.state == "running" and (note := job.progress.get("note")):
        words.insert(0, str(note))
    if job.state in ("queued", "running") and seconds_left is not None:
        words.append(f"{duration_label(seconds_left)} left")
    if steps:
        st.progress(min(1.0, step / steps), text=plain(" · ".join(words)))
    elif words:
        st.caption(plain(" · ".join(words)))


def advice(job: "Job") -> str | None:
    """What to do about a job where a button beside it is not all there is to it."""
    return remedy(job) if job.state in ("failed", "dead") else None


def outcome(job: "Job") -> str:
    """How a job ended and after how long: "done in 4 s"; "failed after 12 s, at step 3 of 8"."""
    if job.started_at is None or job.finished_at is None:
        return f"{job.state} before it began"
    seconds = (job.finished_at - job.started_at).total_seconds()
    took = seconds_label(seconds) if seconds < FEW_SECONDS else duration_label(seconds)
    if job.state == "succeeded":
        return f"{_made(job.result or {})} in {took}"
    step, steps = job.progress.get("step", 0), job.progress.get("steps")
    return f"{ENDINGS.get(job.state, job.state)} after {took}" + (f", at step {step:,} of {steps:,}" if steps else "")


def _made(result: Mapping[str, Any]) -> str:
    """What came out of a job: a version, pictures, cells of a grid; "done" where it is something else."""
    if version := result.get("version"):
        return str(version)
    if pictures := result.get("pictures"):
        return _counted(len(pictures), "picture")
    if cells := result.get("cells"):
        return f"{result.get('painted', 0):,} of {_counted(cells, 'cell')} painted"
    return "done"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def duration_label(seconds: float) -> str:
    """Seconds in the two largest units that say something: 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"
