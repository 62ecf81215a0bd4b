"""import, ls, search, show, history, lineage, alias, tag, publish, identify."""

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Tau = Callable[..., Result]


def test_the_kind_of_an_import_follows_from_the_file(tau: Tau, stocked: Path) -> None:
    versions = json.loads(tau("ls", "--json").stdout)["versions"]
    assert {version["ref"]: version["kind"] for version in versions} == {
        "tiny:1": "base",
        "papercut:1": "style",
        "lcm:1": "acceleration",
    }


def test_importing_the_same_file_again_is_the_same_version(tau: Tau, stocked: Path) -> None:
    again = tau("import", stocked / "papercut.safetensors", "--name", "papercut", "-q")
    assert again.exit_code == 0
    assert again.stdout == "papercut:1\n"
    assert len(tau("ls", "-q").stdout.splitlines()) == 3


def test_what_an_import_is_told_is_kept(tau: Tau, stocked: Path, files: Path) -> None:
    result = tau(
        *("import", files / "papercut.safetensors", "--name", "other", "--kind", "other", "--title", "Paper, cut"),
        *("--license", "mit", "--note", "try it", "--tag", "approved=yes", "--trigger", "papercut", "--strength", 0.8),
        *("--base", "tiny", "--draft", "--json"),
    )
    version = json.loads(result.stdout)
    assert version["schema"] == "tau.version/1"
    kept = {key: version[key] for key in ("kind", "title", "license", "note", "tags", "state", "recommended_strength")}
    assert kept == {
        "kind": "other",
        "title": "Paper, cut",
        "license": "mit",
        "note": "try it",
        "tags": {"approved": "yes"},
        "state": "draft",
        "recommended_strength": 0.8,
    }
    assert version["trigger_words"] == ["papercut"]
    assert tau("lineage", "other").stdout == "other:1\tadapter_of\t\ttiny:1\n"


def test_the_filters_of_ls_and_the_text_of_search_narrow_the_list(tau: Tau, stocked: Path) -> None:
    tau("tag", "papercut", "--set", "approved=yes")
    assert tau("ls", "-q", "--kind", "base").stdout == "tiny:1\n"
    assert tau("ls", "-q", "--family", "tiny", "--kind", "style").stdout == "papercut:1\n"
    assert tau("ls", "-q", "--tag", "approved=yes").stdout == "papercut:1\n"
    assert tau("ls", "-q", "--state", "draft").stdout == ""
    assert tau("search", "paper*", "-q").stdout == "papercut:1\n"


def test_a_page_says_how_to_get_the_next_one(tau: Tau, stocked: Path) -> None:
    first = tau("ls", "-q", "--limit", 2)
    assert first.stdout == "lcm:1\npapercut:1\n"
    assert "--after papercut:1" in first.stderr
    assert tau("ls", "-q", "--limit", 2, "--after", "papercut:1").stdout == "tiny:1\n"
    pages = [json.loads(tau("ls", "--limit", 2, "--json", *after).stdout) for after in ((), ("--after", "papercut:1"))]
    assert [page["next"] for page in pages] == ["papercut:1", None]


def test_away_from_a_terminal_rows_are_tab_separated_and_hints_stay_on_stderr(
    tau: Tau, stocked: Path, home: Path
) -> None:
    result = tau("ls", "--kind", "style")
    assert result.stdout == "papercut:1\tstyle\ttiny\tpublished\t\t\tpapercut\n"
    assert result.stderr == f"registry: sqlite:///{home / 'registry.db'}\n"


def test_an_alias_names_a_version_until_it_is_removed(tau: Tau, stocked: Path) -> None:
    assert tau("alias", "papercut:1", "--as", "production", "-q").stdout == "papercut:1\n"
    assert tau("show", "papercut@production", "-q").stdout == "papercut:1\n"
    tau("alias", "papercut:1", "--as", "production", "--remove")
    assert tau("show", "papercut@production").exit_code == 3


def test_many_references_come_from_arguments_or_stdin(tau: Tau, stocked: Path) -> None:
    tau("tag", "-", "lcm", "--set", "approved", stdin="papercut\ntiny\n")
    assert set(tau("ls", "-q", "--tag", "approved").stdout.split()) == {"papercut:1", "tiny:1", "lcm:1"}
    tau("tag", "lcm", "--unset", "approved")
    assert "lcm:1" not in tau("ls", "-q", "--tag", "approved").stdout


def test_an_unknown_reference_among_many_changes_none(tau: Tau, stocked: Path) -> None:
    result = tau("tag", "papercut", "papercot", "--set", "approved")
    assert result.exit_code == 3
    assert "papercut" in result.stderr
    assert tau("ls", "-q", "--tag", "approved").stdout == ""


def test_a_dry_run_changes_nothing(tau: Tau, stocked: Path) -> None:
    assert "would change" in tau("tag", "papercut", "--set", "approved", "--dry-run").stderr
    assert "would change" in tau("alias", "papercut", "--as", "production", "--dry-run").stderr
    assert tau("ls", "-q", "--tag", "approved").stdout == ""
    assert tau("show", "papercut@production").exit_code == 3


def test_tag_without_anything_to_do_is_a_usage_error(tau: Tau, stocked: Path) -> None:
    assert tau("tag", "papercut").exit_code == 2


def test_a_draft_is_published_and_history_tells_so(tau: Tau, files: Path) -> None:
    tau("import", files / "base", "--name", "tiny")
    tau("import", files / "papercut.safetensors", "--draft")
    assert tau("publish", "papercut", "--dry-run").exit_code == 0
    assert json.loads(tau("show", "papercut", "--json").stdout)["state"] == "draft"
    tau("publish", "papercut")
    assert json.loads(tau("show", "papercut", "--json").stdout)["state"] == "published"
    document = json.loads(tau("history", "papercut", "--json").stdout)
    assert [event["action"] for event in document["events"]][-1] == "published"
    assert tau("history", "papercut", "-q").stdout.splitlines()[-1] == "published"


def test_lineage_is_a_graph(tau: Tau, stocked: Path) -> None:
    tau("compose", "papercut - 0.5*lcm", "--name", "both")
    graph = json.loads(tau("lineage", "both", "--json").stdout)
    edges = {(edge["relation"], edge["parent"]): edge["weight"] for edge in graph["edges"]}
    assert edges == {
        ("composed_from", "papercut:1"): 1.0,
        ("composed_from", "lcm:1"): -0.5,
        ("adapter_of", "tiny:1"): None,
    }
    assert set(tau("lineage", "both", "-q").stdout.split()) == {"both:1", "papercut:1", "lcm:1", "tiny:1"}


def test_identify_needs_no_registry_and_makes_none(tau: Tau, files: Path, home: Path) -> None:
    result = tau("identify", files / "papercut.safetensors", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["schema"] == "tau.identify/1"
    assert {
        "family",
        "adapter",
        "layout",
        "rank",
        "alpha",
        "dtype",
        "modules",
        "parameters",
        "hashes",
        "warnings",
    } < set(found)
    assert (found["rank"], found["alpha"], found["modules"]) == (2, 1.0, 2)
    assert not home.exists()


def test_identify_knows_the_bases_of_a_registry_that_is_there(tau: Tau, stocked: Path) -> None:
    assert tau("identify", stocked / "papercut.safetensors", "-q").stdout == "tiny\n"
    assert "papercut" not in tau("identify", stocked / "lcm.safetensors").stdout


def test_init_makes_the_registry_once(tau: Tau, home: Path) -> None:
    first, second = tau("init", "--json"), tau("init", "--json")
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert json.loads(first.stdout)["home"] == str(home)
    assert tau("init", "-q").stdout == f"{home}\n"


def test_the_database_can_be_checked_and_upgraded(tau: Tau, home: Path) -> None:
    unmade = tau("db", "check", "--json")
    assert unmade.exit_code == 4
    assert "tau db upgrade" in unmade.stderr
    assert json.loads(tau("db", "upgrade", "--json").stdout)["ok"]
    assert json.loads(tau("db", "check", "--json").stdout)["ok"]
    assert tau("ls").exit_code == 0
