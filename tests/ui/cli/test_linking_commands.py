"""The command that says where versions came from, and the kind that an edit corrects."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Tau = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("stocked")


def parents(tau: Tau) -> list[str]:
    """What papercut came from."""
    return [edge["parent"] for edge in json.loads(tau("lineage", "papercut", "--json").stdout)["edges"]]


def test_a_base_is_said_and_taken_back(tau: Tau) -> None:
    assert tau("link", "papercut", "tiny", "--dry-run").exit_code == 0
    assert parents(tau) == []
    linked = tau("link", "papercut", "tiny", "--relation", "adapter_of", "--weight", "0.5", "-q")
    assert (linked.exit_code, linked.stdout) == (0, "papercut:1\n"), linked.stderr
    assert parents(tau) == ["tiny:1"]
    assert tau("link", "papercut", "tiny", "--remove", "--weight", "0.5").exit_code == 2
    assert tau("link", "papercut", "tiny", "--remove").exit_code == 0
    assert parents(tau) == []
    assert tau("link", "papercut", "tiny", "--remove").exit_code == 3
    assert tau("link", "papercut", "lcm", "--relation", "composed_from").exit_code == 4


def test_licences_that_conflict_by_what_is_said_are_shown(tau: Tau) -> None:
    assert tau("edit", "tiny", "--license", "cc-by-nc-4.0").exit_code == 0
    assert tau("edit", "papercut", "--license", "mit").exit_code == 0
    assert "licences conflict: papercut:1 is mit" in tau("link", "papercut", "tiny").stderr


def test_a_kind_is_corrected_and_the_next_import_keeps_it(tau: Tau, stocked: Path) -> None:
    assert tau("edit", "papercut", "--kind", "acceleration").exit_code == 0
    again = tau("import", stocked / "papercut.safetensors", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["kind"] == "acceleration"
    assert tau("edit", "tiny", "--kind", "style").exit_code == 4
    assert tau("edit", "papercut", "--kind", "base").exit_code == 2


def test_an_aliased_version_that_is_to_go_names_both_ways_out(tau: Tau) -> None:
    tau("alias", "papercut", "--as", "production")
    refused = tau("rm", "papercut:1", "--yes")
    assert refused.exit_code == 5
    assert "tau alias papercut:1 --as production --remove" in refused.stderr
    assert tau("alias", "papercut:1", "--as", "production", "--remove").exit_code == 0
    assert tau("rm", "papercut:1", "--yes").exit_code == 0
