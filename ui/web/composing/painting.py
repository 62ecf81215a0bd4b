"""The picture of the page: what to paint and how, the painters' work on it, and what it is compared with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from ui.web.composing.address import LIVE, WANTED, number_of, say, text_of
from ui.web.composing.sampling import changed
from ui.web.composing.showing import picture, state_line, stored_line, stored_picture
from ui.web.fields import mirror, seed_field
from ui.web.navigation import COMPARE, GRID, link_to_page
from ui.web.refusals import refusals_shown
from ui.web.shortcuts import CANCEL, PAINT
from ui.web.veil import unveil_pictures
from ui.web.words import SOLVERS, plain
from workbench.grids.cells import stored_preview
from workbench.jobs.workers import INTERACTIVE, ensure_painter, is_worker_alive
from workbench.painting.jobs import submit_preview
from workbench.painting.painter_jobs import cancel_unfinished
from workbench.painting.plans import plan_painting
from workbench.painting.rivals import rivals
from workbench.painting.watching import Watched, paints, watch, watch_briefly

if TYPE_CHECKING:
    from registry import Preview, Registry
    from registry.jobs import Job
    from workbench.painting.profiles import Sampling
    from workbench.recipes.drafts import Draft

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 0.5
"""How long a page that asked for a picture waits for it before it is drawn without."""

SEED = "compose-seed"
OWN, GOING = "compose-own", "compose-going"
"""The jobs that this visitor asked for last, and whether any that the page shows was under way when it was drawn."""


def controls(draft: "Draft") -> None:
    """Seed, paint, paint every change, compare."""
    mirror(SEED, number_of("seed", 0))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        seed_field(SEED, changed, (SEED, "seed", lambda seed: seed or None))
        st.button(
            "Paint",
            key="paint",
            type="primary",
            icon=":material/brush:",
            shortcut=PAINT,
            disabled=not draft.is_sound,
            on_click=_paint_now,
            help="Have a painter paint this",
        )
        st.toggle("Paint every change", value=True, key=LIVE, persist_state="session")
        mirror("compose-beside", bool(text_of("beside")))
        st.toggle(
            "Beside DDIM and DPM-Solver++",
            key="compose-beside",
            on_change=changed,
            args=("compose-beside", "beside", lambda chosen: 1 if chosen else None),
            help="The same sum without its acceleration LoRA, with the same number of U-Net evaluations",
        )


def _paint_now() -> None:
    st.session_state[WANTED] = True


def foreseen(registry: "Registry", draft: "Draft") -> None:
    """Where it will be painted, what that takes and how long; or what would fit, where this does not."""
    if not draft.is_sound:
        return
    with refusals_shown():
        plan = plan_painting(registry, draft.painted, base=_base(draft), sampling=draft.sampling)
        st.caption(plain(plan.sentence))


def elsewhere(draft: "Draft") -> None:
    """The ways to the pages that show more of the same."""
    if not draft.is_sound:
        return
    told = {"base": _base(draft) or "", "prompt": text_of("prompt"), "seed": text_of("seed")}
    with st.container(horizontal=True, gap="small"):
        link_to_page(GRID, "Grid of strengths", ":material/apps:", recipe=draft.painted, **told)
        link_to_page(COMPARE, "Compare", ":material/compare:", recipe=[draft.painted, draft.painted], **told)


def ask(registry: "Registry", draft: "Draft") -> None:
    """Have what changed painted, where somebody wishes it and it was not painted before.

    The jobs of the visitor's earlier wishes are given up.
    """
    if not st.session_state.pop(WANTED, False) or not draft.is_sound:
        return
    with refusals_shown():
        for job in st.session_state.pop(OWN, ()):
            cancel_unfinished(registry, job)
        jobs = [] if stored(registry, draft) else [_submit(registry, draft.painted, draft.sampling, draft)]
        say("job", jobs[0].id if jobs else None)
        beside = rivals(draft, draft.sampling) if text_of("beside") else ()
        against = [_submit(registry, rival.recipe, rival.sampling, draft) for rival in beside]
        say("rival", [job.id for job in against])
        st.session_state[OWN] = [job.id for job in (*jobs, *against)]
        _call_painter(registry, st.session_state[OWN])


def _call_painter(registry: "Registry", jobs: Sequence[int]) -> None:
    """Somebody is there to paint, and is given a moment."""
    if not jobs:
        return
    if not is_worker_alive(registry.home, INTERACTIVE):
        with st.spinner("A painter is called"):
            ensure_painter(registry)
    watch_briefly(registry, jobs[0], PATIENCE_SECONDS)


def stored(registry: "Registry", draft: "Draft") -> "Preview | None":
    """The picture that is kept of exactly this."""
    if not draft.is_sound:
        return None
    seed = number_of("seed", 0) or 0
    with refusals_shown():
        return stored_preview(
            registry, draft.painted, text_of("prompt"), base=_base(draft), sampling=draft.sampling, seed=seed
        )
    return None


def _base(draft: "Draft") -> str | None:
    return draft.base.ref if draft.base else None


def _submit(registry: "Registry", recipe: str, sampling: "Sampling", draft: "Draft") -> "Job":
    seed = number_of("seed", 0) or 0
    return submit_preview(registry, recipe, [text_of("prompt")], base=_base(draft), sampling=sampling, seeds=(seed,))


def canvas(registry: "Registry", draft: "Draft") -> None:
    """The picture that the URL's job paints, looked at again and again until it is there; or the one that is kept."""
    unveil_pictures(is_marked=draft.is_marked)
    number = number_of("job")
    found = None if number is None else watch(registry, number)
    if number is not None and found is None:
        st.warning(plain(f"Job {number} paints no picture here; paint anew."), icon=":material/help:")
    kept = None if answers(draft, found) else stored(registry, draft)
    if kept is not None:
        stored_picture(registry, kept, key="own", is_marked=draft.is_marked)
        st.caption(plain(stored_line(kept)))
        found = None
    beside = _rivals_shown(registry, draft)
    seen = [one for one in (found, *(watched for _, watched in beside)) if one is not None]
    if not seen:
        if kept is None:
            st.caption("Nothing is painted yet.")
        return
    is_going_on = any(one.is_under_way for one in seen)
    st.session_state[GOING] = is_going_on
    look = st.fragment(_look, run_every=POLL_SECONDS if is_going_on else None)
    own = None if found is None else found.job.id
    look(registry, draft, own, tuple((title, watched.job.id) for title, watched in beside))


def _rivals_shown(registry: "Registry", draft: "Draft") -> list[tuple[str, Watched]]:
    if not text_of("beside"):
        return []
    numbers = [int(one) for one in st.query_params.get_all("rival") if one.isascii() and one.isdigit()][:4]
    watched = [one for one in (watch(registry, number) for number in numbers) if one is not None]
    return [(SOLVERS.get(one.job.spec.get("solver", ""), "Beside"), one) for one in watched]


def _look(registry: "Registry", draft: "Draft", own: int | None, beside: Sequence[tuple[str, int]]) -> None:
    """Draws the pictures as they are; once all have ended, the page is drawn without looking on."""
    seen = None if own is None else watch(registry, own)
    if seen is not None:
        _own(registry, draft, seen)
    others = [(title, one) for title, job in beside if (one := watch(registry, job)) is not None]
    for column, (title, one) in zip(st.columns(len(others)) if others else (), others, strict=True):
        with column:
            st.caption(plain(state_line(one) if one.pictures else f"{title}, {state_line(one)}"))
            picture(registry, one, key=f"rival-{title}", is_marked=draft.is_marked)
    going = [one.job.id for one in (seen, *(one for _, one in others)) if one is not None and one.is_under_way]
    if going:
        st.button(
            "Cancel",
            key="cancel-painting",
            icon=":material/cancel:",
            shortcut=CANCEL,
            on_click=_cancel,
            args=(registry, going),
        )
    elif st.session_state.pop(GOING, False):
        st.rerun()


def _cancel(registry: "Registry", jobs: Sequence[int]) -> None:
    for job in jobs:
        cancel_unfinished(registry, job)


def _own(registry: "Registry", draft: "Draft", seen: Watched) -> None:
    if not is_of_now(draft, seen.job):
        st.caption(f"Painted earlier, of {plain(str(seen.job.spec.get('recipe', '')))}")
    picture(registry, seen, key="own", is_marked=draft.is_marked)
    st.caption(plain(state_line(seen)))


def answers(draft: "Draft", seen: Watched | None) -> bool:
    """Whether a job paints what the page says now, and something came of it or may still come."""
    return seen is not None and is_of_now(draft, seen.job) and (seen.is_under_way or bool(seen.pictures))


def is_of_now(draft: "Draft", job: "Job") -> bool:
    """Whether the job paints what the page says now."""
    return paints(
        job,
        draft.painted,
        base=_base(draft),
        prompt=text_of("prompt"),
        seed=number_of("seed", 0) or 0,
        sampling=draft.sampling,
    )
