"""The documents tell the truth about what exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from ui.cli.main import app

ROOT = Path(__file__).parents[2]


def commands(group: object, name: str = "tau") -> list[str]:
    """The full name of every command, groups included."""
    inner = getattr(group, "commands", {})
    return [name, *(found for word, sub in inner.items() for found in commands(sub, f"{name} {word}"))]


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    documented = set(re.findall(r"^#+ `(tau[^`]*)`", page, flags=re.MULTILINE))
    assert documented == set(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "docs/catalog.md", "docs/arithmetic.md"])
def test_every_tau_command_in_the_guides_exists(page: str) -> None:
    known = set(commands(typer.main.get_command(app)))
    lines = re.findall(r"^    tau (.+)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    assert lines
    for line in lines:
        words = line.split()
        assert f"tau {words[0]}" in known or f"tau {words[0]} {words[1]}" in known, line


def test_importing_the_command_line_loads_no_torch() -> None:
    code = "import sys, ui.cli.main; assert 'torch' not in sys.modules and 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
