"""ls, search, lineage, fits, diff, license."""

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Tau = Callable[..., Result]


def _refs(result: Result) -> list[str]:
    assert result.exit_code == 0, result.stderr
    return result.stdout.split()


def test_search_reads_the_language_and_the_options_add_conditions(tau: Tau, stocked: Path) -> None:
    tau("tag", "papercut", "--set", "approved=yes", "--set", "set=a b")
    tau("alias", "lcm", "--as", "production")
    assert _refs(tau("search", "pap", "kind:style", "-q")) == ["papercut:1"]
    assert _refs(tau("search", "-q", "--", "-tag:approved", "kind:style,acceleration")) == ["lcm:1"]
    assert _refs(tau("search", 'tag:"set=a b"', "-q")) == ["papercut:1"]
    assert _refs(tau("search", "rank:3", "--kind", "acceleration", "--kind", "style", "-q")) == ["lcm:1"]
    assert _refs(tau("ls", "--alias", "production", "-q")) == ["lcm:1"]
    assert _refs(tau("ls", "--without-tag", "approved", "--sort", "name", "-q")) == ["lcm:1", "tiny:1"]
    assert _refs(tau("ls", "--rank", "1..2", "-q")) == ["papercut:1"]
    digest = json.loads(tau("show", "papercut", "--json").stdout)["artifacts"][0]["sha256"]
    assert _refs(tau("ls", "--hash", digest[:10], "-q")) == ["papercut:1"]
    assert _refs(tau("ls", "--since", "2020-01-01", "--until", "2021-01-01", "-q")) == []


def test_a_query_that_cannot_be_read_is_a_usage_error_with_its_place(tau: Tau, stocked: Path) -> None:
    result = tau("search", "famly:sd15")
    assert result.exit_code == 2
    assert "did you mean family:" in result.stderr


def test_pages_in_every_order_go_on_where_the_one_before_ended(tau: Tau, stocked: Path) -> None:
    for sort in ("newest", "oldest", "name", "relevance"):
        seen: list[str] = []
        after: tuple[str, ...] = ()
        for _ in range(3):
            page = json.loads(tau("ls", "--sort", sort, "--limit", 1, "--count", "--json", *after).stdout)
            assert page["count"] == "3"
            seen += [version["ref"] for version in page["versions"]]
            after = ("--after", str(page["next"]))
        assert page["next"] is None
        assert sorted(seen) == ["lcm:1", "papercut:1", "tiny:1"], sort


def test_lineage_is_a_table_a_tree_or_a_graph(tau: Tau, stocked: Path) -> None:
    tau("compose", "papercut - 0.5*lcm", "--name", "both")
    tree = tau("lineage", "both", "--as", "tree").stdout.splitlines()
    assert tree[0] == "both:1 (composition)"
    assert "├── composed_from x1  papercut:1 (style)" in tree
    assert any("composed_from x-0.5  lcm:1 (acceleration)" in line for line in tree)
    graph = tau("lineage", "both", "--as", "dot").stdout
    assert '"lcm:1" -> "both:1" [label="composed_from x-0.5"]' in graph
    assert set(_refs(tau("lineage", "papercut", "--depth", 1, "-q"))) >= {"papercut:1", "both:1"}
    cut = tau("lineage", "both", "--limit", 1, "--json")
    assert json.loads(cut.stdout)["complete"] is False
    assert "--limit" in cut.stderr


def test_fits_names_bases_of_a_vector_and_vectors_of_a_base(tau: Tau, stocked: Path) -> None:
    assert _refs(tau("fits", "papercut", "-q")) == ["tiny:1"]
    assert set(_refs(tau("fits", "tiny", "-q"))) == {"papercut:1", "lcm:1"}
    found = json.loads(tau("fits", "papercut", "--json").stdout)["fits"]
    assert (found[0]["verdict"], found[0]["version"]["ref"]) == ("fits", "tiny:1")
    assert "every shape fits" in tau("fits", "tiny").stdout


def test_diff_says_what_tells_two_versions_apart(tau: Tau, stocked: Path) -> None:
    document = json.loads(tau("diff", "papercut", "lcm", "--json").stdout)
    fields = {found["field"]: (found["before"], found["after"]) for found in document["differences"]}
    assert fields["kind"] == ("style", "acceleration")
    assert fields["rank"] == (2, 3)
    assert "kind" in tau("diff", "papercut", "lcm", "-q").stdout.splitlines()
    assert tau("diff", "papercut", "papercut").stdout == ""


def test_a_licence_in_conflict_is_reported_and_refuses_to_publish(tau: Tau, stocked: Path) -> None:
    tau("edit", "tiny", "--license", "openrail++")
    tau("import", stocked / "lcm.safetensors", "--name", "fast", "--base", "tiny", "--license", "MIT", "--draft")
    report = tau("license", "fast")
    assert "from\ttiny:1 (openrail++) by adapter_of" in report.stdout
    assert tau("license", "fast", "-q").stdout.startswith("fast:1 is mit, which drops the use restrictions")
    refused = tau("publish", "fast")
    assert refused.exit_code == 4
    assert "--despite" in refused.stderr
    assert tau("publish", "fast", "--despite", "asked").exit_code == 0
