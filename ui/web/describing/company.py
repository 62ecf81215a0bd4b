"""What fits a version: vectors for a base, bases for a vector, with the reasons."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import streamlit as st

from formats import FormatError
from registry import Refused
from ui.web.navigation import link_to
from ui.web.words import KIND_ICONS, plain

if TYPE_CHECKING:
    from registry import Fit, Registry, Version

SHOWN = 50
COLOURS: Mapping[str, Literal["green", "orange", "gray"]] = {"fits": "green", "partly": "orange", "no": "gray"}


def company(registry: "Registry", version: "Version") -> None:
    """The newest candidates, those that fit first."""
    try:
        found = registry.fits(version.ref, limit=SHOWN)
    except (Refused, FormatError) as error:
        st.info(plain(str(error)), icon=":material/help:")
        return
    if not found:
        st.caption("Nothing in this catalog can be compared with it.")
        return
    st.caption(f"The newest, {SHOWN} at most; those that fit come first.")
    for fit in found:
        _row(fit)


def _row(fit: "Fit") -> None:
    one = fit.version
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(fit.verdict, color=COLOURS[fit.verdict])
        link_to(one.ref, f"**{plain(one.ref)}**", KIND_ICONS[one.kind])
        st.caption(plain("; ".join(fit.reasons)), width="stretch")
