"""A version as a card: enough to recognise it, and the text that uses it."""

from typing import TYPE_CHECKING

import streamlit as st

from registry import CorruptBlob
from ui.web.navigation import link_to
from ui.web.pictures import placeholder, thumbnail
from ui.web.words import (
    KIND_COLOURS,
    KIND_ICONS,
    KINDS,
    STATE_COLOURS,
    family_label,
    plain,
    strength_label,
)

if TYPE_CHECKING:
    from registry import Preview, Registry, Version


def card(registry: "Registry", version: "Version") -> None:
    """Picture, title, badges, terms of use, and the recipe snippet, one below the other."""
    cover(registry, version)
    link_to(version.ref, f"**{plain(version.title or version.model)}**")
    badges(version)
    st.caption(" · ".join(_terms(version)))
    st.code(snippet(version), language=None, wrap_lines=True)


def cover(registry: "Registry", version: "Version") -> None:
    """The first picture that the version painted, or its placeholder."""
    previews = previews_of(registry, version, limit=1)
    if previews:
        painted(registry, previews[0])
    else:
        st.image(placeholder(version.digest), width="stretch", alt="")


def previews_of(registry: "Registry", version: "Version", *, limit: int) -> list["Preview"]:
    """The version's own pictures, newest first; without any, those of the recipe that it was composed by."""
    own = registry.previews(version.ref, limit=limit)
    recipe = None if own or version.kind != "composition" else registry.recipe(version.ref)
    return registry.previews(f"recipe:{recipe.sha256}", limit=limit) if recipe else own


def painted(registry: "Registry", preview: "Preview") -> None:
    """A stored picture; a blob that is no longer whole is said in its place, and spoils nothing else on the page."""
    try:
        path = registry.blob_path(preview.picture)
    except CorruptBlob as error:
        st.warning(plain(str(error)), icon=":material/broken_image:")
        return
    thumb = thumbnail(preview.picture, path)
    st.image(thumb, width="stretch", output_format="PNG", alt=f"Painted with {preview.subject}")


def badges(version: "Version") -> None:
    """Kind, family, number and state."""
    with st.container(horizontal=True, gap="xxsmall"):
        st.badge(KINDS[version.kind], icon=KIND_ICONS[version.kind], color=KIND_COLOURS[version.kind])
        st.badge(plain(family_label(version.family or "unknown")), color="gray")
        st.badge(f"v{version.number} · {version.state}", color=STATE_COLOURS[version.state])
        for alias in version.aliases:
            st.badge(plain(f"@{alias}"), color="primary")


def snippet(version: "Version") -> str:
    """The version as a term of a recipe: a base by its name, a vector with the strength to start from."""
    if version.kind == "base":
        return version.ref
    return f"{float(starting_strength(version))!r}*{version.ref}"


def tag_snippet(version: "Version") -> str:
    """The version as other tools write it in a prompt: `<lora:papercut:0.8>`."""
    return f"<lora:{version.model}:{strength_label(starting_strength(version))}>"


def starting_strength(version: "Version") -> float:
    """The recommended strength, or 1 where nobody recommended one."""
    return 1.0 if version.recommended_strength is None else version.recommended_strength


def _terms(version: "Version") -> list[str]:
    terms = [plain(version.license) if version.license else "no licence recorded"]
    if version.trigger_words:
        terms.append("say " + ", ".join(f"“{plain(word)}”" for word in version.trigger_words))
    if version.recommended_strength is not None:
        terms.append(f"strength {plain(strength_label(version.recommended_strength))}")
    return terms
