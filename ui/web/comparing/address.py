"""What the URL of the Compare page says: up to four recipes, and the jobs that paint them."""

from collections.abc import Sequence

import streamlit as st

from ui.web.composing.address import say

MOST = 4
"""Compositions beside each other."""

WANTED = "compare-wanted"
"""Whether the page that is drawn next asks for pictures."""


def kept_recipes() -> list[str]:
    """The recipes of the URL in their order; of a page that is opened bare an empty one."""
    return st.query_params.get_all("recipe")[:MOST] or [""]


def kept_jobs(count: int) -> list[int | None]:
    """The job of each recipe, None where there is none yet."""
    said = [int(one) if one.isascii() and one.isdigit() and int(one) else None for one in _jobs()]
    return [*said, *[None] * count][:count]


def _jobs() -> list[str]:
    return [one[:18] for one in st.query_params.get_all("job")]


def keep(recipes: Sequence[str], jobs: Sequence[int | None]) -> None:
    """Write both into the URL; a recipe that has no job yet has the number 0."""
    st.query_params["recipe"] = list(recipes)
    say("job", [job or 0 for job in jobs] if any(jobs) else None)


def write(place: int, key: str) -> None:
    """The callback of the text of a column."""
    recipes = kept_recipes()
    recipes[place] = st.session_state[key]
    keep(recipes, kept_jobs(len(recipes)))
    st.session_state[WANTED] = True


def add() -> None:
    """One more column, which begins as the last one is."""
    recipes = kept_recipes()
    keep([*recipes, recipes[-1]], [*kept_jobs(len(recipes)), None])


def remove(place: int) -> None:
    """One column less."""
    recipes, jobs = kept_recipes(), kept_jobs(len(kept_recipes()))
    del recipes[place], jobs[place]
    keep(recipes, jobs)
