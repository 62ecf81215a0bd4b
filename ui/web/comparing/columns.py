"""The columns of the Compare page: each a recipe and what it paints, all from the same prompt and the same noise."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from ui.web.comparing.address import MOST, WANTED, add, keep, kept_jobs, kept_recipes, remove, write
from ui.web.composing.address import follow, number_of, text_of
from ui.web.composing.painting import POLL_SECONDS
from ui.web.composing.showing import picture, state_line, unveil_pictures
from ui.web.fields import mirror, seed_field
from ui.web.navigation import COMPOSE, link_to_page
from ui.web.refusals import refusals_shown, say_refusal
from ui.web.shortcuts import CANCEL, PAINT
from ui.web.words import plain
from workbench.painter_jobs import cancel_unfinished
from workbench.picture_jobs import submit_preview
from workbench.picture_watch import Watched, paints, watch
from workbench.workers import INTERACTIVE, ensure_painter, is_worker_alive

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job
    from workbench.drafts import Draft

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
    """Have painted what is not painted yet, where somebody wishes it."""
    if not st.session_state.pop(WANTED, False):
        return
    jobs = kept_jobs(len(drafts))
    with refusals_shown():
        for place, draft in enumerate(drafts):
            number = jobs[place]
            seen = None if number is None else watch(registry, number)
            if draft.is_sound and (seen is None or not _is_of_now(draft, seen.job) or _has_failed(seen)):
                jobs[place] = _submit(registry, draft).id
        keep(kept_recipes(), jobs)
        if any(jobs) and not is_worker_alive(registry.home, INTERACTIVE):
            with st.spinner("A painter is called"):
                ensure_painter(registry)


def _has_failed(seen: Watched) -> bool:
    return not seen.is_under_way and not seen.pictures


def _submit(registry: "Registry", draft: "Draft") -> "Job":
    return submit_preview(registry, draft.painted, [text_of("prompt")], **_scene(draft))


def _scene(draft: "Draft") -> dict[str, object]:
    return {
        "base": draft.base.ref if draft.base else None,
        "seeds": (number_of("seed", 0) or 0,),
        "sampling": draft.sampling,
    }


def _is_of_now(draft: "Draft", job: "Job") -> bool:
    return paints(
        job,
        draft.painted,
        base=draft.base.ref if draft.base else None,
        prompt=text_of("prompt"),
        seed=number_of("seed", 0) or 0,
        sampling=draft.sampling,
    )


def columns(registry: "Registry", drafts: "Sequence[Draft]") -> None:
    """The recipes, and below them the pictures, looked at again and again until all are there."""
    unveil_pictures(is_marked=any(draft.is_marked for draft in drafts))
    for place, column in enumerate(st.columns(len(drafts))):
        with column:
            _text(place, drafts[place], is_alone=len(drafts) == 1)
    jobs = kept_jobs(len(drafts))
    seen = [None if job is None else watch(registry, job) for job in jobs]
    is_going_on = any(one is not None and one.is_under_way for one in seen)
    st.session_state[GOING] = is_going_on
    st.fragment(_look, run_every=POLL_SECONDS if is_going_on else None)(registry, tuple(drafts), tuple(jobs))


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


def _look(registry: "Registry", drafts: "Sequence[Draft]", jobs: Sequence[int | None]) -> None:
    """Draws the pictures as they are; once all have ended, the page is drawn without looking on."""
    seen = [None if job is None else watch(registry, job) for job in jobs]
    for place, column in enumerate(st.columns(len(jobs))):
        with column:
            _picture(registry, drafts[place], seen[place], place)
    going = [one.job.id for one in seen if one is not None and one.is_under_way]
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


def _picture(registry: "Registry", draft: "Draft", seen: Watched | None, place: int) -> None:
    st.caption(f"**Recipe {place + 1}**")
    if seen is None:
        st.caption("Nothing is painted yet.")
        return
    if not _is_of_now(draft, seen.job):
        st.caption(f"Painted earlier, of {plain(str(seen.job.spec.get('recipe', '')))}")
    picture(registry, seen, key=f"compare-{place}", is_marked=draft.is_marked)
    st.caption(plain(state_line(seen)))


def _cancel(registry: "Registry", jobs: Sequence[int]) -> None:
    for job in jobs:
        cancel_unfinished(registry, job)
