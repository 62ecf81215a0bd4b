"""What was refused, in words: the sentence as text, and a place that it points at in a block of fixed width."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import streamlit as st

from ui.web.words import plain
from workbench.outcomes import outcome_of

P = ParamSpec("P")
REFUSAL = "refusal"
"""Where a callback leaves what it was refused for the page that is drawn next."""


def refuse(error: Exception) -> None:
    """Say an error: its first line, then what stands on lines of its own, such as a query with a caret below it."""
    say_refusal(str(error))


def say_refusal(message: str) -> None:
    """Say what an error said."""
    sentence, _, place = message.partition("\n")
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


@contextmanager
def refusals_shown() -> Iterator[None]:
    """Inside, an error that is foreseen is said; any other one is a fault and goes on."""
    try:
        yield
    except Exception as error:
        if outcome_of(error) is None:
            raise
        refuse(error)


def refusals_kept(callback: Callable[P, None]) -> Callable[P, None]:
    """A callback whose foreseen errors are kept for `show_refusal`: before the page nothing can be shown."""

    @wraps(callback)
    def keep(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception as error:
            if outcome_of(error) is None:
                raise
            remember_refusal(error)

    return keep
