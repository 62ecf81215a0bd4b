"""tau ui: served to this machine alone, and gone after Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from scripts.servers import free_port
from ui.cli.pages import _environment

PATIENCE_SECONDS = 120.0


def is_healthy(port: int) -> bool:
    """Whether the pages' server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
            return answer.read() == b"ok"
    except OSError:
        return False


def test_the_pages_are_served_on_this_machine_until_interrupted(stocked: Path, home: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "ui.cli.main", "--home", str(home), "ui", "--no-browser", "--port", str(port)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_healthy(port):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert out == ""
    assert f"http://127.0.0.1:{port}" in err
    assert not is_healthy(port)


def test_a_home_that_is_named_takes_no_database_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAU_DATABASE_URL", "sqlite:////elsewhere.db")
    assert "TAU_DATABASE_URL" not in _environment(Path("/demo"), None)
    assert _environment(None, None)["TAU_DATABASE_URL"] == "sqlite:////elsewhere.db"
    assert _environment(Path("/demo"), "sqlite:////mine.db")["TAU_DATABASE_URL"] == "sqlite:////mine.db"
