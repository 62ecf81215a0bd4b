"""Lineage as text: a tree for reading, and Graphviz's language for drawing."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from registry.values import Edge, Lineage, Node

Other = Callable[[Edge], str]


def tree(found: Lineage, ref: str) -> list[str]:
    """Two trees with `ref` at the root: what it was made from, and what was made from it, strengths on the edges.

    What stands in the tree already is named again, but not unfolded again.
    """
    nodes = {node.ref: node for node in found.nodes}
    lines = [_label(nodes[ref])]
    upwards, downwards = defaultdict(list), defaultdict(list)
    for edge in found.edges:
        upwards[edge.child].append(edge)
        downwards[edge.parent].append(edge)
    lines += _branches(nodes, upwards, ref, "", {ref}, lambda edge: edge.parent)
    if downwards[ref]:
        lines += ["", f"made from {ref}:"]
        lines += _branches(nodes, downwards, ref, "", {ref}, lambda edge: edge.child)
    return lines if found.complete else [*lines, "", "more was left out; ask with a smaller depth or a larger limit"]


def dot(found: Lineage, ref: str) -> list[str]:
    """The graph in Graphviz's language, from ancestors on the left to descendants on the right."""
    lines = ["digraph lineage {", "  rankdir=LR", "  node [shape=box]"]
    for node in found.nodes:
        width = ", penwidth=2" if node.ref == ref else ""
        lines.append(f"  {_quoted(node.ref)} [label={_quoted(_label(node))}{width}]")
    lines += [f"  {_quoted(e.parent)} -> {_quoted(e.child)} [label={_quoted(_relation(e))}]" for e in found.edges]
    return [*lines, "}"]


def _branches(
    nodes: dict[str, Node], edges: dict[str, list[Edge]], ref: str, indent: str, seen: set[str], other: Other
) -> Iterator[str]:
    """One line an edge, with what lies behind it below, by a stack of its own: a chain may be long."""
    waiting: list[tuple[str, Sequence[Edge], int]] = [(indent, edges[ref], 0)]
    while waiting:
        indent, siblings, place = waiting.pop()
        if place == len(siblings):
            continue
        waiting.append((indent, siblings, place + 1))
        edge, is_last = siblings[place], place == len(siblings) - 1
        name = other(edge)
        again = name in seen and bool(edges[name])
        yield f"{indent}{'└── ' if is_last else '├── '}{_relation(edge)}  {_label(nodes[name])}{' …' if again else ''}"
        if name not in seen:
            seen.add(name)
            waiting.append((f"{indent}{'    ' if is_last else '│   '}", edges[name], 0))


def _relation(edge: Edge) -> str:
    return edge.relation if edge.weight is None else f"{edge.relation} x{edge.weight:g}"


def _label(node: Node) -> str:
    state = "" if node.state in (None, "published") else f", {node.state}"
    return f"{node.ref} ({node.kind}{state})"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
