"""What is kept of a composition: a version of it, and texts that say it elsewhere."""

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import streamlit as st

from ui.web.composing.address import number_of, say, text_of
from ui.web.composing.showing import progress_words
from ui.web.navigation import link_to
from ui.web.refusals import refusals_shown
from ui.web.words import plain
from workbench.jobs.workers import ensure_worker, is_worker_alive
from workbench.painting.watching import watch_job
from workbench.recipes.drafts import pinned
from workbench.recipes.snippets import Scene, command_of, compose_command_of, link_parameters, program_of
from workbench.sums.jobs import submit_composition

if TYPE_CHECKING:
    from registry import Registry
    from workbench.recipes.drafts import Draft

POLL_SECONDS = 0.5
NAME, AS_DRAFT, ALIASES = "compose-name", "compose-draft", "compose-aliases"
SAVING = "compose-saving"
"""The job that was under way when the page was drawn: once it has ended, the page is drawn anew."""

PATH = "/compose"


def save(registry: "Registry", draft: "Draft") -> None:
    """The sum as a version of its own, written and proved by a worker; the URL says which job does it."""
    with st.expander("Save as a version", icon=":material/save:", expanded=bool(text_of("save"))):
        if not draft.has_vectors:
            st.caption("Add a LoRA first: a base alone is no composition.")
            return
        with st.form("save", border=False):
            st.text_input("Name", key=NAME, placeholder="The names of its terms, joined")
            st.toggle("Keep it as a draft", key=AS_DRAFT)
            is_asked = st.form_submit_button("Save", icon=":material/save:", disabled=not draft.is_sound)
        if is_asked:
            with refusals_shown():
                _order(registry, draft)
        _saved(registry)


def _order(registry: "Registry", draft: "Draft") -> None:
    base = draft.base.ref if draft.base else None
    name = st.session_state[NAME].strip() or None
    job = submit_composition(registry, draft.text, name=name, base=base, draft=st.session_state[AS_DRAFT])
    say("save", job.id)
    if not is_worker_alive(registry.home):
        with st.spinner("A worker is called"):
            ensure_worker(registry)


def _saved(registry: "Registry") -> None:
    number = number_of("save")
    found = None if number is None else watch_job(registry, number, "compose")
    if found is None:
        return
    st.session_state[SAVING] = found.job.id if found.is_under_way else None
    st.fragment(_progress, run_every=POLL_SECONDS if found.is_under_way else None)(registry, found.job.id)


def _progress(registry: "Registry", job: int) -> None:
    """How far the saving is; once it has ended, the page is drawn without looking on."""
    found = watch_job(registry, job, "compose")
    if found is None:
        return
    if found.is_under_way:
        st.progress(found.share, text=progress_words(found, "Waiting for a worker", "Writing and proving"))
        return
    if st.session_state.pop(SAVING, None) == job:
        st.rerun()
    made = (found.job.result or {}).get("version")
    if made:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(":green[:material/verified:] Saved and proved.", width="content")
            link_to(made, f"**{plain(made)}**", ":material/layers:")
    else:
        st.error(plain(found.job.last_error or f"Job {job} is {found.job.state}."), icon=":material/error:")


def copies(registry: "Registry", draft: "Draft") -> None:
    """The composition as a link, a recipe, a command and a program; with the versions of now, or with aliases."""
    with st.expander("Copy as link, recipe, command or Python", icon=":material/content_copy:"):
        if draft.error is not None or not draft.painted:
            st.caption("There is nothing to copy yet.")
            return
        keeps_aliases = st.toggle(
            "Follow aliases",
            key=ALIASES,
            help="Keeps name@alias as it is, so that it means what the alias will mean then",
        )
        scene = _scene(pinned(registry, draft.painted, keep_aliases=keeps_aliases), draft)
        for title, text in (
            ("Link", link_of(scene, draft)),
            ("Recipe", scene.recipe),
            ("Command that paints it", command_of(scene)),
            *([("Command that saves it", compose_command_of(scene))] if draft.has_vectors else []),
            ("Python", program_of(scene)),
        ):
            st.caption(title)
            st.code(text, language="python" if title == "Python" else None, wrap_lines=True)


def _scene(recipe: str, draft: "Draft") -> Scene:
    base = draft.base.ref if draft.base else None
    return Scene(recipe, base, text_of("prompt"), number_of("seed", 0) or 0, draft.sampling)


def link_of(scene: Scene, draft: "Draft") -> str:
    """The address of this page that shows the scene to whoever opens it."""
    address = (st.context.url or PATH).partition("?")[0]
    return f"{address}?{urlencode(link_parameters(scene, draft.recommended), quote_via=quote)}"
