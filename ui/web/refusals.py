"""What was refused, in words: the sentence as text, and a place that it points at in a block of fixed width."""

import streamlit as st

from ui.web.words import plain

REFUSAL = "refusal"
"""Where a callback leaves what it was refused for the page that is drawn next."""


def refuse(error: Exception) -> None:
    """Say an error: its first line, then what stands on lines of its own, such as a query with a caret below it."""
    sentence, _, place = str(error).partition("\n")
    st.error(plain(sentence), icon=":material/error:")
    if place:
        st.code(unindented(place), language=None)


def unindented(place: str) -> str:
    """Lines without the spaces that all of them begin with."""
    lines = place.splitlines()
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)


def remember_refusal(error: Exception) -> None:
    """Keep what a callback was refused, which draws nothing itself."""
    st.session_state[REFUSAL] = error


def show_refusal() -> None:
    """Say what the callback before this page was refused, once."""
    if error := st.session_state.pop(REFUSAL, None):
        refuse(error)
