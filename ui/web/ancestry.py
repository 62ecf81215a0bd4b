"""Where a version comes from, what came of it, and what was done to it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.cards import link_to
from ui.web.words import KIND_ICONS, RELATIONS, plain, strength_label, time_label

if TYPE_CHECKING:
    from registry import Edge, Event, Lineage, Node, Registry, Version
    from ui.web.navigation import Site

OUTSIDE_ICONS = {"dataset": ":material/photo_library:", "job": ":material/build:", "external": ":material/open_in_new:"}
NODE_COLOURS = {
    "style": "#d9c8f5",
    "acceleration": "#ffd3b0",
    "composition": "#c3e6c6",
    "base": "#c5dbf7",
    "dataset": "#f0e2a8",
}
OTHER_NODE_COLOUR = "#dcd8d3"
LINE_COLOUR = "#8f8880"  # legible on the light and on the dark page


def lineage(site: "Site", version: "Version") -> None:
    """The edges into and out of the version, with their strengths, and the whole graph around it."""
    found = site.registry.lineage(version.ref)
    nodes = {node.ref: node for node in found.nodes}
    inward = [edge for edge in found.edges if edge.child == version.ref]
    outward = [edge for edge in found.edges if edge.parent == version.ref]
    if not inward and not outward:
        st.info("No ancestor and no descendant is recorded.", icon=":material/account_tree:")
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Made from", anchor=False)
        for edge in inward:
            _edge(site, nodes[edge.parent], edge)
    with right:
        st.subheader("Went into", anchor=False)
        for edge in outward:
            _edge(site, nodes[edge.child], edge)
    st.graphviz_chart(graph(found, version.ref), alt=f"Lineage of {version.ref}")


def _edge(site: "Site", node: "Node", edge: "Edge") -> None:
    relation = RELATIONS.get(edge.relation, edge.relation)
    strength = "" if edge.weight is None else f" · strength {plain(strength_label(edge.weight))}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if node.kind in KIND_ICONS:
            link_to(site, node.ref, f"**{plain(node.ref)}**", KIND_ICONS[node.kind])
        else:
            st.markdown(f"{OUTSIDE_ICONS[node.kind]} **{plain(node.ref)}**", width="content")
        st.caption(f"{plain(relation)}{strength}", width="content")


def graph(found: "Lineage", current: str) -> str:
    """The lineage in Graphviz's language, from ancestors on the left to descendants on the right."""
    lines = [
        'digraph { rankdir=LR bgcolor="transparent" nodesep=0.25 ranksep=0.7',
        f'node [shape=box style="rounded,filled" fontname="sans-serif" fontsize=12 color="{LINE_COLOUR}" fontcolor="#221d1a"]',
        f'edge [fontname="sans-serif" fontsize=10 color="{LINE_COLOUR}" fontcolor="{LINE_COLOUR}" arrowsize=0.7]',
    ]
    for node in found.nodes:
        width = 2.5 if node.ref == current else 0.8
        colour = NODE_COLOURS.get(node.kind, OTHER_NODE_COLOUR)
        lines.append(f'{_quoted(node.ref)} [fillcolor="{colour}" penwidth={width}]')
    for edge in found.edges:
        relation = RELATIONS.get(edge.relation, edge.relation)
        label = relation if edge.weight is None else strength_label(edge.weight)
        lines.append(f"{_quoted(edge.parent)} -> {_quoted(edge.child)} [label={_quoted(label)}]")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    """A Graphviz string: quotes and backslashes escaped, so that a name stays a name."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def history(registry: "Registry", version: "Version") -> None:
    """The events of the version's model, newest first."""
    events = registry.history(version.model)
    st.dataframe([_event_row(event) for event in reversed(events)], hide_index=True)


def _event_row(event: "Event") -> dict[str, str]:
    return {
        "when": time_label(event.at),
        "who": event.actor,
        "what": f"{event.action} {event.subject}",
        "before": _told(event.before),
        "after": _told(event.after),
    }


def _told(values: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name}: {value}" for name, value in (values or {}).items())
