"""What the URL of a page says: it is the truth of the page, and callbacks rewrite it."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

LIVE, WANTED = "compose-live", "compose-wanted"
"""Whether every change is painted, and whether the page that is drawn next asks for a picture."""

LONGEST_NUMBER = 9
LARGEST = {"steps": 1000, "width": 4096, "height": 4096}
STEP = {"steps": 1, "width": 8, "height": 8}
"""The whole numbers among the settings: how large they are at most, and what they are multiples of."""


def restore(page: str) -> None:
    """Bring back what the visitor left on the page, where the address says nothing."""
    if not st.query_params and (last := st.session_state.get(f"{page}-last")):
        st.query_params.from_dict(last)


def remember(page: str) -> None:
    """Keep the address for when the visitor comes back to the page."""
    st.session_state[f"{page}-last"] = {name: st.query_params.get_all(name) for name in st.query_params}


def text_of(name: str) -> str:
    """A parameter of the URL; empty where there is none."""
    return st.query_params.get(name, "")


def number_of(name: str, default: int | None = None) -> int | None:
    """A whole number out of the URL, which anybody may have typed."""
    text = text_of(name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else default


def say(name: str, value: str | int | float | Sequence[int] | None) -> None:
    """Write a parameter of the URL; nothing takes it out."""
    if value in (None, "", []):
        st.query_params.pop(name, None)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        st.query_params[name] = [str(one) for one in value]
    else:
        st.query_params[name] = f"{value:g}" if isinstance(value, float) else str(value)


def chosen_settings() -> dict[str, Any]:
    """The settings of the sampling that the URL says; a picture to begin with by its digest alone, never by a path."""
    numbers = {name: number_of(name) for name in LARGEST}
    found: dict[str, Any] = {name: n for name, n in numbers.items() if n and n <= LARGEST[name] and n % STEP[name] == 0}
    found |= {name: text_of(name) for name in ("solver", "negative") if text_of(name)}
    if (guidance := _decimal(text_of("guidance"), 1, 100)) is not None:
        found["guidance"] = guidance
    if re.fullmatch("[0-9a-f]{64}", text_of("init")):
        found["init"] = text_of("init")
        if (strength := _decimal(text_of("init_strength"), 0.05, 1)) is not None:
            found["init_strength"] = strength
    return found


def _decimal(text: str, least: float, most: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if least <= value <= most else None


def follow(key: str, name: str, read: Callable[[Any], Any] = lambda value: value) -> None:
    """The callback of a field that shows a parameter: what it holds now goes into the URL."""
    say(name, read(st.session_state[key]))


def rewrite(edit: Callable[..., str], *arguments: Any) -> None:
    """The callback of whatever changes the recipe: `edit` makes the new text of it out of the old one."""
    say("recipe", edit(text_of("recipe"), *arguments))
    want()


def want() -> None:
    """What changed is painted with the next page, where the visitor wishes that."""
    if st.session_state.get(LIVE, True):
        st.session_state[WANTED] = True
