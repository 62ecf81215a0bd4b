"""The terms of the recipe as sliders: strengths with their recommended band, and factors of parts of the network."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.composing.address import rewrite
from ui.web.fields import mirror
from ui.web.navigation import link_to
from ui.web.words import KIND_COLOURS, KIND_ICONS, KINDS, plain, strength_label
from workbench.recipes.edits import PARTS, with_part, with_strength, without_term

if TYPE_CHECKING:
    from registry import Version
    from workbench.recipes.drafts import Draft, DraftTerm

LOW, HIGH, STEP = -1.0, 2.0, 0.05
"""What a slider of a strength shows; a strength beyond stays text."""

PART_HIGH = 2.0
DECIMALS = 4


def terms(draft: "Draft") -> None:
    """One box a term, in the order of the recipe."""
    for term in draft.terms:
        with st.container(border=True, gap="small"):
            _heading(term)
            if not term.is_base or term.written.strength != 1:
                with st.container(gap=None):
                    _strength(term)
            if term.written.other_scopes:
                st.caption(f"Also in the recipe: {plain(term.written.other_scopes)}")
            if term.parts:
                _parts(term)


def _heading(term: "DraftTerm") -> None:
    version = term.version
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if version is None:
            st.markdown(f"**{plain(term.written.text)}**", width="stretch")
        else:
            with st.container(gap=None):
                link_to(version.ref, f"**{plain(version.title or version.model)}**", KIND_ICONS[version.kind])
                st.caption(f":{KIND_COLOURS[version.kind]}[{KINDS[version.kind]}] {plain(version.ref)}")
        st.button(
            f"Remove term {term.written.position + 1}",
            key=f"remove-{term.written.position}",
            on_click=rewrite,
            args=(without_term, term.written.position),
            icon=":material/close:",
            type="tertiary",
            help=f"Take {_name(term)} out of the recipe",
        )


def _name(term: "DraftTerm") -> str:
    """What tells the fields of a term from those of the others; a reference has no mark that a label would read."""
    return f"term {term.written.position + 1}" if term.version is None else term.version.ref


def _strength(term: "DraftTerm") -> None:
    strength, position = term.written.strength, term.written.position
    if not LOW <= strength <= HIGH:
        st.markdown(
            f"Strength **{plain(strength_label(strength))}**, as the recipe says;"
            f" the slider goes from {plain(strength_label(LOW))} to {strength_label(HIGH)}."
        )
        return
    key = f"strength-{position}"
    mirror(key, strength)
    st.slider(
        f"Strength of {_name(term)}",
        LOW,
        HIGH,
        step=STEP,
        key=key,
        format="%.2f",
        on_change=_move,
        args=(key, position),
    )
    if term.version is not None:
        _recommended(term.version)


def _move(key: str, position: int) -> None:
    rewrite(with_strength, position, round(st.session_state[key], DECIMALS))


def _recommended(version: "Version") -> None:
    """The recommended band under its slider, and in words."""
    low, high, best = version.recommended_low, version.recommended_high, version.recommended_strength
    if low is None and high is None and best is None:
        return
    st.image(band(low, high, best), width="stretch", alt="")
    st.caption(f"Recommended: {plain(band_words(low, high, best))}")


def band_words(low: float | None, high: float | None, best: float | None) -> str:
    """`0.8, between 0.6 and 1.1`."""
    said = [] if best is None else [strength_label(best)]
    if low is not None and high is not None:
        said.append(f"between {strength_label(low)} and {strength_label(high)}")
    elif low is not None or high is not None:
        said.append(f"from {strength_label(low)}" if low is not None else f"up to {strength_label(high or 0)}")
    return ", ".join(said)


def band(low: float | None, high: float | None, best: float | None) -> str:
    """An SVG as wide as the slider: the recommended range, and the recommended strength in it."""
    left, right = (_place(end) for end in (LOW if low is None else low, HIGH if high is None else high))
    has_range = low is not None or high is not None
    drawn = f'<rect x="{left:.1f}" y="2" width="{right - left:.1f}" height="4" rx="2" fill="#2e9e5b"/>'
    mark = "" if best is None else f'<rect x="{_place(best) - 1.5:.1f}" y="0" width="3" height="8" fill="#1f7a44"/>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 8" width="600" height="8">'
        '<rect x="0" y="3.5" width="600" height="1" fill="#8f8880" fill-opacity="0.35"/>'
        f"{drawn if has_range else ''}{mark}</svg>"
    )


def _place(strength: float) -> float:
    """Where a strength is on the slider, in 600ths."""
    return 600 * (min(max(strength, LOW), HIGH) - LOW) / (HIGH - LOW)


def _parts(term: "DraftTerm") -> None:
    """The factors of the blocks; open where one is set."""
    told = ", ".join(f"{PARTS[part].lower()} {strength_label(factor)}" for part, factor in term.written.parts.items())
    label = f"Block strengths: {plain(told)}" if told else "Block strengths"
    position = term.written.position
    with st.expander(label, key=f"blocks-{position}", type="compact"):
        for part in term.parts:
            _part(term, part, term.written.parts.get(part, 1.0))


def _part(term: "DraftTerm", part: str, factor: float) -> None:
    if not 0 <= factor <= PART_HIGH:
        st.markdown(f"{PARTS[part]}: **{plain(strength_label(factor))}** times, as the recipe says.")
        return
    position = term.written.position
    key = f"part-{position}-{part}"
    mirror(key, factor)
    st.slider(
        f"{PARTS[part]} of {_name(term)}",
        0.0,
        PART_HIGH,
        step=STEP,
        key=key,
        format="%.2f times",
        on_change=_move_part,
        args=(key, position, part),
    )


def _move_part(key: str, position: int, part: str) -> None:
    rewrite(with_part, position, part, round(st.session_state[key], DECIMALS))
