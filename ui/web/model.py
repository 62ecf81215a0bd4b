"""The Model page: one version, what is known about it and on what evidence."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from registry import NotFound
from ui.web.cards import badges, favourite_button, previews_of, show_cover, snippet, strength_words, tag_snippet
from ui.web.describing.ancestry import history, lineage
from ui.web.describing.company import company
from ui.web.describing.evidence import facts, files
from ui.web.describing.gallery import gallery
from ui.web.describing.particulars import edit_fold
from ui.web.describing.proof import certificate
from ui.web.describing.standing import standing
from ui.web.describing.terms import terms
from ui.web.navigation import COMPOSE, link_to, link_to_catalog, link_to_page, shared_registry
from ui.web.pictures import Blobs
from ui.web.refusals import refuse, show_refusal
from ui.web.words import plain, time_label
from workbench.browsing import is_favourite

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
        refuse(error)
        for name in error.nearest:
            link_to(name, plain(name))
        return
    show_refusal()
    _heading(registry, version)
    edit_fold(version)
    _sections(registry, version)


def _heading(registry: "Registry", version: "Version") -> None:
    left, right = st.columns([1, 2], gap="large")
    with left:
        _cover(registry, version)
    with right:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.title(plain(version.title or version.model), anchor=False, width="content")
            kept = is_favourite(registry, version.model)
            favourite_button(version.model, is_favourite=kept, place=version.ref)
        badges(version)
        _ways_on(version)
        standing(registry, version)
        if version.description:
            st.text(version.description)
        _card_facts(registry, version)
        _usage(version)


def _cover(registry: "Registry", version: "Version") -> None:
    newest = previews_of(registry, version, limit=1)
    show_cover(version, newest[0] if newest else None, Blobs(registry, [one.picture for one in newest]))


def _ways_on(version: "Version") -> None:
    """To the page that paints with it; a file of another kind cannot be composed."""
    if version.kind != "other":
        said = {"base": version.ref} if version.kind == "base" else {"recipe": snippet(version)}
        link_to_page(COMPOSE, "Paint with it", ":material/brush:", **said)


def _card_facts(registry: "Registry", version: "Version") -> None:
    columns = st.columns(3)
    columns[0].markdown(f"**Licence**  \n{plain(version.license or 'not recorded')}")
    columns[1].markdown(f"**Trigger words**  \n{plain(', '.join(version.trigger_words) or 'none')}")
    strength = strength_words(version).removeprefix("strength ") or "not recorded"
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
    texts = {"As a term of a recipe": snippet(version), "As a prompt tag in other tools": tag_snippet(version)}
    if version.trigger_words:
        texts["Trigger words"] = ", ".join(version.trigger_words)
    for column, (label, text) in zip(st.columns(len(texts)), texts.items(), strict=True):
        column.caption(label)
        column.code(text, language=None, wrap_lines=True)


def _sections(registry: "Registry", version: "Version") -> None:
    """The sections as tabs; the URL carries which one is open, and only that one is computed."""
    sections: dict[str, Callable[[], None]] = {
        "Facts": lambda: facts(version),
        "Files": lambda: files(version),
        "Fits": lambda: company(registry, version),
        "Lineage": lambda: lineage(registry, version),
        "Licence": lambda: terms(registry, version),
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
