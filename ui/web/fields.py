"""Fields that show what the URL says, and what they have in common on several pages."""

import math
from collections.abc import Callable
from typing import Any

import streamlit as st

LARGEST_SEED = 10**9


def mirror(key: str, value: Any) -> None:
    """Have the field `key`, which is drawn next, show `value`.

    A field that shows it already is left alone: what is assigned replaces what the browser holds, and somebody may have
    typed on, or moved the slider further, while the page was drawn.
    """
    if key not in st.session_state or not _is_same(st.session_state[key], value):
        st.session_state[key] = value


def _is_same(shown: Any, value: Any) -> bool:
    """A slider counts its steps in floating point, so that 0.95 comes as 0.9500000000000002."""
    if isinstance(shown, float) and isinstance(value, float):
        return math.isclose(shown, value, rel_tol=1e-9, abs_tol=1e-9)
    return bool(shown == value)


def seed_field(key: str, on_change: Callable[..., None], args: tuple[Any, ...]) -> None:
    """The number that the noise follows from."""
    st.number_input(
        "Seed", min_value=0, max_value=LARGEST_SEED, step=1, key=key, width=140, on_change=on_change, args=args
    )
