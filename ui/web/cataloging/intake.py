"""What brings models in: the import form, the demo for an empty catalog, and the progress of either."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from registry import NotFound, RegistryError
from ui.web.following.words import duration_label, kind_label, subject
from ui.web.navigation import DEMO_COMMANDS, link_to, link_to_job, shared_registry, shared_settings
from ui.web.refusals import refuse, remember_refusal
from ui.web.words import KINDS, plain
from workbench.demo.jobs import submit_demo
from workbench.errors import WorkbenchError
from workbench.intake.jobs import submit_import
from workbench.jobs.queueing import UNDER_WAY, ensure_worker, queue_of, remedy

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job

LOOK_SECONDS = 1.0
GUESS = "guessed from the file"
LEFT_SHOWN = 50
LINKS_SHOWN = 6
PLACEHOLDER = "/srv/loras   or   https://host/papercut.safetensors   or   owner/repo"


def first_steps() -> None:
    """An empty catalog: import something, or let the demo fill it."""
    left, right = st.columns([3, 2])
    with left, st.container(border=True, height="stretch"):
        st.subheader("This catalog is empty", icon=":material/inventory_2:")
        st.markdown("Bring in a LoRA, a folder of them or a base model. It is identified, hashed and kept.")
        import_form()
        st.caption("In a terminal")
        st.code("tau import papercut.safetensors --kind style --license openrail++", language=None, wrap_lines=True)
    with right, st.container(border=True, height="stretch"):
        st.subheader("Or look around first", icon=":material/play_circle:")
        st.markdown(
            "The demo fills this catalog: a small base model and three styles, an acceleration LoRA distilled from"
            " the base, two compositions with certificates, and their pictures. It takes about five minutes."
        )
        st.button("Run the demo here", on_click=_run_demo, icon=":material/play_arrow:", type="primary", key="run-demo")
        st.caption("In a registry of its own")
        st.code(DEMO_COMMANDS, language=None, wrap_lines=True)


def import_panel() -> None:
    """The import form in a frame."""
    with st.container(border=True):
        import_form()


def import_form() -> None:
    """What to import, and the few words that can be said about it; the files stay on their machine until then."""
    with st.form("import-form", border=False):
        st.text_input("Path, address or Hub id", key="import-source", placeholder=PLACEHOLDER)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.selectbox("Kind", [GUESS, *KINDS], key="import-kind", format_func=_kind_label, width=220)
            st.text_input("Name", key="import-name", placeholder="from the file", width=220)
            st.text_input("Licence", key="import-license", placeholder="from what lies beside it", width=220)
        with st.container(horizontal=True, gap="medium"):
            st.checkbox("As a draft", key="import-draft")
            st.checkbox("Leave the files where they are", key="import-in-place")
        st.form_submit_button("Import", on_click=_import, icon=":material/download:", type="primary", key="import-go")
    st.caption(plain(_where()))


def follow_job(registry: "Registry") -> None:
    """The import or demo that the URL's `job` names: how far it is, and what came of it."""
    said = st.query_params.get("job", "")
    if not said.isdecimal():
        return
    try:
        job = queue_of(registry).get(int(said[:18]))
    except NotFound as error:
        refuse(error)
        return
    with st.container(border=True):
        if job.state in UNDER_WAY:
            _under_way(job.id)
        else:
            _ended(job)
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                _close(job)


def _close(job: "Job") -> None:
    """The ways on: to everything about the job, and back to the catalog alone."""
    link_to_job(job.id, f"Job {job.id}")
    st.button("Close", on_click=_forget_job, icon=":material/close:", key="close-job")


@st.fragment(run_every=LOOK_SECONDS)
def _under_way(number: int) -> None:
    """Drawn again every second alone; the whole page once the job has ended, since the catalog has changed."""
    job = queue_of(shared_registry()).get(number)
    if job.state not in UNDER_WAY or "job" not in st.query_params:
        st.rerun()
    step, steps = job.progress.get("step", 0), job.progress.get("steps", 0)
    note = job.progress.get("note") or ("waiting for a worker" if job.state == "queued" else "beginning")
    st.progress(min(1.0, step / steps) if steps else 0.0, plain(f"{title_of(job)}: {note}"))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if left := job.progress.get("eta_seconds"):
            st.caption(f"about {duration_label(left)} left", width="content")
        st.button("Cancel", on_click=_cancel, args=(number,), icon=":material/stop_circle:", key="cancel-job")
        _close(job)


def title_of(job: "Job") -> str:
    """What a job is, for people."""
    return f"{kind_label(job.kind)} {subject(job)}".strip()


def _ended(job: "Job") -> None:
    if job.state != "succeeded":
        st.error(plain(f"{title_of(job)}: {job.state}. {job.last_error or ''}"), icon=":material/error:")
        if said := remedy(job):
            st.caption(plain(said))
        return
    result = job.result or {}
    if job.kind != "import":
        st.success("The demo is done: everything below is its work.", icon=":material/check_circle:")
        return
    known = result["imported"] - result["new"] + result["unchanged"]
    told = f"{title_of(job)}: {result['new']} new, {known} known already, {result['left_count']} left out"
    st.success(plain(told), icon=":material/check_circle:")
    with st.container(horizontal=True, gap="small"):
        for ref in result["versions"][:LINKS_SHOWN]:
            link_to(ref, plain(ref))
    if result["left"]:
        with st.expander(f"Left out: {result['left_count']}"):
            st.dataframe(result["left"][:LEFT_SHOWN], hide_index=True)


def _import() -> None:
    said = {name: st.session_state[f"import-{name.replace('_', '-')}"] for name in ("name", "license", "draft")}
    kind = st.session_state["import-kind"]
    words = {**said, "in_place": st.session_state["import-in-place"], "kind": None if kind == GUESS else kind}
    roots = shared_settings().import_roots
    _start(lambda registry: submit_import(registry, st.session_state["import-source"], roots, **words))


def _run_demo() -> None:
    _start(submit_demo)


def _start(submit: Any) -> None:
    """Queue a job, have somebody work on it, and let the URL carry it from now on."""
    registry = shared_registry()
    try:
        job = submit(registry)
        ensure_worker(registry)
    except (RegistryError, WorkbenchError) as error:
        remember_refusal(error)
        return
    st.query_params["job"] = str(job.id)


def _cancel(number: int) -> None:
    queue_of(shared_registry()).cancel(number)


def _forget_job() -> None:
    st.query_params.pop("job", None)


def _kind_label(kind: str) -> str:
    return KINDS.get(kind, kind)


def _where() -> str:
    """What may be imported from."""
    if roots := shared_settings().import_roots:
        return f"Paths inside {', '.join(map(str, roots))}; public addresses; repositories of the Hub."
    return (
        "Public addresses and repositories of the Hub. Paths as soon as folders are open to imports:"
        " TAU_IMPORT_ROOTS=/srv/loras tau ui"
    )
