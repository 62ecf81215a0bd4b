"""What the URL of the Compose page says: it is the truth of the page, and callbacks rewrite it."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

LAST = "compose-last"
"""The address that the page had when the visitor left it."""

LIVE, WANTED = "compose-live", "compose-wanted"
"""Whether every change is painted, and whether the page that is drawn next asks for a picture."""

LONGEST_SEED = 10


def restore() -> None:
    """Bring back what the visitor left, where the address says nothing."""
    if not st.query_params and (last := st.session_state.get(LAST)):
        st.query_params.from_dict(last)


def remember() -> None:
    """Keep the address for when the visitor comes back to the page."""
    st.session_state[LAST] = {name: st.query_params.get_all(name) for name in st.query_params}


def text_of(name: str) -> str:
    """A parameter of the URL; empty where there is none."""
    return st.query_params.get(name, "")


def number_of(name: str, default: int | None = None) -> int | None:
    """A whole number out of the URL, which anybody may have typed."""
    text = text_of(name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_SEED else default


def say(name: str, value: str | int | float | Sequence[int] | None) -> None:
    """Write a parameter of the URL; nothing takes it out."""
    if value in (None, "", []):
        st.query_params.pop(name, None)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        st.query_params[name] = [str(one) for one in value]
    else:
        st.query_params[name] = f"{value:g}" if isinstance(value, float) else str(value)


def chosen_settings() -> dict[str, Any]:
    """The settings of the sampling that the URL says."""
    found: dict[str, Any] = {}
    if solver := text_of("solver"):
        found["solver"] = solver
    if (steps := number_of("steps")) is not None and steps > 0:
        found["steps"] = steps
    if (guidance := _decimal(text_of("guidance"))) is not None:
        found["guidance"] = guidance
    return found


def _decimal(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 1 <= value <= 100 else None


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
