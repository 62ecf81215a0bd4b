"""The terms that a version is under: its own licence, those of what it was made from, and where they contradict."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.web.words import RELATIONS, plain

if TYPE_CHECKING:
    from registry import LicenseReport, Registry, Version


def terms(registry: "Registry", version: "Version") -> None:
    """The licence report in words."""
    report = registry.license_report(version.ref)
    for conflict in report.conflicts:
        st.error(plain(conflict), icon=":material/gavel:")
    if report.notices:
        st.info("  \n".join(plain(notice) for notice in report.notices), icon=":material/info:")
    if not report.conflicts:
        st.success("Nothing that it was made from contradicts its licence.", icon=":material/check_circle:")
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("What is left after all of them", anchor=False)
        st.dataframe(_allowed(report), hide_index=True)
    with right:
        st.subheader("Where that comes from", anchor=False)
        st.dataframe(_inherited(report), hide_index=True)
    st.caption("This is bookkeeping, not legal advice.")


def _allowed(report: "LicenseReport") -> list[dict[str, str]]:
    found = report.terms
    answers = {
        "commercial use": ", ".join(sorted(found.commercial)) or "no",
        "derivatives": _yes(found.derivatives),
        "credit is asked for": _yes(found.credit),
        "the same licence is asked for": _yes(found.same_license),
        "forbidden uses": ", ".join(sorted(found.use_limits)) or "none listed",
    }
    return [{"term": term, "answer": answer} for term, answer in answers.items()]


def _inherited(report: "LicenseReport") -> list[dict[str, str]]:
    rows = [{"of": report.ref, "how": "its own", "licence": report.license or "none stated"}]
    return rows + [
        {
            "of": one.ref,
            "how": RELATIONS.get(one.relation, one.relation),
            "licence": one.license or "none stated",
        }
        for one in report.inherited
    ]


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
