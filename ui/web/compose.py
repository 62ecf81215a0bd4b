"""The Compose page: a recipe as sliders and as text, what is known against it, and what it paints."""

import streamlit as st

from ui.web.composing.address import chosen_settings, follow, remember, restore, text_of, want
from ui.web.composing.choosing import additions, base_choice, is_unstocked, sole_base
from ui.web.composing.judgement import meetings, verdict
from ui.web.composing.keeping import copies, save
from ui.web.composing.painting import ask, canvas, controls, elsewhere, foreseen
from ui.web.composing.sampling import prompt_field, settings
from ui.web.composing.terms import terms
from ui.web.fields import mirror
from ui.web.navigation import link_to_catalog, shared_registry
from ui.web.refusals import say_refusal
from workbench.recipes.drafts import read_draft

PAGE = "compose"
RECIPE = "compose-recipe"


def show() -> None:
    """The recipe that the URL says, its parts on the left, what it paints on the right."""
    registry = shared_registry()
    restore(PAGE)
    st.title("Compose", anchor=False)
    if is_unstocked(registry):
        _first_steps()
        return
    base = text_of("base") or (None if text_of("recipe") else sole_base(registry))
    draft = read_draft(registry, text_of("recipe"), base, said=chosen_settings())
    _recipe()
    if draft.error is not None:
        say_refusal(draft.error)
    left, right = st.columns([5, 6], gap="large")
    with left:
        base_choice(registry, draft)
        terms(draft)
    with right:  # the picture does not wait for what is costly to look up
        prompt_field(draft)
        controls(draft)
        settings(registry, draft)
        ask(registry, draft)
        foreseen(registry, draft)
        canvas(registry, draft)
        elsewhere(draft)
    with left:
        verdict(draft)
        additions(registry, draft)
        meetings(registry, draft)
    with right:
        save(registry, draft)
        copies(registry, draft)
    remember(PAGE)


def _recipe() -> None:
    """The one text that everything else on the page shows."""
    mirror(RECIPE, text_of("recipe"))
    st.text_area(
        "Recipe",
        key=RECIPE,
        height=80,
        placeholder="0.8*papercut + lcm-sd15",
        on_change=_typed,
        help="Sliders rewrite it, and it moves the sliders. What they cannot show stays as it is written.",
    )


def _typed() -> None:
    follow(RECIPE, "recipe")
    want()


def _first_steps() -> None:
    with st.container(border=True):
        st.subheader("Nothing to compose yet", icon=":material/inventory_2:")
        st.markdown("Import a base model and some LoRAs, or let the demo fill this registry.")
        link_to_catalog("To the catalog")


if __name__ == "__main__":
    show()
