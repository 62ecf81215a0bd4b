"""A version as a card: enough to recognise it, and the texts that use it."""

from typing import TYPE_CHECKING

import streamlit as st

from registry import CorruptBlob
from ui.web.copying import copy_texts
from ui.web.navigation import link_to, shared_registry
from ui.web.pictures import Blobs, placeholder, thumbnail
from ui.web.veil import BLURRED, is_veiled, unveil_button
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

TAGS_SHOWN = 3
BRACKETS = str.maketrans("", "", "[]")
"""A badge of Streamlit's Markdown ends at a bracket, escaped or not."""


def card(version: "Version", cover: "Preview | None", blobs: Blobs, *, is_favourite: bool) -> None:
    """Picture, title, badges, and what uses the version, one below the other."""
    show_cover(version, cover, blobs)
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="xxsmall"):
        link_to(version.ref, f"**{plain(version.title or version.model)}**", width="stretch")
        favourite_button(version.model, is_favourite=is_favourite, place=version.ref)
    badges(version)
    copies(version)


def show_cover(version: "Version", cover: "Preview | None", blobs: Blobs, *, place: str = "cover") -> None:
    """A picture that the version painted, blurred where it has to be, or a placeholder.

    `place` tells it from the same picture elsewhere on the page.
    """
    if cover is None:
        st.image(placeholder(version.digest), width="stretch", alt="")
        return
    is_hidden = is_veiled(version, cover)
    painted(blobs, cover, is_blurred=is_hidden)
    if is_hidden:
        unveil_button(cover, f"{place}-{version.ref}")


def previews_of(registry: "Registry", version: "Version", *, limit: int) -> list["Preview"]:
    """The version's own pictures, newest first; without any, those of the recipe that it was composed by."""
    own = registry.previews(version.ref, limit=limit)
    recipe = None if own or version.kind != "composition" else registry.recipe(version.ref)
    return registry.previews(f"recipe:{recipe.sha256}", limit=limit) if recipe else own


def painted(blobs: Blobs, preview: "Preview", *, is_blurred: bool = False) -> None:
    """A stored picture; a blob that is no longer whole is said in its place, and spoils nothing else on the page."""
    try:
        thumb = thumbnail(preview.picture, blobs, blurred=is_blurred)
    except CorruptBlob as error:
        st.warning(plain(str(error)), icon=":material/broken_image:")
        return
    alt = BLURRED if is_blurred else f"Painted with {preview.subject}"
    st.image(thumb, width="stretch", output_format="PNG" if thumb.startswith(b"\x89PNG") else "JPEG", alt=alt)


def badges(version: "Version") -> None:
    """Kind, family, licence, state, aliases, strength and tags as one text: a browser draws many elements slowly."""
    found = [
        (KIND_COLOURS[version.kind], f"{KIND_ICONS[version.kind]} {KINDS[version.kind]}"),
        ("gray", _badge(family_label(version.family or "unknown"))),
        ("gray", _badge(version.license) if version.license else "no licence recorded"),
        (STATE_COLOURS[version.state], f"v{version.number} · {version.state}"),
        *(("primary", _badge(f"@{alias}")) for alias in version.aliases),
        *([("red", "NSFW")] if version.nsfw else []),
        *([("blue", _badge(words))] if (words := strength_words(version)) else []),
        *(("gray", _badge(tag)) for tag in _tags(version)),
    ]
    st.markdown(" ".join(f":{colour}-badge[{label}]" for colour, label in found))


def favourite_button(model: str, *, is_favourite: bool, place: str) -> None:
    """Keeps the model at hand for the reader, or no longer."""
    st.button(
        ":orange[★]" if is_favourite else "☆",
        key=f"favourite-{place}",
        on_click=_keep,
        args=(model, not is_favourite),
        help="No favourite any more" if is_favourite else "Make it a favourite",
        type="tertiary",
    )


def copies(version: "Version") -> None:
    """The texts that use the version, each with its button that copies it."""
    term = snippet(version)
    copy_texts(*([term] if version.kind == "base" else [term, prompt_snippet(version)]), key=f"copy-{version.ref}")


def snippet(version: "Version") -> str:
    """The version as a term of a recipe: a base by its name, a vector with the strength to start from."""
    if version.kind == "base":
        return version.ref
    return f"{float(starting_strength(version))!r}*{version.ref}"


def tag_snippet(version: "Version") -> str:
    """The version as other tools write it in a prompt: `<lora:papercut:0.8>`."""
    return f"<lora:{version.model}:{strength_label(starting_strength(version))}>"


def prompt_snippet(version: "Version") -> str:
    """What a prompt in other tools needs, tag and trigger words: `<lora:papercut:0.8> papercut, layered paper`."""
    return " ".join([tag_snippet(version), ", ".join(version.trigger_words)]).strip()


def starting_strength(version: "Version") -> float:
    """The recommended strength, or 1 where nobody recommended one."""
    return 1.0 if version.recommended_strength is None else version.recommended_strength


def strength_words(version: "Version") -> str:
    """What is recommended: `strength 0.8, 0.6 to 1.1`; empty where nothing is."""
    said = [] if version.recommended_strength is None else [f"strength {strength_label(version.recommended_strength)}"]
    ends = [None if end is None else strength_label(end) for end in (version.recommended_low, version.recommended_high)]
    if ends[0] and ends[1]:
        said.append(f"{ends[0]} to {ends[1]}")
    elif ends[0] or ends[1]:
        said.append(f"from {ends[0]}" if ends[0] else f"up to {ends[1]}")
    return ", ".join(said)


def _tags(version: "Version") -> list[str]:
    """The first tags in words, and how many more there are."""
    tags = [f"{key}: {value}" if value else key for key, value in version.tags.items()]
    return tags if len(tags) <= TAGS_SHOWN else [*tags[:TAGS_SHOWN], f"+{len(tags) - TAGS_SHOWN} tags"]


def _badge(text: str) -> str:
    return plain(text.translate(BRACKETS))


def _keep(model: str, wanted: bool) -> None:
    registry = shared_registry()
    change = registry.favourite if wanted else registry.unfavourite
    change(model)
