"""What people say of a version, to be changed in place: strengths, trigger words, title, licence and the like."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from registry import RegistryError
from ui.web.navigation import shared_registry
from ui.web.refusals import remember_refusal

if TYPE_CHECKING:
    from registry import Version

STRENGTHS = {
    "recommended_strength": "Recommended strength",
    "recommended_low": "from",
    "recommended_high": "to",
}
TEXTS = {"title": "Title", "license": "Licence", "note": "Note on this version"}
FIELDS = (*STRENGTHS, *TEXTS, "trigger_words", "description", "nsfw")
FILLED = "filled"
"""Where a session keeps what the form of a version was filled with."""

STEP = 0.05


def edit_fold(version: "Version") -> None:
    """The form behind a fold; what it holds is what is recorded now."""
    fold = st.expander("Edit", icon=":material/edit:", key="edit", on_change="rerun", bind="query-params")
    if fold.open:
        with fold:
            _form(version)


def _form(version: "Version") -> None:
    said: dict[str, Any] = {}
    st.session_state.setdefault(_key(version, FILLED), {name: _recorded(version, name) for name in FIELDS})
    with st.form(f"edit-{version.id}", border=False):
        if version.kind != "base":
            for column, (name, label) in zip(st.columns(3), STRENGTHS.items(), strict=True):
                key = _key(version, name)
                said[name] = column.number_input(label, value=getattr(version, name), step=STEP, format="%g", key=key)
        words = st.text_input("Trigger words", ", ".join(version.trigger_words), key=_key(version, "trigger_words"))
        said["trigger_words"] = _words(words)
        for column, (name, label) in zip(st.columns(3), TEXTS.items(), strict=True):
            said[name] = column.text_input(label, getattr(version, name) or "", key=_key(version, name))
        description = st.text_area("Description", version.description, key=_key(version, "description"), height=80)
        said["description"] = description
        said["nsfw"] = st.checkbox("NSFW: blur its pictures", version.nsfw, key=_key(version, "nsfw"))
        if st.form_submit_button("Save", icon=":material/save:", type="primary", key="save-particulars"):
            _save(version, said)


def _save(version: "Version", said: Mapping[str, Any]) -> None:
    """Write what is different from what the form was filled with, so that nobody else's change is undone."""
    filled = st.session_state.pop(_key(version, FILLED))
    changes = {name: value for name, value in said.items() if value != filled[name]}
    try:
        shared_registry().edit(version.ref, changes=changes)
    except RegistryError as error:
        remember_refusal(error)
    else:
        st.toast("Saved", icon=":material/save:")
    st.rerun()


def _recorded(version: "Version", name: str) -> Any:
    """A value as the form shows it: a trigger word with a comma in it looks like two, and stays one while untouched."""
    recorded = getattr(version, name)
    if name == "trigger_words":
        return _words(", ".join(recorded))
    return (recorded or "") if name in TEXTS else recorded


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _key(version: "Version", name: str) -> str:
    return f"edit-{version.id}-{name}"
