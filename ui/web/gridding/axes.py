"""The fields of a grid's axes: their text, a form that writes it, and more values for them."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.refusals import refusals_kept
from workbench.grids.axes import SETTINGS
from workbench.grids.orders import extended_axis, turnable
from workbench.outcomes import outcome_of

if TYPE_CHECKING:
    from registry import Registry

EXAMPLES = {"x": "papercut=0:1.2:5", "y": "lcm-sd15=0.6:1.2:3"}
MORE = {"x": "more-x", "y": "more-y"}


def axis_field(registry: "Registry", name: str, label: str, recipe: str, base: str | None) -> str:
    """The text of an axis, which the URL carries as `name`, beside a form that writes it."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        text = st.text_input(label, key=name, bind="query-params", placeholder=EXAMPLES[name])
        with st.popover("Build", icon=":material/build:"):
            _builder(name, _choices(registry, recipe, base))
    return text


def _choices(registry: "Registry", recipe: str, base: str | None) -> tuple[str, ...]:
    """What can be turned; of a recipe that cannot be read, the settings alone."""
    try:
        return turnable(registry, recipe, base)
    except Exception as error:
        if outcome_of(error) is None:
            raise
        return SETTINGS


def _builder(name: str, choices: tuple[str, ...]) -> None:
    what = st.selectbox("What changes", choices, key=f"{name}-what")
    values = st.text_input(
        "Values", key=f"{name}-values", placeholder="0:1.2:5, or 0, 0.5, 1", help="FROM:TO:COUNT, or values and commas"
    )
    st.button("Use it", key=f"{name}-use", on_click=_use, args=(name,), disabled=not (what and values))


def _use(name: str) -> None:
    st.session_state[name] = f"{st.session_state[f'{name}-what']}={st.session_state[f'{name}-values']}"


def extend() -> None:
    """Fields for one more column or row: only its cells are painted."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for name, label in (("x", "One more column"), ("y", "One more row")):
            if st.session_state.get(name):
                st.text_input(label, key=MORE[name], placeholder="0.7", width=160)
                st.button("Add", key=f"add-{name}", icon=":material/add:", on_click=_extend, args=(name,))


@refusals_kept
def _extend(name: str) -> None:
    st.session_state[name] = extended_axis(st.session_state[name], st.session_state[MORE[name]])
    st.session_state[MORE[name]] = ""
