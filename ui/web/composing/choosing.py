"""Choosing what the sum is made of: the base, and the LoRAs that fit it."""

from typing import TYPE_CHECKING

import streamlit as st

from registry import InvalidQuery
from ui.web.cards import starting_strength
from ui.web.composing.address import rewrite, say, text_of, want
from ui.web.fields import mirror
from ui.web.navigation import link_to, link_to_catalog
from ui.web.refusals import refuse
from ui.web.words import KIND_ICONS, family_label, plain
from workbench.recipes.drafts import bases
from workbench.recipes.edits import with_reference, with_term

if TYPE_CHECKING:
    from registry import Registry, Version
    from registry.fitting import Fit
    from workbench.recipes.drafts import Draft

FOUND = 8
"""Candidates shown at a time; a search finds the rest."""

BASE = "compose-base"
SEARCH = "compose-search"


def sole_base(registry: "Registry") -> str | None:
    """The base, where there is only one to choose."""
    found = bases(registry, limit=2)
    return found[0].ref if len(found) == 1 else None


def base_choice(registry: "Registry", draft: "Draft") -> None:
    """The base to paint on: that of the recipe, else that of the URL, else the only one that fits."""
    found = {version.ref: version for version in (*draft.candidates, *bases(registry))}
    if draft.base is not None:
        found.setdefault(draft.base.ref, draft.base)
    if not found:
        st.info("There is no base model yet: import a folder or a checkpoint.", icon=":material/deployed_code:")
        link_to_catalog("To the catalog")
        return
    mirror(BASE, draft.base.ref if draft.base else None)
    st.selectbox(
        "Base model",
        list(found),
        key=BASE,
        format_func=lambda ref: _base_label(found[ref]),
        index=None,
        placeholder="Choose a base to see what fits",
        on_change=_choose,
        args=(next((term.written.position for term in draft.terms if term.is_base), None),),
    )


def _base_label(version: "Version") -> str:
    return f"{version.title or version.model} ({version.ref}, {family_label(version.family or 'unknown')})"


def _choose(position: int | None) -> None:
    """The base goes into the recipe where one stands there, else beside it."""
    if position is None:
        say("base", st.session_state[BASE])
        want()
    elif st.session_state[BASE]:
        rewrite(with_reference, position, st.session_state[BASE])


def additions(registry: "Registry", draft: "Draft") -> None:
    """A search among the vectors that fit the base, each with a button that adds it."""
    with st.expander("Add a LoRA", icon=":material/add:", expanded=not draft.has_vectors):
        if draft.base is None:
            st.caption("Choose a base first: what fits depends on it.")
            return
        wanted = st.text_input(
            "Search what fits",
            key=SEARCH,
            type="search",
            live="300ms",
            placeholder="A name, a word, kind:acceleration",
            label_visibility="collapsed",
        )
        try:
            found = registry.fits(draft.base.ref, text=wanted or None, limit=FOUND)
        except InvalidQuery as error:
            refuse(error)
            return
        is_readable = bool(draft.terms) or not draft.text
        for fit in found:
            _candidate(fit, is_readable=is_readable)
        if not found:
            st.caption("Nothing that is registered fits this base." if not wanted else "Nothing that fits has this.")
        elif len(found) == FOUND:
            st.caption("The newest; search for others.")


def _candidate(fit: "Fit", *, is_readable: bool) -> None:
    version = fit.version
    icon = KIND_ICONS[version.kind] if fit.verdict == "fits" else ":material/warning:"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(gap=None):
            link_to(version.ref, f"**{plain(version.title or version.model)}**", icon)
            st.caption(plain(f"{version.ref}: {'; '.join(fit.reasons)}"))
        st.button(
            "Add",
            key=f"add-{version.ref}",
            icon=":material/add:",
            disabled=not is_readable,
            on_click=rewrite,
            args=(with_term, version.ref, starting_strength(version)),
            help=f"At strength {starting_strength(version):g}",
        )


def is_unstocked(registry: "Registry") -> bool:
    """Whether there is nothing to compose."""
    return not registry.search(limit=1) and not text_of("recipe")
