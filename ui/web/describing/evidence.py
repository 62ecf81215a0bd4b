"""What identification found in a version's bytes, on what evidence; and the bytes themselves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.words import family_label, plain, size_label, strength_label

if TYPE_CHECKING:
    from registry import Version

FINDINGS = {"family": "Family", "adapter": "Adapter", "layout": "Layout"}
MORE_FINDINGS = {"variant": "Variant", "prediction_type": "Predicts"}
"""Findings that only some files tell; the others say UNKNOWN."""

UNKNOWN = {"value": "unknown"}

HASHES = {
    "sha256": "File (SHA-256)",
    "blake3": "File (BLAKE3)",
    "data_sha256": "Weights without the header (SHA-256)",
    "tensor_hash": "Tensors in any order (BLAKE3)",
}


def facts(version: "Version") -> None:
    """The findings with their evidence, the counted facts, and the warnings."""
    if version.facts is None:
        st.info("Nothing is known about this kind of file.", icon=":material/help:")
        return
    _warnings(version.facts)
    known = [name for name in MORE_FINDINGS if (version.facts.get(name) or UNKNOWN)["value"] != UNKNOWN["value"]]
    found = {**FINDINGS, **{name: MORE_FINDINGS[name] for name in known}}
    for column, (name, label) in zip(st.columns(len(found)), found.items(), strict=True):
        with column, st.container(border=True, height="stretch"):
            _finding(label, version.facts[name])
    with st.container(horizontal=True):
        for label, value in _counted(version.facts).items():
            st.metric(label, value, border=True, width=150)
    if version.sampling:
        st.subheader("Sampling profile", anchor=False)
        st.dataframe(_named(version.sampling), hide_index=True, width="content")
    if version.tags:
        st.subheader("Tags", anchor=False)
        st.dataframe(_named(version.tags), hide_index=True, width="content")


def files(version: "Version") -> None:
    """Every artifact with its digest, the four identities of a weight file, and where the bytes came from."""
    st.caption("Version digest, over the sorted paths and digests of its files")
    st.code(version.digest, language=None)
    st.dataframe(
        [
            {"file": one.path, "role": one.role, "size": size_label(one.size), "SHA-256": one.sha256}
            for one in version.artifacts
        ],
        hide_index=True,
    )
    hashes = (version.facts or {}).get("hashes") or {}
    for name, label in HASHES.items():
        if value := hashes.get(name):
            st.caption(label)
            st.code(value, language=None)
    if short := {"autov2": hashes.get("autov2"), **(hashes.get("short") or {})}:
        st.caption("As other tools know it")
        known = [{"hash": name, "value": str(value)} for name, value in short.items() if value]
        st.dataframe(known, hide_index=True, width="content")
    if version.origin:
        st.caption(f"Came from ({plain(version.origin.kind)})")
        st.code(version.origin.uri, language=None)


def _warnings(facts: Mapping[str, Any]) -> None:
    for sentence in facts["warnings"]:
        st.warning(plain(sentence), icon=":material/warning:")


def _finding(label: str, finding: Mapping[str, Any]) -> None:
    value = family_label(finding["value"]) if label == FINDINGS["family"] else finding["value"]
    st.caption(f"{label} · {finding['confidence']:.0%} sure")
    st.markdown(f"**{plain(value)}**")
    for sentence in finding["evidence"]:
        st.caption(plain(sentence))


def _counted(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts that are numbers or one word, those that are known."""
    low_rank = facts["adapter"]["value"].startswith(("lora", "locon"))
    rank = "varies" if facts["rank"] is None and low_rank else facts["rank"]
    alpha = None if facts["alpha"] is None else strength_label(facts["alpha"])
    counted = {
        "Rank": rank,
        "Alpha": alpha,
        "Stored as": facts["dtype"],
        "Modules": facts["modules"],
        "Parameters": f"{facts['parameters']:,}",
    }
    return {label: plain(str(value)) for label, value in counted.items() if value is not None}


def _named(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]
