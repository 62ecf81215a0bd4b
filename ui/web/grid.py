"""The Grid page: what changes across and down, the cells as they are painted, and the way from a cell to Compose."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from ui.web.composing.address import chosen_settings, follow, text_of
from ui.web.fields import mirror
from ui.web.gridding.axes import axis_field, extend
from ui.web.gridding.cells import show_cells
from ui.web.navigation import shared_registry
from ui.web.refusals import refusals_kept, refusals_shown, show_refusal
from ui.web.shortcuts import PAINT
from ui.web.words import plain
from workbench.grids.jobs import submit_grid
from workbench.grids.orders import GridOrder, missing_cells, plan_order, proposed_axes
from workbench.grids.painting import plan_cells
from workbench.grids.planning import GridPlan, painted_cells
from workbench.jobs.workers import ensure_painter
from workbench.painting.profiles import SamplingWords

if TYPE_CHECKING:
    from registry import Registry

CHOICES = 200
SOLVERS = ("lcm", "tcd", "ddim", "dpm", "dpm++", "euler", "unipc")


def show() -> None:
    """The order in the fields, which the URL carries, and its cells."""
    st.title("Grid", anchor=False)
    registry = shared_registry()
    order = _order(registry)
    show_refusal()
    if not order.x.strip():
        _first_steps(order)
        return
    with refusals_shown():
        plan = plan_order(registry, order)
        extend()
        _paint(registry, plan)
        line = st.container()
        show_cells(registry, plan)
        with line:  # last: nobody waits for what is painted while the first look at the device is taken
            _foreseen(registry, plan)


def _order(registry: "Registry") -> GridOrder:
    recipe = st.text_input(
        "Recipe", placeholder="0.8*papercut + lcm-sd15", help="What the grid varies", **_followed("recipe", text_of)
    )
    across, down = st.columns(2)
    base = st.session_state.get("base")
    with across:
        x = axis_field(registry, "x", "Across", recipe, base)
    with down:
        y = axis_field(registry, "y", "Down", recipe, base)
    prompts = st.text_area("Prompts, one a line", height=70, **_followed("prompt", text_of))
    with st.expander("Base, seeds and sampling", icon=":material/tune:"):
        chosen, seeds, settings = _settings(registry)
    lines = tuple(line.strip() for line in prompts.splitlines() if line.strip())
    return GridOrder(recipe, x, y, lines, chosen, seeds, settings)


def _settings(registry: "Registry") -> tuple[str | None, str, SamplingWords]:
    """The base, the seeds, and what is chosen otherwise than the recipe's vectors want."""
    bases = [version.ref for version in registry.search(kind="base", limit=CHOICES)]
    named = st.query_params.get("base")
    options = bases if named is None or named in bases else [named, *bases]
    left, middle, right = st.columns(3)
    with left:
        base = st.selectbox(
            "Base model",
            options,
            index=None,
            placeholder="the only one that fits",
            **_followed("base", _word),
        )
        seeds = st.text_input("Seeds", placeholder="0", **_followed("seed", text_of))
    said: SamplingWords = {
        "solver": middle.selectbox(
            "Solver", SOLVERS, index=None, placeholder="as recommended", **_followed("solver", _solver)
        ),
        "steps": middle.number_input(
            "Steps", 1, 1000, None, placeholder="as recommended", **_followed("steps", _number)
        ),
        "guidance": right.number_input(
            "Guidance scale", 1.0, 100.0, None, placeholder="as recommended", **_followed("guidance", _number)
        ),
        "negative": right.text_input("Negative prompt", **_followed("negative", text_of)) or None,
    }
    return base, seeds, said


def _followed(name: str, read: Callable[[str], Any]) -> dict[str, Any]:
    """What makes a field show a parameter of the URL and write it.

    Bound, it would take the parameter out of the links to Compose as well: Streamlit clears what the page that is left
    has bound, by name.
    """
    mirror(name, read(name))
    return {"key": name, "on_change": follow, "args": (name, name)}


def _word(name: str) -> str | None:
    return text_of(name) or None


def _solver(name: str) -> str | None:
    return found if (found := text_of(name)) in SOLVERS else None


def _number(name: str) -> float | int | None:
    return cast("float | int | None", chosen_settings().get(name))


def _first_steps(order: GridOrder) -> None:
    """Without an axis there is no grid: what to write, or strength against strength."""
    with st.container(border=True):
        st.subheader("What should change?", icon=":material/apps:", anchor=False)
        st.markdown(
            "Write a recipe and what changes across and down: the strength of a LoRA, steps, solver, guidance, seed,"
            " prompt or recipe. Each cell is one picture, painted once."
        )
        st.code("papercut=0:1.2:5\nsolver=lcm,tcd", language=None)
        st.button(
            "Strength against strength",
            type="primary",
            icon=":material/grid_on:",
            disabled=not order.recipe.strip(),
            on_click=_propose,
            args=(order.recipe, order.base),
        )


@refusals_kept
def _propose(recipe: str, base: str | None) -> None:
    st.session_state["x"], st.session_state["y"] = proposed_axes(shared_registry(), recipe, base)


def _paint(registry: "Registry", plan: GridPlan) -> None:
    """The button that paints what is not painted yet."""
    missing = missing_cells(plan, painted_cells(registry, plan))
    label = f"Paint {missing:,} cell{'s' if missing != 1 else ''}" if missing else "All cells are painted"
    brush = ":material/brush:"
    st.button(label, type="primary", icon=brush, disabled=not missing, shortcut=PAINT, on_click=_submit, args=(plan,))


def _foreseen(registry: "Registry", plan: GridPlan) -> None:
    """Where the cells that are left will be painted, what that takes and how long; or what would fit."""
    with refusals_shown():
        if (planned := plan_cells(registry, plan.cells)) is not None:
            st.caption(plain(planned.sentence))


@refusals_kept
def _submit(plan: GridPlan) -> None:
    registry = shared_registry()
    job = submit_grid(registry, plan)
    ensure_painter(registry)
    st.query_params["job"] = str(job.id)


if __name__ == "__main__":
    show()
