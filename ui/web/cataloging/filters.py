"""The catalog's filters: chips that include, exclude or leave be, with the URL as their truth.

`?kind=style&not-family=sdxl` shows styles that are not for SDXL; a key may stand there several times.
"""

from collections.abc import Iterable, Mapping

import streamlit as st

from ui.web.words import KINDS, family_label, plain
from workbench.browsing import Filter

NOT = "not-"
LABELS = {
    "kind": "Kind",
    "family": "Family",
    "state": "State",
    "license": "Licence",
    "tag": "Tags",
    "nsfw": "NSFW",
    "favourite": "Favourites",
}
"""Key of a filter -> what people call it."""

AT_HAND = ("kind", "favourite")
"""Keys whose chips are always there; the others have a panel."""

LONGEST_VALUE = 256  # characters of a value in the URL: the index knows no longer one


def filters_of_url() -> tuple[Filter, ...]:
    """The filters that the URL carries."""
    found = []
    for key in LABELS:
        for excluded in (False, True):
            values = st.query_params.get_all(f"{NOT}{key}" if excluded else key)
            found += [Filter(key, value, excluded) for value in values if 0 < len(value) <= LONGEST_VALUE]
    return tuple(dict.fromkeys(found))


def filter_bar(reader: str, filters: Iterable[Filter]) -> None:
    """The chips that are always there, and one for every other filter that is set."""
    chosen = tuple(filters)
    with st.container(horizontal=True, gap="xxsmall"):
        for key, values in {"kind": KINDS, "favourite": [reader]}.items():
            _chips(key, values, chosen)
        for one in chosen:
            if one.key not in AT_HAND:
                _chip(one.key, one.value, one, "set")


def filter_panel(offered: Mapping[str, Iterable[str]], filters: Iterable[Filter]) -> None:
    """The chips of everything else that can be filtered by."""
    chosen = tuple(filters)
    st.caption("Click once to see only these, twice to see all but these, three times for all.")
    for key, label in LABELS.items():
        if key in AT_HAND or not (values := list(offered[key])):
            continue
        with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall"):
            st.caption(label, width=70)
            _chips(key, values, chosen)


def clear_filters() -> None:
    """Take every filter out of the URL."""
    for key in LABELS:
        _set(key, (), excluded=False)
        _set(key, (), excluded=True)
    first_page()


def first_page() -> None:
    """Another question starts at its first page."""
    st.query_params.pop("after", None)


def label_of(key: str, value: str) -> str:
    """How people call a value."""
    if key == "kind":
        return KINDS.get(value, value)
    words = {"nsfw": "NSFW", "favourite": "Favourites", "family": family_label(value)}
    return words.get(key, "no licence" if (key, value) == ("license", "none") else value)


def _chips(key: str, values: Iterable[str], chosen: tuple[Filter, ...]) -> None:
    """A chip for each value on offer, and for each that the URL has beside them."""
    found = {one.value: one for one in chosen if one.key == key}
    for value in dict.fromkeys([*values, *found]):
        _chip(key, value, found.get(value), "all")


def _chip(key: str, value: str, chosen: Filter | None, place: str) -> None:
    label, icon, is_in = plain(label_of(key, value)), None, chosen is not None and not chosen.excluded
    if chosen is not None:
        label = label if is_in else f":red[not {label}]"
        icon = ":material/check:" if is_in else ":material/block:"
    shown = "primary" if is_in else "secondary"
    st.button(label, key=f"{place}-{key}-{value}", on_click=_turn, args=(key, value), icon=icon, type=shown)


def _turn(key: str, value: str) -> None:
    """Leave be -> include -> exclude -> leave be."""
    included, excluded = (st.query_params.get_all(name) for name in (key, f"{NOT}{key}"))
    if value in excluded:
        _set(key, [one for one in excluded if one != value], excluded=True)
    elif value in included:
        _set(key, [one for one in included if one != value], excluded=False)
        _set(key, [*excluded, value], excluded=True)
    else:
        _set(key, [*included, value], excluded=False)
    first_page()


def _set(key: str, values: Iterable[str], *, excluded: bool) -> None:
    name = f"{NOT}{key}" if excluded else key
    if kept := list(values):
        st.query_params[name] = kept
    else:
        st.query_params.pop(name, None)
