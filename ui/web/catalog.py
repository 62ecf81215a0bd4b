"""The Catalog page: everything registered, as cards; the URL carries the search, the filters and the place."""

import re
import shlex
from typing import TYPE_CHECKING

import streamlit as st

from registry import InvalidName, InvalidQuery
from ui.web.cards import card
from ui.web.cataloging.filters import clear_filters, filter_bar, filter_panel, filters_of_url, first_page
from ui.web.cataloging.intake import first_steps, follow_job, import_panel
from ui.web.cataloging.selection import pick_box, selection_bar
from ui.web.copying import copy_texts
from ui.web.navigation import shared_registry
from ui.web.pictures import Blobs
from ui.web.refusals import refuse, show_refusal
from ui.web.veil import veil_switch
from workbench.browsing import Browsed, browse, filter_values, filtered_query, is_empty

if TYPE_CHECKING:
    from registry import Page, Registry

PAGE = 12  # cards: divisible by 2, 3, 4 and 6 columns; a browser draws twice as many too slowly
CARD_WIDTH = 230  # pixels, at least
FILTERS, IMPORT, SELECT_MANY = "Filters", "Import", "Select many"
"""The panels above the cards, as the URL has them: `?panel=Import`."""

SORTS = ("newest", "oldest", "name", "relevance")
CURSOR = re.compile(r"[A-Za-z0-9_-]{1,400}")


def show() -> None:
    """Search, filters, a grid of cards, and the way to the next page."""
    st.title("Catalog")
    registry = shared_registry()
    show_refusal()
    follow_job(registry)
    if is_empty(registry):
        first_steps()
        return
    text, sort = _question()
    filters = filters_of_url()
    filter_bar(registry.database.actor, filters)
    panel = _panel()
    if panel == FILTERS:
        filter_panel(filter_values(registry), filters)
        veil_switch()
    elif panel == IMPORT:
        import_panel()
    try:
        query = filtered_query(text, filters)
        found = browse(registry, query, sort=sort, limit=PAGE, after=_place(), counted=True)
    except (InvalidName, InvalidQuery) as error:
        refuse(error)
        st.button("Clear search and filters", on_click=_clear, icon=":material/filter_alt_off:")
        return
    if found.page.versions:
        if panel == SELECT_MANY:
            selection_bar(found.page, query)
        _found(registry, found, query, sort, is_selecting=panel == SELECT_MANY)
    else:
        _no_match()


def _question() -> tuple[str, str]:
    """The text that is searched for, and the order."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search",
            key="q",
            type="search",
            bind="query-params",
            live="300ms",
            placeholder='papercut  "soft shadows"  *cut*  rank:16..64  tag:approved=yes  -license:none',
            icon=":material/search:",
            label_visibility="collapsed",
            on_change=first_page,
        )
        sort = st.selectbox(
            "Order",
            SORTS,
            key="sort",
            bind="query-params",
            on_change=first_page,
            label_visibility="collapsed",
            width=130,
        )
    return text or "", str(sort)


def _panel() -> str | None:
    """The panel that is open, if any; the URL carries it."""
    return st.pills(
        "Panels", (FILTERS, IMPORT, SELECT_MANY), key="panel", bind="query-params", label_visibility="collapsed"
    )


def _found(registry: "Registry", found: Browsed, query: str, sort: str, *, is_selecting: bool) -> None:
    page = found.page
    st.caption(f"{page.total} {'version' if page.count == 1 else 'versions'}")
    blobs = Blobs(registry, (cover.picture for cover in found.covers.values()))
    grid = st.grid("auto", min_column_width=CARD_WIDTH, border=True)
    for version in page.versions:
        with grid.cell(), st.container(gap="xsmall"):
            if is_selecting:
                pick_box(version.ref)
            card(version, found.covers.get(version.ref), blobs, is_favourite=version.model in found.favourites)
    _paging(page)
    if query:
        st.caption("The same in a terminal")
        copy_texts(f"tau search --sort {sort} -- {shlex.quote(query)}", key="in-a-terminal")


def _place() -> str | int | None:
    """Where the page before ended, out of a URL, which anybody may have typed: a cursor, or a version's id."""
    said = st.query_params.get("after", "")
    if re.fullmatch("[0-9]{1,18}", said):
        return int(said)
    return said if CURSOR.fullmatch(said) and not said.isdecimal() else None


def _next_page(cursor: str) -> None:
    st.query_params["after"] = cursor


def _paging(page: "Page") -> None:
    """The way to the next page, and back to the first; the URL carries where the reader is."""
    is_first = "after" not in st.query_params
    if is_first and page.cursor is None:
        return
    with st.container(horizontal=True, horizontal_alignment="center"):
        st.button("First page", on_click=first_page, icon=":material/first_page:", disabled=is_first)
        st.button(
            "Next page",
            on_click=_next_page,
            args=(page.cursor,),
            icon=":material/chevron_right:",
            disabled=page.cursor is None,
        )


def _clear() -> None:
    st.session_state["q"] = ""
    clear_filters()
    first_page()


def _no_match() -> None:
    with st.container(border=True):
        st.subheader("Nothing matches", icon=":material/search_off:")
        st.markdown("No version has all of this. Archived versions are shown where the state is asked for.")
        st.button("Clear search and filters", on_click=_clear, icon=":material/filter_alt_off:")


if __name__ == "__main__":
    show()
