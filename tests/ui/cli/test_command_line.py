"""The command line as a whole: documented, quick to start, data on stdout and words on stderr."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import Result

from ui.cli.failures import message_of
from ui.cli.main import app
from workbench.outcomes import Outcome

Tau = Callable[..., Result]

PROMISED = {
    *("demo", "init", "db", "db.upgrade", "db.downgrade", "db.check", "import", "ls", "search", "show", "lineage"),
    *("history", "rename", "alias", "tag", "publish", "identify", "check", "compose", "verify", "preview", "grid"),
    *("recall", "bake", "unbake", "interference", "convert"),
    *("data", "data.check"),
    *("distill", "distill.lcd-lora", "distill.lcd", "train", "train.style", "train.lcf", "worker", "ui"),
    *("jobs", "jobs.ls", "jobs.show", "jobs.logs", "jobs.cancel", "jobs.pause", "jobs.resume", "jobs.retry"),
    "jobs.prioritise",
    *("export", "push", "sync", "edit", "favourite", "deprecate", "archive", "fits", "diff", "license"),
    *("rm", "restore", "gc", "relink", "doctor", "lookup", "unlink", "link"),
}

CHANGING = {
    *("import", "link", "unlink", "edit", "favourite", "alias", "tag", "publish", "deprecate", "archive", "rename"),
    *("rm", "restore", "relink", "gc", "push", "sync"),
    *("jobs.cancel", "jobs.pause", "jobs.resume", "jobs.retry", "jobs.prioritise"),
    *("distill.lcd-lora", "distill.lcd", "train.style", "train.lcf", "grid"),
}
"""What changes records or bytes that are there, or takes hours: it can be asked what it would do."""

ASKING = {
    "edit",
    "favourite",
    "alias",
    "tag",
    "publish",
    "deprecate",
    "archive",
    "rm",
    "gc",
    "db.downgrade",
    "jobs.cancel",
}
"""What changes many things at once, or cannot be undone: it asks a person, unless it is told not to."""

WITHOUT_JSON = {"worker", "ui"}
"""What ends only when it is stopped."""


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below `group`, groups included, by dotted name."""
    for name, command in group.commands.items():
        yield prefix + name, command
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name}.")


def tau_in_a_process(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code's worth of `tau` in a process of its own."""
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_promised_command_is_there_and_no_other() -> None:
    assert {name for name, _ in commands(typer.main.get_command(app))} == PROMISED


def test_every_command_option_and_argument_is_documented() -> None:
    for name, command in commands(typer.main.get_command(app)):
        assert command.help, name
        undocumented = [p.name for p in command.params if not getattr(p, "help", None) and p.name != "help"]
        assert undocumented == [], name


def options(command: Any) -> set[str]:
    """Every spelling of every option of a command."""
    return {spelling for parameter in command.params for spelling in parameter.opts}


def test_what_changes_something_has_a_dry_run_and_what_changes_much_asks() -> None:
    by_name = dict(commands(typer.main.get_command(app)))
    assert {name for name, command in by_name.items() if "--dry-run" in options(command)} == CHANGING
    assert {name for name, command in by_name.items() if "--yes" in options(command)} == ASKING


def test_every_command_that_ends_prints_json() -> None:
    ends = {name: c for name, c in commands(typer.main.get_command(app)) if not hasattr(c, "commands")}
    assert {name for name, command in ends.items() if "--json" not in options(command)} == WITHOUT_JSON


LIGHT = """
import sys
from ui.cli.main import app
for command in ("ls", "search paper*", "show papercut", "lineage papercut", "history papercut", "jobs ls", "init"):
    app(["--home", sys.argv[1], *command.split()], standalone_mode=False)
heavy = {"torch", "diffusers", "transformers", "arithmetic", "sampling", "distill_jobs", "streamlit", "numpy"}
sys.exit(" ".join(sorted(heavy & set(sys.modules))))
"""


def test_reading_the_catalog_loads_no_torch(stocked: Path, home: Path) -> None:
    result = tau_in_a_process("-c", LIGHT, home)
    assert result.stderr.splitlines()[-1] == "", result.stderr


def test_the_registry_in_use_is_named_on_stderr(tau: Tau, home: Path, tmp_path: Path) -> None:
    assert f"registry: sqlite:///{home / 'registry.db'}" in tau("ls").stderr
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    assert f"registry: {elsewhere}" in tau("--database-url", elsewhere, "ls").stderr


def test_the_environment_names_the_registry_where_no_option_does(tmp_path: Path) -> None:
    result = tau_in_a_process("-m", "ui.cli.main", "init", "-q", TAU_HOME=str(tmp_path / "there"))
    assert result.stdout == f"{tmp_path / 'there'}\n"


def test_no_colour_and_no_bar_reach_a_stderr_that_is_no_terminal(stocked: Path, home: Path) -> None:
    result = tau_in_a_process("-m", "ui.cli.main", "--home", home, "compose", "papercut + lcm", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["schema"] == "tau.composition/1"
    assert "\x1b" not in result.stdout + result.stderr
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["registry"]


@pytest.mark.parametrize("arguments", [("lz",), ("compose",), ("ls", "--knd", "base"), ("preview", "papercut")])
def test_what_cannot_be_understood_is_a_usage_error(tau: Tau, arguments: tuple[str, ...]) -> None:
    result = tau(*arguments)
    assert result.exit_code == Outcome.USAGE
    assert result.stdout == ""


def test_version_is_printed(tau: Tau) -> None:
    assert tau("--version").exit_code == 0


def test_an_error_of_the_system_says_which_file() -> None:
    assert message_of(FileNotFoundError(2, "No such file or directory", "x.png")) == "x.png: No such file or directory"
