"""The command line that starts the workbench's pages: `tau ui` runs it."""

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDER = Path(__file__).parent
APP = FOLDER / "app.py"
THEME = FOLDER / "theme.toml"


def command(*, port: int = 8501, address: str = "127.0.0.1", open_browser: bool = True) -> list[str]:
    """The arguments of a process that serves the pages on `address`:`port` and tells nobody about it.

    Nothing is collected as garbage after each run of a script beyond what Python collects anyway: with the libraries of
    models loaded that takes 0.2 s, in which no page is served, and a page that looks on runs a script twice a second.
    """
    settings = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": str(not open_browser).lower(),
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "runner.magicEnabled": "false",
        "runner.postScriptGC": "false",
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": address,
        "client.toolbarMode": "viewer",
        **theme(),
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "streamlit", "run", str(APP), *flags]


def theme() -> dict[str, str]:
    """theme.toml as Streamlit settings.

    They are given one by one and not as `theme.base=FILE`, which would pin the light scheme and ignore the reader's.
    """
    return dict(_flatten(tomllib.loads(THEME.read_text(encoding="utf-8"))))


def _flatten(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values; a flag takes a list as JSON."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
