"""What was refused, said on the page: errors that the rooms raise on purpose, and no others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import streamlit as st

from ui.web.words import plain
from workbench.outcomes import outcome_of

P = ParamSpec("P")
KEPT = "refused"
"""Where a callback keeps what was refused until the page shows it."""


@contextmanager
def refusals_shown() -> Iterator[None]:
    """Inside, an error that is foreseen is shown in its own words; any other one is a fault and goes on."""
    try:
        yield
    except Exception as error:
        if outcome_of(error) is None:
            raise
        show_refusal(str(error))


def refusals_kept(callback: Callable[P, None]) -> Callable[P, None]:
    """A callback whose foreseen errors are kept for `kept_refusal`: before the page nothing can be shown."""

    @wraps(callback)
    def keep(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception as error:
            if outcome_of(error) is None:
                raise
            st.session_state[KEPT] = str(error)

    return keep


def kept_refusal() -> None:
    """What a callback was refused since the page was shown last."""
    if refused := st.session_state.pop(KEPT, None):
        show_refusal(refused)


def show_refusal(words: str) -> None:
    """An error in its own words; of several lines, the places that a caret points at stay below each other."""
    if "\n" in words.strip():
        first, rest = words.strip().split("\n", 1)
        st.error(plain(first), icon=":material/error:")
        st.code(rest, language=None)
    else:
        st.error(plain(words), icon=":material/error:")
