"""Many versions at once: boxes on the cards, what was picked over all pages, and the tags that it gets."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import streamlit as st

from registry import RegistryError
from ui.web.fields import mirror
from ui.web.navigation import shared_registry
from ui.web.refusals import remember_refusal
from ui.web.words import plain
from workbench.errors import WorkbenchError
from workbench.tagging import put_tag, take_tag

if TYPE_CHECKING:
    from registry import Page, Version

PICKED = "picked"
"""References, in the order in which they were picked."""

DONE = "tagged"
"""What the last change did, said once."""


def pick_box(ref: str) -> None:
    """A card's box."""
    key = f"pick-{ref}"
    mirror(key, ref in _picked())
    st.checkbox("Select", key=key, on_change=_pick, args=(ref,))


def selection_bar(page: "Page", query: str) -> None:
    """How many are picked, what to pick at once, and the tag that they get; `query` finds all that match."""
    if done := st.session_state.pop(DONE, None):
        st.toast(plain(done), icon=":material/sell:")
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{len(_picked())} selected**", width="content")
            st.button("This page", on_click=_pick_all, args=([one.ref for one in page.versions],), key="pick-page")
            st.button("None", on_click=_pick_none, key="pick-none", disabled=not _picked())
            st.checkbox(f"All {page.total} that match", key="pick-matching")
        with st.form("tagging", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input("Tag", key="tag-said", placeholder="approved or approved=yes", width=300)
            for label, change in (("Add tag", put_tag), ("Take tag off", take_tag)):
                st.form_submit_button(label, on_click=_change, args=(change, query))


def _picked() -> tuple[str, ...]:
    return tuple(st.session_state.get(PICKED, ()))


def _pick(ref: str) -> None:
    wanted = st.session_state[f"pick-{ref}"]
    others = [one for one in _picked() if one != ref]
    st.session_state[PICKED] = [*others, ref] if wanted else others


def _pick_all(refs: Iterable[str]) -> None:
    st.session_state[PICKED] = list(dict.fromkeys([*_picked(), *refs]))


def _pick_none() -> None:
    st.session_state[PICKED] = []


def _change(change: "Callable[..., list[Version]]", query: str) -> None:
    where = query if st.session_state["pick-matching"] else None
    said = st.session_state["tag-said"]
    try:
        changed = change(shared_registry(), () if where is not None else _picked(), said, where=where)
    except (RegistryError, WorkbenchError) as error:
        remember_refusal(error)
        return
    st.session_state[DONE] = f"{len(changed)} changed: {said}"
