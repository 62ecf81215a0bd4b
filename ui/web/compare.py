"""The Compare page: up to four compositions beside each other, painted from the same noise, and what differs."""

import streamlit as st

from ui.web.comparing.address import kept_recipes
from ui.web.comparing.columns import ask, columns, controls
from ui.web.comparing.table import differences
from ui.web.composing.address import remember, restore, text_of
from ui.web.composing.choosing import is_unstocked, sole_base
from ui.web.navigation import link_to_catalog, shared_registry
from workbench.recipes.drafts import read_draft

PAGE = "compare"


def show() -> None:
    """The recipes that the URL says, what each paints, and the fields in which they differ."""
    registry = shared_registry()
    restore(PAGE)
    st.title("Compare", anchor=False)
    if is_unstocked(registry):
        st.info("Nothing to compare yet: this registry is empty.", icon=":material/inventory_2:")
        link_to_catalog("To the catalog")
        return
    sole = sole_base(registry)
    drafts = [read_draft(registry, recipe, text_of("base") or (None if recipe else sole)) for recipe in kept_recipes()]
    controls(drafts)
    ask(registry, drafts)
    columns(registry, drafts)
    differences(drafts)
    remember(PAGE)


if __name__ == "__main__":
    show()
