"""Findings of a verdict or a pre-flight: what is wrong, what is worth knowing, and the remedies."""

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from ui.web.words import plain

LEVELS = {
    "error": (st.error, ":material/error:"),
    "warning": (st.warning, ":material/warning:"),
    "note": (st.info, ":material/info:"),
}


def findings(found: Iterable[Mapping[str, Any]]) -> None:
    """Each finding (severity, sentence, remedy) in the colour of its severity."""
    for one in found:
        box, icon = LEVELS[one["severity"]]
        remedy = f"  \n**{plain(one['remedy'])}**" if one["remedy"] else ""
        box(plain(one["sentence"]) + remedy, icon=icon)
