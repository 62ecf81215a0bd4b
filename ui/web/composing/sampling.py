"""How the page paints: the prompt with its trigger words, and the settings, as recommended until somebody chooses."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.composing.address import LARGEST, STEP, chosen_settings, follow, say, text_of, want
from ui.web.fields import mirror
from ui.web.refusals import refusals_shown
from ui.web.words import SOLVERS, plain
from workbench.painting.init_pictures import kept_picture
from workbench.painting.rivals import evaluations
from workbench.recipes.edits import has_word, with_word, without_word

if TYPE_CHECKING:
    from registry import Registry
    from workbench.recipes.drafts import Draft

PROMPT, WORDS = "compose-prompt", "compose-words"
LARGEST_UPLOAD = 30  # megabytes
UPLOAD, UPLOADED = "compose-upload", "compose-uploaded"
"""The field that takes a picture to begin with, and the one that was taken last."""


def prompt_field(draft: "Draft") -> None:
    """The prompt, and the trigger words as switches."""
    mirror(PROMPT, text_of("prompt"))
    st.text_area(
        "Prompt",
        key=PROMPT,
        height=80,
        placeholder="What to paint",
        on_change=changed,
        args=(PROMPT, "prompt"),
    )
    if draft.trigger_words:
        mirror(WORDS, [word for word in draft.trigger_words if has_word(text_of("prompt"), word)])
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


def settings(registry: "Registry", draft: "Draft") -> None:
    """What the vectors recommend until somebody chooses otherwise; each choice is in the URL."""
    chosen = draft.sampling
    label = f"{SOLVERS.get(chosen.solver, chosen.solver)}, {chosen.steps} steps, guidance {chosen.guidance:g}"
    with st.expander(f"Sampling: {plain(label)}", icon=":material/tune:", type="compact"):
        first, second, third = st.columns(3)
        with first:
            st.selectbox("Solver", list(SOLVERS), format_func=SOLVERS.__getitem__, **_field("solver", draft))
        with second:
            st.number_input("Steps", min_value=1, max_value=LARGEST["steps"], step=1, **_field("steps", draft))
        with third:
            st.number_input("Guidance", min_value=1.0, max_value=100.0, step=0.5, **_field("guidance", draft))
        first, second, third = st.columns(3)
        with first:
            _side("Width", "width", draft)
        with second:
            _side("Height", "height", draft)
        with third:
            st.text_input("Negative prompt", **_field("negative", draft), placeholder="With guidance above 1")
        _beginning(registry, draft)
        st.caption(f"{evaluations(chosen)} U-Net evaluations a picture")
        if chosen_settings():
            st.button("As recommended", on_click=_as_recommended, icon=":material/restart_alt:", type="tertiary")


def _side(label: str, name: str, draft: "Draft") -> None:
    st.number_input(
        label,
        min_value=STEP[name],
        max_value=LARGEST[name],
        step=STEP[name],
        value=None,
        placeholder="The base's own",
        **_field(name, draft),
    )


def _field(name: str, draft: "Draft") -> dict[str, Any]:
    """What the field of a setting is told: its key, and what a change of it writes into the URL."""
    key, usual = f"compose-{name}", getattr(draft.recommended, name)
    mirror(key, getattr(draft.sampling, name))
    args = (key, name, lambda chosen: None if chosen == usual else chosen)
    return {"key": key, "on_change": changed, "args": args}


def _beginning(registry: "Registry", draft: "Draft") -> None:
    """A picture to begin with instead of noise, and how much of it is painted over."""
    given = st.file_uploader(
        "Begin with a picture", type=["png", "jpg", "jpeg", "webp"], key=UPLOAD, max_upload_size=LARGEST_UPLOAD
    )
    if given is not None and st.session_state.get(UPLOADED) != given.file_id:
        st.session_state[UPLOADED] = given.file_id
        with refusals_shown():
            say("init", kept_picture(registry, given.getvalue()))
            want()
            st.rerun()
    if draft.sampling.init is None:
        return
    st.slider("Painted over", 0.05, 1.0, step=0.05, **_field("init_strength", draft), help="1 leaves next to nothing")
    st.button("Begin with noise again", on_click=_without_init, icon=":material/close:", type="tertiary")


def _without_init() -> None:
    say("init", None)
    say("init_strength", None)
    want()


def _as_recommended() -> None:
    for name in chosen_settings():
        say(name, None)
    want()


def changed(key: str, name: str, read: Callable[[Any], Any] = lambda value: value) -> None:
    """The callback of a field that changes the picture."""
    follow(key, name, read)
    want()
