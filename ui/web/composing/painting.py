"""The picture of the page: what to paint and how, the painters' work on it, and what it is compared with."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.composing.address import LIVE, WANTED, chosen_settings, follow, number_of, say, text_of, want
from ui.web.composing.showing import picture, refused, state_line
from ui.web.shortcuts import CANCEL, PAINT
from ui.web.words import plain
from workbench.picture_jobs import submit_preview
from workbench.picture_watch import Watched, cancel_unfinished, paints, watch, watch_briefly
from workbench.recipe_edits import has_word, with_word, without_word
from workbench.rivals import evaluations, rivals
from workbench.workers import INTERACTIVE, ensure_painter, is_worker_alive

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job
    from workbench.drafts import Draft

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 0.6
"""How long a page that asked for a picture waits for it before it is drawn without."""

PROMPT, SEED, WORDS = "compose-prompt", "compose-seed", "compose-words"
OWN = "compose-own"
"""The jobs that this visitor asked for last."""

LARGEST_SEED = 10**9

SOLVERS = {
    "lcm": "LCM",
    "tcd": "TCD",
    "ddim": "DDIM",
    "dpm": "DPM-Solver",
    "dpm++": "DPM-Solver++",
    "euler": "Euler",
    "unipc": "UniPC",
}


def prompt_field(draft: "Draft") -> None:
    """The prompt, the trigger words as switches, the seed."""
    st.session_state[PROMPT] = text_of("prompt")
    st.text_area(
        "Prompt",
        key=PROMPT,
        height=80,
        placeholder="What to paint",
        on_change=_changed,
        args=(PROMPT, "prompt"),
    )
    if draft.trigger_words:
        st.session_state[WORDS] = [word for word in draft.trigger_words if has_word(text_of("prompt"), word)]
        st.pills(
            "Trigger words",
            list(draft.trigger_words),
            key=WORDS,
            selection_mode="multi",
            format_func=plain,
            on_change=_switch,
            args=(draft.trigger_words,),
        )


def _switch(words: Sequence[str]) -> None:
    """The words that are switched on stand in the prompt, the others do not."""
    prompt = text_of("prompt")
    for word in words:
        if (word in st.session_state[WORDS]) != has_word(prompt, word):
            prompt = with_word(prompt, word) if word in st.session_state[WORDS] else without_word(prompt, word)
    say("prompt", prompt)
    want()


def _changed(key: str, name: str, read: Callable[[Any], Any] = lambda value: value) -> None:
    follow(key, name, read)
    want()


def settings(draft: "Draft") -> None:
    """Solver, steps and guidance: what the vectors recommend until somebody chooses otherwise."""
    chosen = draft.sampling
    label = f"{SOLVERS.get(chosen.solver, chosen.solver)}, {chosen.steps} steps, guidance {chosen.guidance:g}"
    with st.expander(f"Sampling: {plain(label)}", icon=":material/tune:", type="compact"):
        left, middle, right = st.columns(3)
        with left:
            _setting("solver", chosen.solver, draft)
        with middle:
            _setting("steps", chosen.steps, draft)
        with right:
            _setting("guidance", chosen.guidance, draft)
        st.caption(f"{evaluations(chosen)} U-Net evaluations a picture")
        if chosen_settings():
            st.button("As recommended", on_click=_as_recommended, icon=":material/restart_alt:", type="tertiary")


def _setting(name: str, value: Any, draft: "Draft") -> None:
    key, usual = f"compose-{name}", getattr(draft.recommended, name)
    st.session_state[key] = value
    told = {"key": key, "on_change": _changed, "args": (key, name, lambda chosen: None if chosen == usual else chosen)}
    if name == "solver":
        options = list(SOLVERS) if value in SOLVERS else [value, *SOLVERS]
        st.selectbox("Solver", options, format_func=lambda solver: SOLVERS.get(solver, solver), **told)
    elif name == "steps":
        st.number_input("Steps", min_value=1, max_value=1000, step=1, **told)
    else:
        st.number_input("Guidance", min_value=1.0, max_value=100.0, step=0.5, **told)


def _as_recommended() -> None:
    for name in ("solver", "steps", "guidance"):
        say(name, None)
    want()


def controls(draft: "Draft") -> None:
    """Seed, paint, paint every change, compare."""
    st.session_state[SEED] = number_of("seed", 0)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.number_input(
            "Seed",
            min_value=0,
            max_value=LARGEST_SEED,
            step=1,
            key=SEED,
            width=140,
            on_change=_changed,
            args=(SEED, "seed", lambda seed: seed or None),
        )
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
        st.session_state["compose-beside"] = bool(text_of("beside"))
        st.toggle(
            "Beside DDIM and DPM-Solver++",
            key="compose-beside",
            on_change=_changed,
            args=("compose-beside", "beside", lambda chosen: 1 if chosen else None),
            help="The same sum without its acceleration LoRA, with the same number of U-Net evaluations",
        )


def _paint_now() -> None:
    st.session_state[WANTED] = True


def ask(registry: "Registry", draft: "Draft") -> None:
    """Have what changed painted, where somebody wishes it; the jobs of the visitor's earlier wishes are given up."""
    if not st.session_state.pop(WANTED, False) or not draft.is_sound:
        return
    with refused():
        base, prompt, seed = _base(draft), text_of("prompt"), number_of("seed", 0) or 0
        jobs = [_submit(registry, draft.painted, base, prompt, seed, draft.sampling)]
        if text_of("beside"):
            for rival in rivals(draft, draft.sampling):
                jobs.append(_submit(registry, rival.recipe, base, prompt, seed, rival.sampling))
        for job in st.session_state.get(OWN, ()):
            cancel_unfinished(registry, job)
        st.session_state[OWN] = [job.id for job in jobs]
        say("job", jobs[0].id)
        say("rival", [job.id for job in jobs[1:]])
        if not is_worker_alive(registry.home, INTERACTIVE):
            with st.spinner("A painter is called"):
                ensure_painter(registry)
        watch_briefly(registry, jobs[0].id, PATIENCE_SECONDS)


def _base(draft: "Draft") -> str | None:
    return draft.base.ref if draft.base else None


def _submit(registry: "Registry", recipe: str, base: str | None, prompt: str, seed: int, sampling: Any) -> "Job":
    return submit_preview(
        registry,
        recipe,
        [prompt],
        base=base,
        solver=sampling.solver,
        steps=sampling.steps,
        guidance=sampling.guidance,
        spacing=sampling.spacing,
        eta=sampling.eta,
        seeds=(seed,),
    )


def canvas(registry: "Registry", draft: "Draft") -> None:
    """The picture that the URL's job paints; looked at again and again until it is there."""
    number = number_of("job")
    found = None if number is None else watch(registry, number)
    if number is not None and found is None:
        st.warning(plain(f"Job {number} paints no picture here; paint anew."), icon=":material/help:")
    if found is None:
        st.caption("Nothing is painted yet.")
        return
    shown = _rivals_shown(registry, draft)
    is_going_on = any(one.is_under_way for one in (found, *(watched for _, watched in shown)))
    look = st.fragment(_look, run_every=POLL_SECONDS if is_going_on else None)
    look(registry, draft, found.job.id, tuple(title for title, _ in shown), tuple(w.job.id for _, w in shown))


def _rivals_shown(registry: "Registry", draft: "Draft") -> list[tuple[str, Watched]]:
    if not text_of("beside"):
        return []
    numbers = [int(one) for one in st.query_params.get_all("rival") if one.isascii() and one.isdigit()][:4]
    watched = [one for one in (watch(registry, number) for number in numbers) if one is not None]
    return [(SOLVERS.get(one.job.spec.get("solver", ""), "Beside"), one) for one in watched]


def _look(registry: "Registry", draft: "Draft", job: int, titles: Sequence[str], others: Sequence[int]) -> None:
    """Draws the pictures as they are; once all have ended, the page is drawn without looking on."""
    seen = [one for one in (watch(registry, number) for number in (job, *others)) if one is not None]
    _own(registry, draft, seen[0])
    for column, title, one in zip(st.columns(len(titles)) if titles else (), titles, seen[1:], strict=False):
        with column:
            st.caption(f"{plain(title)}, {plain(state_line(one))}")
            picture(registry, one, key=f"rival-{one.job.id}")
    if all(not one.is_under_way for one in seen) and st.session_state.get("compose-going") == job:
        del st.session_state["compose-going"]
        st.rerun()
    if any(one.is_under_way for one in seen):
        st.session_state["compose-going"] = job


def _own(registry: "Registry", draft: "Draft", seen: Watched) -> None:
    if not _is_of_now(draft, seen.job):
        st.caption(f"Painted earlier, of {plain(str(seen.job.spec.get('recipe', '')))}")
    picture(registry, seen, key="own")
    st.caption(plain(state_line(seen)))
    if seen.is_under_way:
        st.button(
            "Cancel",
            key="cancel-painting",
            icon=":material/cancel:",
            shortcut=CANCEL,
            on_click=cancel_unfinished,
            args=(registry, seen.job.id),
        )


def _is_of_now(draft: "Draft", job: "Job") -> bool:
    return paints(
        job,
        draft.painted,
        base=_base(draft),
        prompt=text_of("prompt"),
        seed=number_of("seed", 0) or 0,
        sampling=draft.sampling,
    )
