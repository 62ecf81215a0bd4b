"""The Model page: one version, what is known about it and on what evidence."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from registry import NotFound
from ui.web.ancestry import history, lineage
from ui.web.cards import badges, cover, snippet, tag_snippet
from ui.web.evidence import facts, files
from ui.web.gallery import gallery
from ui.web.navigation import link_to, link_to_catalog, shared_registry
from ui.web.proof import certificate
from ui.web.words import plain, strength_label, time_label

if TYPE_CHECKING:
    from registry import Registry, Version


def show() -> None:
    """The version that the URL's `ref` names."""
    link_to_catalog()
    ref = st.query_params.get("ref")
    if not ref:
        st.info("Choose a version in the catalog.", icon=":material/touch_app:")
        return
    registry = shared_registry()
    try:
        version = registry.get(ref)
    except NotFound as error:
        st.error(plain(str(error)), icon=":material/search_off:")
        for name in error.nearest:
            link_to(name, plain(name))
        return
    _heading(registry, version)
    _sections(registry, version)


def _heading(registry: "Registry", version: "Version") -> None:
    left, right = st.columns([1, 2], gap="large")
    with left:
        cover(registry, version)
    with right:
        st.title(plain(version.title or version.model), anchor=False)
        badges(version)
        if version.description:
            st.text(version.description)
        _card_facts(registry, version)
        _usage(version)


def _card_facts(registry: "Registry", version: "Version") -> None:
    columns = st.columns(3)
    columns[0].markdown(f"**Licence**  \n{plain(version.license or 'not recorded')}")
    words = ", ".join(plain(word) for word in version.trigger_words) or "none"
    columns[1].markdown(f"**Trigger words**  \n{words}")
    strength = "not recorded" if version.recommended_strength is None else strength_label(version.recommended_strength)
    columns[2].markdown(f"**Recommended strength**  \n{plain(strength)}")
    author = f" by {plain(version.author)}" if version.author else ""
    st.caption(f"{plain(version.ref)} · registered {plain(time_label(version.created_at))}{author}")
    if version.note:
        st.caption(plain(version.note))
    _other_versions(registry, version)


def _other_versions(registry: "Registry", version: "Version") -> None:
    """Links to the newest other versions of the model."""
    alike = registry.search(version.model, kind=version.kind)
    others = [one for one in alike if one.model == version.model and one.id != version.id]
    if others:
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.caption("Other versions", width="content")
            for other in others:
                link_to(other.ref, f"v{other.number} · {other.state}")


def _usage(version: "Version") -> None:
    if version.kind == "base":
        st.caption("As the base of a recipe")
        st.code(snippet(version), language=None)
        return
    recipe, tag = st.columns(2)
    with recipe:
        st.caption("As a term of a recipe")
        st.code(snippet(version), language=None, wrap_lines=True)
    with tag:
        st.caption("As a prompt tag in other tools")
        st.code(tag_snippet(version), language=None, wrap_lines=True)


def _sections(registry: "Registry", version: "Version") -> None:
    """The sections as tabs; the URL carries which one is open, and only that one is computed."""
    sections: dict[str, Callable[[], None]] = {
        "Facts": lambda: facts(version),
        "Files": lambda: files(version),
        "Lineage": lambda: lineage(registry, version),
        "History": lambda: history(registry, version),
        "Certificate": lambda: certificate(registry, version),
        "Pictures": lambda: gallery(registry, version),
    }
    tabs = st.tabs(list(sections), key="section", on_change="rerun", bind="query-params")
    for tab, section in zip(tabs, sections.values(), strict=True):
        if tab.open:
            with tab:
                section()


if __name__ == "__main__":
    show()
