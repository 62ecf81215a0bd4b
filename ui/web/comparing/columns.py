"""The columns of the Compare page: each a recipe and what it paints, all from the same prompt and the same noise."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from ui.web.comparing.address import MOST, WANTED, add, keep, kept_jobs, kept_recipes, remove, write
from ui.web.composing.address import follow, number_of, text_of
from ui.web.composing.painting import POLL_SECONDS, answers, is_of_now, stored
from ui.web.composing.showing import picture, state_line, stored_line, stored_picture
from ui.web.fields import mirror, seed_field
from ui.web.navigation import COMPOSE, link_to_page
from ui.web.refusals import refusals_shown, say_refusal
from ui.web.shortcuts import CANCEL, PAINT
from ui.web.veil import unveil_pictures
from ui.web.words import plain
from workbench.jobs.workers import INTERACTIVE, ensure_painter, is_worker_alive
from workbench.painting.jobs import submit_preview
from workbench.painting.painter_jobs import cancel_unfinished
from workbench.painting.watching import Watched, watch

if TYPE_CHECKING:
    from registry import Preview, Registry
    from registry.jobs import Job
    from workbench.recipes.drafts import Draft

PROMPT, SEED = "compare-prompt", "compare-seed"
GOING = "compare-going"
"""Whether any job that the page shows was under way when it was drawn: once all have ended, it is drawn anew."""


def controls(drafts: "Sequence[Draft]") -> None:
    """What all columns share: the prompt and the seed; and the buttons that are about all of them."""
    mirror(PROMPT, text_of("prompt"))
    mirror(SEED, number_of("seed", 0))
    st.text_area(
        "Prompt", key=PROMPT, height=80, on_change=_shared, args=(PROMPT, "prompt"), placeholder="What to paint"
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        seed_field(SEED, _shared, (SEED, "seed"))
        st.button(
            "Paint all",
            key="paint-all",
            type="primary",
            icon=":material/brush:",
            shortcut=PAINT,
            disabled=not any(draft.is_sound for draft in drafts),
            on_click=_want,
        )
        st.button("Add a composition", icon=":material/add:", disabled=len(drafts) >= MOST, on_click=add)


def _shared(key: str, name: str) -> None:
    follow(key, name, lambda value: value or None)
    _want()


def _want() -> None:
    st.session_state[WANTED] = True


def ask(registry: "Registry", drafts: "Sequence[Draft]") -> None:
    """Have painted what is neither painted nor kept yet, where somebody wishes it."""
    if not st.session_state.pop(WANTED, False):
        return
    jobs = kept_jobs(len(drafts))
    with refusals_shown():
        for place, draft in enumerate(drafts):
            number = jobs[place]
            seen = None if number is None else watch(registry, number)
            if draft.is_sound and not answers(draft, seen):
                jobs[place] = None if stored(registry, draft) else _submit(registry, draft).id
        keep(kept_recipes(), jobs)
        if any(jobs) and not is_worker_alive(registry.home, INTERACTIVE):
            with st.spinner("A painter is called"):
                ensure_painter(registry)


def _submit(registry: "Registry", draft: "Draft") -> "Job":
    return submit_preview(registry, draft.painted, [text_of("prompt")], **_scene(draft))


def _scene(draft: "Draft") -> dict[str, object]:
    return {
        "base": draft.base.ref if draft.base else None,
        "seeds": (number_of("seed", 0) or 0,),
        "sampling": draft.sampling,
    }


def columns(registry: "Registry", drafts: "Sequence[Draft]") -> None:
    """The recipes, and below them the pictures, looked at again and again until all are there."""
    unveil_pictures(is_marked=any(draft.is_marked for draft in drafts))
    for place, column in enumerate(st.columns(len(drafts))):
        with column:
            _text(place, drafts[place], is_alone=len(drafts) == 1)
    shown = tuple(_shown(registry, draft, job) for draft, job in zip(drafts, kept_jobs(len(drafts)), strict=True))
    is_going_on = any(isinstance(one, Watched) and one.is_under_way for one in shown)
    st.session_state[GOING] = is_going_on
    st.fragment(_look, run_every=POLL_SECONDS if is_going_on else None)(registry, tuple(drafts), shown)


def _shown(registry: "Registry", draft: "Draft", job: int | None) -> "Watched | Preview | None":
    """What stands in a column: the job that the URL says, unless something better is kept; None where nothing is."""
    seen = None if job is None else watch(registry, job)
    return seen if answers(draft, seen) else stored(registry, draft) or seen


def _text(place: int, draft: "Draft", *, is_alone: bool) -> None:
    key = f"compare-recipe-{place}"
    mirror(key, kept_recipes()[place])
    st.text_area(f"Recipe {place + 1}", key=key, height=100, on_change=write, args=(place, key))
    if draft.error is not None:
        say_refusal(draft.error)
    for finding in draft.findings:
        if finding.severity == "error":
            st.error(plain(finding.sentence), icon=":material/block:")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        parameters = {"recipe": draft.text, "base": draft.base.ref if draft.base else "", "prompt": text_of("prompt")}
        link_to_page(COMPOSE, "Open in Compose", ":material/tune:", **parameters, seed=text_of("seed"))
        if not is_alone:
            st.button(
                f"Remove recipe {place + 1}",
                key=f"compare-remove-{place}",
                icon=":material/close:",
                type="tertiary",
                on_click=remove,
                args=(place,),
            )


def _look(registry: "Registry", drafts: "Sequence[Draft]", shown: "Sequence[Watched | Preview | None]") -> None:
    """Draws the pictures as they are; once all have ended, the page is drawn without looking on."""
    seen = [watch(registry, one.job.id) if isinstance(one, Watched) else one for one in shown]
    for place, column in enumerate(st.columns(len(seen))):
        with column:
            _picture(registry, drafts[place], seen[place], place)
    going = [one.job.id for one in seen if isinstance(one, Watched) and one.is_under_way]
    if going:
        st.button(
            "Cancel",
            key="compare-cancel",
            icon=":material/cancel:",
            shortcut=CANCEL,
            on_click=_cancel,
            args=(registry, going),
        )
    elif st.session_state.pop(GOING, False):
        st.rerun()


def _picture(registry: "Registry", draft: "Draft", seen: "Watched | Preview | None", place: int) -> None:
    st.caption(f"**Recipe {place + 1}**")
    key = f"compare-{place}"
    if seen is None:
        st.caption("Nothing is painted yet.")
    elif isinstance(seen, Watched):
        if not is_of_now(draft, seen.job):
            st.caption(f"Painted earlier, of {plain(str(seen.job.spec.get('recipe', '')))}")
        picture(registry, seen, key=key, is_marked=draft.is_marked)
        st.caption(plain(state_line(seen)))
    else:
        stored_picture(registry, seen, key=key, is_marked=draft.is_marked)
        st.caption(plain(stored_line(seen)))


def _cancel(registry: "Registry", jobs: Sequence[int]) -> None:
    for job in jobs:
        cancel_unfinished(registry, job)
