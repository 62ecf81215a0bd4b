from registry.lineage_text import dot, tree
from registry.values import Edge, Lineage, Node


def _lineage(*edges: tuple[str, str, str, float | None], complete: bool = True) -> Lineage:
    names = dict.fromkeys(name for child, parent, _, _ in edges for name in (child, parent))
    nodes = tuple(Node(name, "style", name, "draft" if name == "d:1" else "published") for name in names)
    written = tuple(
        Edge(child, parent, relation, weight, place) for place, (child, parent, relation, weight) in enumerate(edges)
    )
    return Lineage(nodes, written, complete)


def test_a_tree_shows_strengths_and_unfolds_what_it_meets_again_only_once() -> None:
    found = _lineage(
        ("sum:1", "a:1", "composed_from", 0.8),
        ("sum:1", "d:1", "composed_from", -0.3),
        ("a:1", "base:1", "adapter_of", None),
        ("d:1", "a:1", "resized_from", None),
        ("later:1", "sum:1", "resized_from", None),
    )
    assert tree(found, "sum:1") == [
        "sum:1 (style)",
        "├── composed_from x0.8  a:1 (style)",
        "│   └── adapter_of  base:1 (style)",
        "└── composed_from x-0.3  d:1 (style, draft)",
        "    └── resized_from  a:1 (style) …",
        "",
        "made from sum:1:",
        "└── resized_from  later:1 (style)",
    ]


def test_a_tree_that_was_cut_says_so() -> None:
    assert "more was left out" in tree(_lineage(("a:1", "b:1", "teacher", None), complete=False), "a:1")[-1]


def test_a_chain_of_ten_thousand_is_written() -> None:
    found = _lineage(*((f"v{number}:1", f"v{number + 1}:1", "supersedes", None) for number in range(10_000)))
    assert len(tree(found, "v0:1")) == 10_001


def test_names_stay_names_in_graphviz() -> None:
    lines = dot(_lineage(('a "x"\\', "b:1", "composed_from", 0.5)), "b:1")
    assert '  "a \\"x\\"\\\\" [label="a \\"x\\"\\\\ (style)"]' in lines
    assert '  "b:1" -> "a \\"x\\"\\\\" [label="composed_from x0.5"]' in lines
    assert '  "b:1" [label="b:1 (style)", penwidth=2]' in lines
    assert (lines[0], lines[-1]) == ("digraph lineage {", "}")
