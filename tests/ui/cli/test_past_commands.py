"""history, rename, show --at, and the database's own way back."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ui.cli.main import app

Tau = Callable[..., Result]


def _moment() -> str:
    """A moment that no event of before or after shares."""
    time.sleep(0.005)
    now = datetime.now()
    time.sleep(0.005)
    return now.isoformat(sep=" ")


def test_history_without_a_name_is_everybodys_a_page_at_a_time(tau: Tau, stocked: Path) -> None:
    whole = json.loads(tau("history", "--json").stdout)
    assert {event["subject"].split(":")[0] for event in whole["events"]} >= {"tiny", "papercut", "lcm"}
    assert whole["next"] is None
    first = json.loads(tau("history", "--limit", 2, "--json").stdout)
    rest = json.loads(tau("history", "--after", first["next"], "--json").stdout)
    assert first["events"] + rest["events"] == whole["events"]
    assert f"--after {first['next']}" in tau("history", "--limit", 2).stderr


def test_a_model_is_renamed_and_its_history_goes_with_it(tau: Tau, stocked: Path) -> None:
    dry = tau("rename", "papercut", "scissors", "--dry-run")
    assert (dry.exit_code, tau("show", "papercut").exit_code) == (0, 0)
    assert json.loads(tau("rename", "papercut", "scissors", "--json").stdout)["after"] == "scissors"
    assert tau("show", "papercut").exit_code == 3
    assert tau("history", "scissors", "-q").stdout.splitlines()[0] == "created"
    assert tau("rename", "scissors", "lcm").exit_code == 5
    assert tau("rename", "scissors", "Not A Slug").exit_code == 2
    assert tau("rename", "papercut", "other").exit_code == 3


def test_show_tells_what_an_alias_meant_then(tau: Tau, stocked: Path) -> None:
    tau("alias", "papercut", "--as", "production")
    then = _moment()
    tau("alias", "papercut", "--as", "production", "--remove")
    assert json.loads(tau("show", "papercut@production", "--at", then, "--json").stdout)["number"] == 1
    assert tau("show", "papercut@production", "--at", "1999-01-01").exit_code == 3
    assert tau("show", "papercut:1", "--at", "1999-01-01").exit_code == 2


def test_a_database_goes_down_only_when_that_was_meant(tau: Tau, stocked: Path) -> None:
    assert tau("db", "downgrade", "0001").exit_code == 1
    assert tau("ls").exit_code == 0
    down = json.loads(tau("db", "downgrade", "0001", "--yes", "--json").stdout)
    assert (down["revision"], down["ok"]) == ("0001", False)
    assert "tau db upgrade" in tau("ls").stderr
    assert json.loads(tau("db", "upgrade", "--json").stdout)["ok"]
    assert json.loads(tau("show", "papercut", "--json").stdout)["state"] == "published"


def test_every_database_command_works_on_postgresql_and_shows_no_password(
    new_database: Callable[[str], str], tmp_path: Path, files: Path
) -> None:
    url = new_database("template0").replace("@", ":secret@")

    def tau(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["--home", str(tmp_path), "--database-url", url, *map(str, arguments)])

    assert tau("db", "check", "--json").exit_code == 4
    said = [tau("db", "upgrade", "--json"), tau("db", "check", "--json"), tau("init", "--json")]
    assert [json.loads(result.stdout).get("ok", True) for result in said] == [True, True, True]
    assert tau("import", files / "base", "--name", "tiny").exit_code == 0
    assert tau("ls", "-q").stdout == "tiny:1\n"
    assert json.loads(tau("doctor", "--json").stdout)["ok"]
    assert all("secret" not in result.output for result in (*said, tau("ls")))


@pytest.mark.parametrize("command", ["ls", "db check"])
def test_a_server_that_is_not_there_is_an_error_in_words(tmp_path: Path, command: str) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql+psycopg://ann:secret@/db?host={tmp_path}"
    result = CliRunner().invoke(app, ["--database-url", url, *command.split()])
    assert result.exit_code == 1
    assert "Check that it runs" in result.stderr
    assert "secret" not in result.output
