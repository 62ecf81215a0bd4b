"""edit, favourite, tag, alias, publish, deprecate, archive: of one, of many, of what a query finds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

Tau = Callable[..., Result]


def _shown(tau: Tau, ref: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(tau("show", ref, "--json").stdout)
    return document


def test_edit_changes_what_is_said(tau: Tau, stocked: Path) -> None:
    result = tau(
        *("edit", "papercut", "--title", "Paper cut", "--license", "OpenRAIL++", "--nsfw", "--note", "try it"),
        *("--trigger", "papercut style", "--trigger", "cut", "--strength", 0.8, "--range", "0.6..1.1"),
        *("--tag", "approved=yes", "--author", "ann", "-q"),
    )
    assert result.stdout == "papercut:1\n", result.stderr
    version = _shown(tau, "papercut")
    assert (version["title"], version["license"], version["nsfw"]) == ("Paper cut", "openrail++", True)
    assert (version["note"], version["author"]) == ("try it", "ann")
    assert version["trigger_words"] == ["papercut style", "cut"]
    assert (version["recommended_low"], version["recommended_high"]) == (0.6, 1.1)
    assert version["tags"] == {"approved": "yes"}
    assert "range\t0.6..1.1" in tau("show", "papercut").stdout
    tau("edit", "papercut", "--range", "", "--trigger", "", "--note", "", "--license", "", "--untag", "approved")
    version = _shown(tau, "papercut")
    assert (version["recommended_low"], version["trigger_words"], version["note"]) == (None, [], None)
    assert (version["license"], version["tags"]) == (None, {})


def test_a_query_names_what_changes_and_a_dry_run_changes_nothing(tau: Tau, stocked: Path) -> None:
    dry = tau("edit", "--where", "kind:style,acceleration", "--note", "x", "--dry-run")
    assert "2 versions would change" in dry.stderr
    assert _shown(tau, "papercut")["note"] is None
    assert set(tau("edit", "--where", "kind:style,acceleration", "--note", "x", "--yes", "-q").stdout.split()) == {
        "papercut:1",
        "lcm:1",
    }
    assert set(tau("tag", "tiny", "--where", "pap", "--set", "set=1", "-q").stdout.split()) == {"tiny:1", "papercut:1"}
    assert tau("alias", "--where", "kind:base", "--as", "production", "-q").stdout == "tiny:1\n"
    assert tau("show", "tiny@production", "-q").stdout == "tiny:1\n"


def test_one_refusal_among_many_changes_none(tau: Tau, stocked: Path) -> None:
    result = tau("edit", "papercut", "nobody", "--note", "x")
    assert result.exit_code == 3
    assert _shown(tau, "papercut")["note"] is None


def test_nothing_to_do_and_nobody_to_do_it_to_are_usage_errors(tau: Tau, stocked: Path) -> None:
    for arguments in (
        ("edit", "papercut"),
        ("edit", "--note", "x"),
        ("tag", "--set", "a"),
        ("publish",),
        ("edit", "papercut", "--range", "x"),
        ("edit", "--where", " ", "--note", "x"),
    ):
        assert tau(*arguments).exit_code == 2, arguments


def test_favourites_are_kept_and_listed(tau: Tau, stocked: Path) -> None:
    tau("favourite", "papercut", "--of", "eve")
    assert tau("ls", "--favourites", "eve", "-q").stdout == "papercut:1\n"
    tau("favourite", "papercut", "--of", "eve", "--remove")
    assert tau("ls", "--favourites", "eve", "-q").stdout == ""


def test_versions_are_deprecated_archived_and_published_again(tau: Tau, stocked: Path) -> None:
    tau("deprecate", "papercut")
    assert _shown(tau, "papercut")["state"] == "deprecated"
    tau("archive", "papercut")
    assert tau("ls", "--state", "archived", "-q").stdout == "papercut:1\n"
    tau("publish", "papercut:1")
    assert _shown(tau, "papercut")["state"] == "published"


def test_a_sampling_profile_is_an_object_and_its_values_are_kept(tau: Tau, stocked: Path) -> None:
    assert tau("edit", "lcm", "--sampling", '{"solver": "lcm", "steps": [4]}').exit_code == 0
    shown = json.loads(tau("show", "lcm", "--json").stdout)
    assert '"sampling": {"solver": "lcm", "steps": [4]}' in json.dumps(shown)
    for wrong in ("lcm", "[4]"):
        assert tau("edit", "lcm", "--sampling", wrong).exit_code == 2
    assert tau("edit", "lcm", "--sampling", "{}").exit_code == 0
    assert '"sampling": {}' in tau("show", "lcm", "--json").stdout
