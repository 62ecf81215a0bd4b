"""Where a version comes from, what came of it, and what was done to it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.web.navigation import link_to
from ui.web.words import KIND_ICONS, RELATIONS, plain, strength_label, time_label

if TYPE_CHECKING:
    from registry import Edge, Event, Lineage, Node, Registry, Version

OUTSIDE_ICONS = {"dataset": ":material/photo_library:", "job": ":material/build:", "external": ":material/open_in_new:"}
NODE_COLOURS = {
    "style": "#d9c8f5",
    "acceleration": "#ffd3b0",
    "composition": "#c3e6c6",
    "base": "#c5dbf7",
    "dataset": "#f0e2a8",
}
OTHER_NODE_COLOUR = "#dcd8d3"
EDGES_SHOWN = 50
NODES_DRAWN = 60
LINE_COLOUR = "#8f8880"  # legible on the light and on the dark page


def lineage(registry: "Registry", version: "Version") -> None:
    """The edges into and out of the version, with their strengths, and the whole graph around it."""
    found = registry.lineage(version.ref)
    nodes = {node.ref: node for node in found.nodes}
    inward = [edge for edge in found.edges if edge.child == version.ref]
    outward = [edge for edge in found.edges if edge.parent == version.ref]
    if not inward and not outward:
        st.info("No ancestor and no descendant is recorded.", icon=":material/account_tree:")
        return
    left, right = st.columns(2, gap="large")
    with left:
        _edges("Made from", [(nodes[edge.parent], edge) for edge in inward])
    with right:
        _edges("Went into", [(nodes[edge.child], edge) for edge in outward])
    if len(nodes) <= NODES_DRAWN:
        st.graphviz_chart(graph(found, version.ref), alt=f"Lineage of {version.ref}")
    else:
        st.caption(f"The graph has {len(nodes)} nodes; up to {NODES_DRAWN} are drawn. Print it whole:")
        st.code(f"tau lineage {version.ref}", language=None)


def _edges(title: str, edges: list[tuple["Node", "Edge"]]) -> None:
    st.subheader(title, anchor=False)
    for node, edge in edges[:EDGES_SHOWN]:
        _edge(node, edge)
    if len(edges) != len(edges[:EDGES_SHOWN]):
        st.caption(f"and {len(edges) - EDGES_SHOWN} more")
    if not edges:
        st.caption("nothing recorded")


def _edge(node: "Node", edge: "Edge") -> None:
    relation = RELATIONS.get(edge.relation, edge.relation)
    strength = "" if edge.weight is None else f" · strength {plain(strength_label(edge.weight))}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if node.kind in KIND_ICONS:
            link_to(node.ref, f"**{plain(node.ref)}**", KIND_ICONS[node.kind])
        else:
            st.markdown(f"{OUTSIDE_ICONS[node.kind]} **{plain(_name(node))}**", width="content")
        st.caption(f"{plain(relation)}{strength}", width="content")


def _name(node: "Node") -> str:
    """How people know a node: versions by their reference, the rest by its title."""
    if node.kind in KIND_ICONS:
        return node.ref
    return f"{node.title}, {node.ref}" if node.kind == "job" else node.title


def graph(found: "Lineage", current: str) -> str:
    """The lineage in Graphviz's language, from ancestors on the left to descendants on the right."""
    lines = [
        'digraph { rankdir=LR bgcolor="transparent" nodesep=0.25 ranksep=0.7',
        'node [shape=box style="rounded,filled" fontname="sans-serif" fontsize=12 fontcolor="#221d1a"]',
        f'node [color="{LINE_COLOUR}"]',
        f'edge [fontname="sans-serif" fontsize=10 color="{LINE_COLOUR}" fontcolor="{LINE_COLOUR}" arrowsize=0.7]',
    ]
    for node in found.nodes:
        width = 2.5 if node.ref == current else 0.8
        colour = NODE_COLOURS.get(node.kind, OTHER_NODE_COLOUR)
        lines.append(f'{_quoted(node.ref)} [label={_quoted(_name(node))} fillcolor="{colour}" penwidth={width}]')
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
