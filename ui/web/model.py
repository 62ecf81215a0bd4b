"""The Model page: one version, what is known about it and on what evidence."""

from typing import TYPE_CHECKING

import streamlit as st

from registry import NotFound
from ui.web.ancestry import history, lineage
from ui.web.cards import badges, cover, link_to, snippet, starting_strength, tag_snippet
from ui.web.evidence import facts, files
from ui.web.pictures import gallery
from ui.web.proof import certificate
from ui.web.words import KINDS, plain, strength_label, time_label

if TYPE_CHECKING:
    from registry import Version
    from ui.web.navigation import Site

TABS = ("Facts", "Files", "Lineage", "History", "Certificate", "Pictures")


def show(site: "Site") -> None:
    """The version that the URL's `ref` names."""
    st.page_link(site.catalog, label="Catalog", icon=":material/arrow_back:")
    ref = st.query_params.get("ref")
    if not ref:
        st.info("Choose a version in the catalog.", icon=":material/touch_app:")
        return
    try:
        version = site.registry.get(ref)
    except NotFound as error:
        st.error(plain(str(error)), icon=":material/search_off:")
        for name in error.nearest:
            link_to(site, name, plain(name))
        return
    _heading(site, version)
    _sections(site, version)


def _heading(site: "Site", version: "Version") -> None:
    left, right = st.columns([1, 2], gap="large")
    with left:
        cover(site, version)
    with right:
        st.title(plain(version.title or version.model), anchor=False)
        badges(version)
        if version.description:
            st.text(version.description)
        _card_facts(version)
        _usage(version)


def _card_facts(version: "Version") -> None:
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


def _sections(site: "Site", version: "Version") -> None:
    tabs = dict(zip(TABS, st.tabs(TABS), strict=True))
    with tabs["Facts"]:
        facts(version)
    with tabs["Files"]:
        files(version)
    with tabs["Lineage"]:
        lineage(site, version)
    with tabs["History"]:
        history(site.registry, version)
    with tabs["Certificate"]:
        certificate(site.registry, version)
    with tabs["Pictures"]:
        gallery(site.registry, version)
