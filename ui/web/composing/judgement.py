"""What is known against the sum before it is painted: the verdict, and how its vectors meet."""

from itertools import combinations
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.composing.address import follow, rewrite, text_of
from ui.web.fields import mirror
from ui.web.words import plain, strength_label
from workbench.outcomes import outcome_of
from workbench.recipes.edits import with_strength
from workbench.sums.interfering import InterferenceReport, at_strengths, interfere

if TYPE_CHECKING:
    from registry import Registry
    from workbench.recipes.drafts import Draft, DraftTerm

ICONS = {"error": ":material/block:", "warning": ":material/warning:", "note": ":material/info:"}
PAIRS = 6
"""How many pairs are compared; a sum of more than four vectors has more."""

MEET = "compose-meet"


def verdict(draft: "Draft") -> None:
    """What forbids the sum, what warns, what is good to know; live, for nothing is computed for it."""
    if draft.error is not None or not draft.terms:
        return
    counted = {severity: [one for one in draft.findings if one.severity == severity] for severity in ICONS}
    for finding in counted["error"]:
        st.error(plain(f"{finding.sentence} {finding.remedy}"), icon=ICONS["error"])
    for finding in counted["warning"]:
        st.warning(plain(f"{finding.sentence} {finding.remedy}"), icon=ICONS["warning"])
    if not draft.has_errors and draft.has_vectors:
        st.success(_summary(len(counted["warning"]), len(counted["note"])), icon=":material/verified:")
    if notes := counted["note"]:
        with st.expander(f"{len(notes)} good to know", icon=ICONS["note"], type="compact"):
            for finding in notes:
                st.markdown(f"- {plain(finding.sentence)} {plain(finding.remedy)}")


def _summary(warnings: int, notes: int) -> str:
    if warnings:
        return "The sum can be made; mind the warning." if warnings == 1 else "The sum can be made; mind the warnings."
    return "The sum can be made, and nothing speaks against it."


def meetings(registry: "Registry", draft: "Draft") -> None:
    """How each two vectors meet, compared once somebody asks for it."""
    vectors = [term for term in draft.terms if term.version is not None and not term.is_base]
    pairs = [(a, b) for a, b in combinations(vectors, 2) if a.version != b.version][:PAIRS]
    if not pairs:
        return
    mirror(MEET, bool(text_of("meet")))
    st.toggle("How they meet: predicted interference", key=MEET, on_change=follow, args=(MEET, "meet", _as_word))
    if text_of("meet"):
        with st.container(border=True):
            for left, right in pairs:
                _pair(registry, left, right)


def _as_word(is_wanted: bool) -> int | None:
    return 1 if is_wanted else None


def _pair(registry: "Registry", left: "DraftTerm", right: "DraftTerm") -> None:
    first, second = left.version, right.version
    if first is None or second is None:
        return
    try:
        with st.spinner("Comparing"):
            measured = _measured(registry, first.ref, second.ref, first.digest + second.digest)
    except Exception as error:
        if outcome_of(error) is None:
            raise
        st.warning(plain(str(error)), icon=ICONS["warning"])
        return
    report = at_strengths(measured, (left.written.strength, right.written.strength))
    st.markdown(f"**{plain(first.ref)}** and **{plain(second.ref)}**: {plain(meeting_words(report))}")
    _suggestion(report, left if report.style == "a" else right)
    with st.expander("By block", type="compact", key=f"by-block-{left.written.position}-{right.written.position}"):
        st.dataframe([_row(block, report) for block in report.interference.blocks], hide_index=True)


@st.cache_resource(max_entries=256, show_spinner=False)
def _measured(_registry: "Registry", a: str, b: str, digests: str) -> InterferenceReport:
    """The comparison at strength 1, which another strength changes nothing of; one a pair of contents."""
    return interfere(_registry, a, b)


def meeting_words(report: InterferenceReport) -> str:
    """The cosine in words, and how much one lies within the other."""
    cosine = report.interference.overlap.cosine
    if cosine is None:
        return "one of them does nothing"
    if abs(cosine) < 0.05:
        said = "they hardly meet"
    else:
        said = "they pull in the same direction" if cosine > 0 else "they work against each other"
    inside = report.inside
    share = "" if inside is None else f"; {inside.share:.1%} of the one lies where the other one works"
    return f"{said} (cosine {cosine:+.3f}){share}"


def _suggestion(report: InterferenceReport, term: "DraftTerm") -> None:
    suggested = report.suggested
    if suggested is None:
        return
    low, high = strength_label(suggested.low), strength_label(suggested.high)
    is_inside = suggested.low <= term.written.strength <= suggested.high
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            plain(f"Suggested for {suggested.vector}: {low} to {high}, since {suggested.reason}."), width="stretch"
        )
        if not is_inside:
            st.button(
                f"Take {high}",
                key=f"suggested-{term.written.position}-{suggested.beside}",
                on_click=rewrite,
                args=(with_strength, term.written.position, suggested.high),
                type="tertiary",
            )


def _row(block: Any, report: InterferenceReport) -> dict[str, Any]:
    weight_a, weight_b = report.interference.weights
    return {
        "block": block.block,
        "both act in": f"{block.shared} of {block.modules}",
        report.interference.a: round(abs(weight_a) * block.overlap.norm_a, 4),
        report.interference.b: round(abs(weight_b) * block.overlap.norm_b, 4),
        "cosine": None if block.overlap.cosine is None else round(block.overlap.cosine, 4),
    }
