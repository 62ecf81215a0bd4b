"""A version's certificate in short: what was proved about its file, how, and from which inputs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.words import plain, strength_label

if TYPE_CHECKING:
    from registry import Registry, Version

WORST_SHOWN = 10
"""Modules listed, the worst first."""


def certificate(registry: "Registry", version: "Version") -> None:
    """The newest certificate of the version, or how to make one."""
    proof = registry.certificate(version.ref)
    if proof is None:
        _none_yet(version)
        return
    _summary(proof)
    _recipe(proof)
    st.subheader("Inputs", anchor=False)
    st.dataframe(
        [
            {"name": one["name"], "strength": strength_label(one["weight"]), "SHA-256": one["sha256"]}
            for one in proof["inputs"]
        ],
        hide_index=True,
    )
    _modules(proof)


def _modules(proof: Mapping[str, Any]) -> None:
    """The modules that are furthest off: from the sum before its rank was lowered, where it was, else by rounding."""
    errors, left_out = proof["modules"], proof.get("approximations") or {}
    modules = sorted(left_out or errors, key=lambda name: (left_out or errors)[name], reverse=True)
    st.subheader(f"The worst of {len(modules)} modules", anchor=False)
    st.dataframe(
        [
            {"module": name, "arithmetic error": f"{errors[name]:.2e}"}
            | ({"approximation error": f"{left_out[name]:.2e}"} if left_out else {})
            for name in modules[:WORST_SHOWN]
        ],
        hide_index=True,
    )


def _none_yet(version: "Version") -> None:
    if version.kind != "composition":
        st.info(
            "Only a composition is certified: it is proved to be the sum that its recipe says.",
            icon=":material/verified:",
        )
        return
    st.markdown("No certificate is recorded. Prove the file again against its recipe's inputs:")
    st.code(f"tau verify {version.ref}", language=None)


def _summary(proof: Mapping[str, Any]) -> None:
    with st.container(horizontal=True):
        st.metric("Worst arithmetic error", f"{proof['worst_relative_error']:.1e}", border=True, width=220)
        if left_out := proof.get("approximations"):
            st.metric("Left out by lowering ranks, at most", f"{max(left_out.values()):.1%}", border=True, width=280)
        st.metric("Explained by the precision up to", f"{proof['bound']:.0e}", border=True, width=260)
        st.metric("Stored as", plain(proof["dtype"]), border=True, width=140)
        st.metric("Modules checked", str(len(proof["modules"])), border=True, width=180)
    st.caption(
        f"{plain(proof['method'])}, {proof['probes']} random probes a module, seed {proof['seed']},"
        f" {plain(proof['engine_version'])}"
    )


def _recipe(proof: Mapping[str, Any]) -> None:
    st.caption("Recipe")
    st.code(proof["recipe"], language=None, wrap_lines=True)
    with st.expander("Locked recipe and file digest"):
        st.code(proof["locked"], language=None, wrap_lines=True)
        st.code(proof["file_sha256"], language=None)
