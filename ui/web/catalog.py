"""The Catalog page: everything registered, as cards; the URL carries the search and the filters."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from ui.web.cards import card
from ui.web.navigation import DEMO_COMMANDS, shared_registry
from ui.web.words import FAMILIES, KINDS, family_label

if TYPE_CHECKING:
    from registry import Registry, Version

PAGE = 24  # cards: divisible by 2, 3, 4 and 6 columns
CARD_WIDTH = 230  # pixels, at least


@dataclass(frozen=True)
class Wanted:
    """What the reader asked for; `after` is the id of the last card of the page before."""

    text: str | None
    kind: str | None
    family: str | None
    after: int | None

    @property
    def narrows(self) -> bool:
        """Whether anything could hide a version."""
        return any((self.text, self.kind, self.family, self.after))


def show() -> None:
    """Search, filters, a grid of cards, and the way to the next page."""
    st.title("Catalog")
    registry = shared_registry()
    wanted = _wanted(registry)
    found = registry.search(wanted.text, kind=wanted.kind, family=wanted.family, limit=PAGE + 1, after=wanted.after)
    if not found and wanted.narrows:
        _no_match()
    elif not found:
        _first_steps()
    else:
        _cards(registry, found[:PAGE])
        _paging(wanted, found[PAGE - 1].id if len(found) > PAGE else None)


def _cards(registry: "Registry", versions: Iterable["Version"]) -> None:
    grid = st.grid("auto", min_column_width=CARD_WIDTH, border=True)
    for version in versions:
        with grid.cell():
            card(registry, version)


def _wanted(registry: "Registry") -> Wanted:
    text = st.text_input(
        "Search",
        key="q",
        type="search",
        bind="query-params",
        live="300ms",
        placeholder="Search names, titles and descriptions; * stands for anything",
        icon=":material/search:",
        label_visibility="collapsed",
        on_change=_first_page,
    )
    with st.container(horizontal=True, gap="medium"):
        kind = _filter("Kind", "kind", list(KINDS), KINDS.__getitem__)
        family = _filter("Family", "family", _families(registry), family_label)
    return Wanted(text or None, kind, family, _number(st.query_params.get("after", "")))


def _filter(label: str, name: str, options: list[str], words: Callable[[str], str]) -> str | None:
    """One choice among `options`. The URL is its truth and names the option; `bind` would write its label there."""
    asked = st.query_params.get(name)
    st.session_state[name] = asked if asked in options else None
    return st.pills(label, options, key=name, format_func=words, on_change=_choose, args=(name,))


def _choose(name: str) -> None:
    _first_page()
    if st.session_state[name]:
        st.query_params[name] = st.session_state[name]
    else:
        st.query_params.pop(name, None)


def _families(registry: "Registry") -> list[str]:
    """The shipped families and every imported base's own."""
    own = {architecture.name for architecture in registry.architectures()} - FAMILIES.keys()
    return [*sorted(own), *FAMILIES]


def _number(text: str) -> int | None:
    """A version's id out of a URL, which anybody may have typed."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _first_page() -> None:
    """Another question starts at its first page."""
    st.query_params.pop("after", None)


def _next_page(last: int) -> None:
    st.query_params["after"] = str(last)


def _paging(wanted: Wanted, last: int | None) -> None:
    """The way to the page after `last`, and back to the first; the URL carries where the reader is."""
    if wanted.after is None and last is None:
        return
    with st.container(horizontal=True, horizontal_alignment="center"):
        first = ":material/first_page:"
        st.button("First page", on_click=_first_page, icon=first, disabled=wanted.after is None)
        following = ":material/chevron_right:"
        st.button("Next page", on_click=_next_page, args=(last,), icon=following, disabled=last is None)


def _clear() -> None:
    st.session_state["q"] = ""
    for name in ("kind", "family", "after"):
        st.query_params.pop(name, None)


def _no_match() -> None:
    with st.container(border=True):
        st.subheader("Nothing matches", icon=":material/search_off:")
        st.markdown("No version has all of this. Archived versions are shown only by their number.")
        st.button("Clear search and filters", on_click=_clear, icon=":material/filter_alt_off:")


def _first_steps() -> None:
    with st.container(border=True):
        st.subheader("This catalog is empty", icon=":material/inventory_2:")
        st.markdown("Import a LoRA file or a base model's folder; it is identified, hashed and kept:")
        st.code("tau import papercut.safetensors --kind style --license openrail++", language=None)
        st.markdown(
            "Or watch the whole job on a small world of shapes, about five minutes. It fills a registry of its own,"
            " which the second command opens:"
        )
        st.code(DEMO_COMMANDS, language=None)


if __name__ == "__main__":
    show()
