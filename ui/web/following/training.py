"""The form of a new training: what is to come, from which base and pictures; checked before it is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.following.findings import findings
from ui.web.following.words import progress_bar, state_badge
from ui.web.navigation import JOBS, shared_registry, shared_settings
from ui.web.refusals import refusals_kept, refusals_shown, show_refusal
from ui.web.words import plain
from workbench.jobs.queueing import UNDER_WAY, queue_of
from workbench.jobs.workers import ensure_painter, ensure_worker
from workbench.training.guidance import in_both_ways
from workbench.training.preflight import KIND as PREFLIGHT
from workbench.training.preflight import start_inspected, submit_form

if TYPE_CHECKING:
    from registry import Registry

REFRESH_SECONDS = 1.0
CHOICES = 200
"""Bases and acceleration vectors that are offered at most."""
DEFAULT = "default"


@dataclass(frozen=True)
class Form:
    """What one kind of training is called, what it does, and which fields it has beside those of every training."""

    label: str
    sentence: str
    fields: tuple[str, ...]


FORMS = {
    "style": Form("Style LoRA", "Learns what pictures with captions look like.", ("rank", "strips")),
    "lcd-lora": Form(
        "Acceleration LoRA",
        "Distils a base, so that 1 to 8 steps are enough. Trained once, it works beside every style of that base.",
        ("rank", "guidance", "strips", "evaluation"),
    ),
    "lcd": Form(
        "Few-step base",
        "Distils all weights of a base, so that 1 to 8 steps are enough at any guidance in a range.",
        ("guidance_range", "strips", "evaluation"),
    ),
    "lcf": Form(
        "Few-step fine-tuning",
        "Fine-tunes on pictures without a teacher: a style beside an acceleration LoRA, or a few-step base.",
        ("acceleration", "rank", "strips"),
    ),
}
"""Kind of job -> its form."""


def show_form(registry: "Registry", kind: str) -> None:
    """The form of that kind; below it what the pre-flight in the URL found."""
    st.page_link(JOBS, label="All jobs", icon=":material/arrow_back:", query_params={})
    st.title("New training", anchor=False)
    st.session_state["new"] = kind
    labels = {name: form.label for name, form in FORMS.items()}
    st.pills(
        "What is to come", list(FORMS), key="new", format_func=labels.__getitem__, on_change=_choose, required=True
    )
    form = FORMS[kind]
    st.caption(form.sentence)
    with st.form("training"):
        said = _always(registry) | _own(registry, form) | _machine()
        asked = st.form_submit_button("Check before starting", type="primary", icon=":material/flight_takeoff:")
    st.caption(plain(_where()))
    show_refusal()
    if asked:
        _check(registry, kind, said)
    if (job := st.query_params.get("check", "")).isdecimal():
        _preflight(registry, int(job))


def _where() -> str:
    """What may be trained on."""
    if roots := shared_settings().import_roots:
        return f"Pictures inside {', '.join(map(str, roots))}; data sets of the Hub."
    return (
        "Data sets of the Hub. Pictures of this machine as soon as folders are open to these pages:"
        " TAU_IMPORT_ROOTS=/pictures tau ui"
    )


def _choose() -> None:
    st.query_params["new"] = st.session_state["new"]
    st.query_params.pop("check", None)


def _always(registry: "Registry") -> dict[str, Any]:
    """The fields of every training."""
    bases = [version.ref for version in registry.search(kind="base", limit=CHOICES)]
    left, right = st.columns(2)
    with left:
        base = st.selectbox("Base model", bases, help="Only what is registered: tau import FOLDER --kind base")
        name = st.text_input("Name of what is to come", placeholder="papercut")
    with right:
        data = st.text_input(
            "Pictures and captions",
            placeholder="/pictures/papercut",
            help="A folder with captions beside the pictures, parquet files, tar shards, or hf://datasets/owner/name",
        )
        data_license = st.text_input("Licence of the pictures", placeholder="not recorded")
    steps, batch, rate = st.columns(3)
    return {
        "base": base,
        "name": name,
        "data": data,
        "data_license": data_license,
        "steps": steps.number_input("Steps", min_value=1, value=None, placeholder=DEFAULT),
        "batch": batch.number_input("Pictures a step", min_value=1, value=None, placeholder=DEFAULT),
        "learning_rate": rate.number_input(
            "Learning rate", min_value=0.0, value=None, format="%.2e", placeholder=DEFAULT
        ),
    }


def _own(registry: "Registry", form: Form) -> dict[str, Any]:
    """The fields of this kind alone."""
    said: dict[str, Any] = {}
    with st.container(horizontal=True):
        for field in form.fields:
            if field == "rank":
                said["rank"] = st.number_input("Rank", min_value=1, value=None, placeholder=DEFAULT, width=160)
            elif field == "guidance":
                said["guidance"] = _scale("Guidance scale to distil")
            elif field == "guidance_range":
                said["guidance_min"] = _scale("Least guidance scale")
                said["guidance_max"] = _scale("Most guidance scale")
            elif field == "evaluation":
                said["evaluate_every"] = st.number_input(
                    "Measure every so many steps", min_value=1, value=None, placeholder="never", width=240
                )
            elif field == "acceleration":
                vectors = [version.ref for version in registry.search(kind="acceleration", limit=CHOICES)]
                said["acceleration"] = st.selectbox(
                    "Beside this acceleration LoRA", vectors, index=None, placeholder="none: the base is a few-step one"
                )
    if "strips" in form.fields:
        said |= _strips()
    return said


def _scale(label: str) -> float | None:
    return st.number_input(label, min_value=1.0, value=None, placeholder=DEFAULT, width=220)


def _strips() -> dict[str, Any]:
    """Pictures that are painted along the training."""
    prompts = st.text_area("Paint these along the way, one prompt a line", height=90)
    every = st.number_input("Every so many steps", min_value=1, value=50)
    return {"sample_prompts": prompts, "sample_every": every}


def _machine() -> dict[str, Any]:
    """Where and how it computes, and every setting that has no field of its own."""
    with st.expander("Machine and other settings", icon=":material/memory:"):
        device, dtype, memory = st.columns(3)
        said = {
            "device": device.selectbox("Device", ["cpu", "cuda", "mps"], index=None, placeholder=DEFAULT),
            "dtype": dtype.selectbox("Precision", ["fp32", "bf16", "fp16"], index=None, placeholder=DEFAULT),
            "needs_memory": memory.text_input("Only on a machine with", placeholder="16G"),
            "draft": st.checkbox("Keep the result a draft"),
        }
        said["other"] = st.text_area(
            "Other settings in TOML, by their names in the command line's documentation",
            placeholder="gradient_checkpointing = true\nseed = 7",
            height=90,
        )
    return said


def _check(registry: "Registry", kind: str, said: Mapping[str, Any]) -> None:
    """Order the pre-flight, and remember it in the URL."""
    with refusals_shown():
        job = submit_form(registry, kind, said, shared_settings().import_roots)
        ensure_painter(registry)
        st.query_params["check"] = str(job.id)


def _preflight(registry: "Registry", number: int) -> None:
    job = queue_of(registry).get(number)
    if job.kind != PREFLIGHT:
        return
    st.subheader("Pre-flight", anchor=False)
    if job.state in UNDER_WAY:
        st.fragment(_await, run_every=REFRESH_SECONDS)(registry, number)
    elif job.result is None:
        state_badge(job)
        st.error(plain(job.last_error or "nothing came out of it"), icon=":material/error:")
    else:
        _verdict(registry, number, job.result)


def _await(registry: "Registry", number: int) -> None:
    job = queue_of(registry).get(number)
    if job.state not in UNDER_WAY:
        st.rerun()
    state_badge(job)
    progress_bar(job, None)
    st.caption("The base is opened and a few of its passes are run; nothing is trained yet.")


def _verdict(registry: "Registry", number: int, result: Mapping[str, Any]) -> None:
    """What was found, what will be done with every default, and the button that starts it."""
    findings(result["findings"])
    st.markdown(f":material/monitor_weight: It will need {plain(result['sentence'])}.")
    with st.expander("All settings"):
        rows = [{"setting": name, "value": str(value)} for name, value in in_both_ways(result["spec"]).items()]
        st.dataframe(rows, hide_index=True)
    label = f"Start training {result['spec']['name']}"
    start = ":material/play_arrow:"
    st.button(plain(label), type="primary", icon=start, disabled=not result["ok"], on_click=_start, args=(number,))


@refusals_kept
def _start(number: int) -> None:
    """In a callback, so that the browser's URL follows: it is not told what a script says that is run again."""
    registry = shared_registry()
    job = start_inspected(registry, number)
    ensure_worker(registry)
    st.query_params.from_dict({"job": str(job.id)})
