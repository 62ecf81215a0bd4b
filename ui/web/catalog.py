"""The Catalog page: everything registered, as cards; the URL carries the search and the filters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from ui.web.cards import card
from ui.web.words import FAMILIES, KINDS, family_label

if TYPE_CHECKING:
    from registry import Registry
    from ui.web.navigation import Site

PAGE = 24  # cards: divisible by 2, 3, 4 and 6 columns
CARD_WIDTH = 250  # pixels, at least


@dataclass(frozen=True)
class Wanted:
    """What the reader asked for; `after` is the last card of the page before."""

    text: str | None
    kind: str | None
    family: str | None
    after: str | None

    @property
    def narrows(self) -> bool:
        """Whether anything could hide a version."""
        return any((self.text, self.kind, self.family, self.after))


def show(site: "Site") -> None:
    """Search, filters, a grid of cards, and the way to the next page."""
    st.title("Catalog")
    wanted = _wanted(site.registry)
    found = site.registry.search(
        wanted.text, kind=wanted.kind, family=wanted.family, limit=PAGE + 1, after=wanted.after
    )
    if not found:
        _no_match() if wanted.narrows else _first_steps()
        return
    grid = st.grid("auto", min_column_width=CARD_WIDTH, border=True)
    for version in found[:PAGE]:
        with grid.cell():
            card(site, version)
    _paging(site, wanted, found[PAGE - 1].ref if len(found) > PAGE else None)


def _wanted(registry: "Registry") -> Wanted:
    text = st.text_input(
        "Search",
        key="q",
        type="search",
        bind="query-params",
        live="300ms",
        placeholder="Search names, titles, trigger words and tags",
        icon=":material/search:",
        label_visibility="collapsed",
        on_change=_first_page,
    )
    with st.container(horizontal=True, gap="medium"):
        kind = st.pills(
            "Kind", list(KINDS), key="kind", format_func=KINDS.get, bind="query-params", on_change=_first_page
        )
        family = st.pills(
            "Family",
            _families(registry),
            key="family",
            format_func=family_label,
            bind="query-params",
            on_change=_first_page,
        )
    return Wanted(text or None, kind, family, st.query_params.get("after"))


def _families(registry: "Registry") -> list[str]:
    """The shipped families and every imported base's own."""
    own = {architecture.name for architecture in registry.architectures()} - FAMILIES.keys()
    return [*sorted(own), *FAMILIES]


def _first_page() -> None:
    """Another question starts at its first page."""
    st.query_params.pop("after", None)


def _clear() -> None:
    _first_page()
    st.session_state.update(q="", kind=None, family=None)


def _paging(site: "Site", wanted: Wanted, last: str | None) -> None:
    """Links, and not buttons, so that a page of the catalog has an address."""
    question = {"q": wanted.text, "kind": wanted.kind, "family": wanted.family}
    question = {name: value for name, value in question.items() if value}
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        if wanted.after:
            st.page_link(site.catalog, label="First page", icon=":material/first_page:", query_params=question)
        if last:
            following = {**question, "after": last}
            st.page_link(site.catalog, label="Next page", icon=":material/chevron_right:", query_params=following)


def _no_match() -> None:
    with st.container(border=True):
        st.subheader("Nothing matches", icon=":material/search_off:")
        st.markdown("No version has all of this. Archived versions are shown only by their number.")
        st.button("Clear search and filters", on_click=_clear, icon=":material/filter_alt_off:")


def _first_steps() -> None:
    with st.container(border=True):
        st.subheader("This catalog is empty", icon=":material/inventory_2:")
        st.markdown("Import a LoRA file or a base model's folder; it is identified, hashed and kept:")
        st.code("tau import papercut.safetensors --kind style --license openrail++", language="shell")
        st.markdown(
            "Or watch the whole job on a small world of shapes, about five minutes; it fills a registry of its own:"
        )
        st.code("tau demo", language="shell")
