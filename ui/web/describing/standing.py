"""How a version is offered: publish, deprecate, archive, and the aliases that mean it; each asks once more."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from registry import RegistryError
from ui.web.navigation import shared_registry
from ui.web.refusals import remember_refusal
from ui.web.words import plain

if TYPE_CHECKING:
    from registry import Registry, Version

MOVES = {
    "draft": ("publish", "archive"),
    "published": ("deprecate", "archive"),
    "deprecated": ("publish", "archive"),
    "archived": ("publish",),
}
"""State -> what can be done to a version in it."""

ICONS = {
    "publish": ":material/publish:",
    "deprecate": ":material/do_not_disturb_on:",
    "archive": ":material/archive:",
}
MEANINGS = {
    "publish": "From now on its model's bare name means this version, if it is the newest. Its files stay as they are.",
    "deprecate": "It is offered no longer; whatever names it goes on working.",
    "archive": "It is hidden from the catalog and from bare names; its number still finds it.",
}


def standing(registry: "Registry", version: "Version") -> None:
    """A button for each thing that can be done now, with what it means and a second one that does it."""
    with st.container(horizontal=True, gap="small"):
        for move in MOVES[version.state]:
            with st.popover(move.capitalize(), icon=ICONS[move], key=f"ask-{move}-{version.id}"):
                st.markdown(MEANINGS[move])
                _confirm(registry, version, move)
        with st.popover("Aliases", icon=":material/label:", key=f"ask-alias-{version.id}"):
            _aliases(registry, version)


def _confirm(registry: "Registry", version: "Version", move: str) -> None:
    conflicts = registry.license_report(version.ref).conflicts if move == "publish" else ()
    for conflict in conflicts:
        st.warning(plain(conflict), icon=":material/gavel:")
    if conflicts:
        st.text_input("Why publish it all the same? History keeps the reason.", key=f"despite-{version.id}")
    st.button(
        plain(f"{move.capitalize()} {version.ref}"),
        key=f"{move}-{version.id}",
        on_click=_move,
        args=(version.ref, version.id, move),
        type="primary",
    )


def _aliases(registry: "Registry", version: "Version") -> None:
    """Aliases that mean this version, each to be taken away, and one more, which may mean another version now."""
    for name in version.aliases:
        taken = (registry.unalias, version.ref, name)
        st.button(plain(f"Take away @{name}"), key=f"unalias-{name}", on_click=_change, args=taken)
    name = st.text_input("Alias", key=f"alias-{version.id}", placeholder="production").strip()
    if not name:
        return
    if meant := _meant_now(registry, version, name):
        st.warning(plain(f"@{name} means {meant} now, and will mean {version.ref}."), icon=":material/swap_horiz:")
    label = plain(f"Let @{name} mean {version.ref}")
    st.button(label, key="set-alias", on_click=_change, args=(registry.alias, version.ref, name), type="primary")


def _meant_now(registry: "Registry", version: "Version", name: str) -> str | None:
    """The other version that an alias means; None where it is free, or could never be an alias, which is said later."""
    try:
        meant = registry.get(f"{version.model}@{name}").ref
    except RegistryError:
        return None
    return meant if meant != version.ref else None


def _move(ref: str, number: int, move: str) -> None:
    registry = shared_registry()
    if move == "publish":
        despite = str(st.session_state.get(f"despite-{number}", "")).strip() or None
        _change(lambda: registry.publish(ref, despite=despite))
    else:
        _change(registry.deprecate if move == "deprecate" else registry.archive, ref)


def _change(change: Callable[..., Any], *said: str) -> None:
    """Do it, or keep why not for the page that is drawn next."""
    try:
        change(*said)
    except RegistryError as error:
        remember_refusal(error)
