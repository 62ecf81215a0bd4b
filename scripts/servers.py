"""Servers on a free port of this machine: for tests, screenshots and benchmarks that ask a real one."""

import socket
import subprocess
import time
import urllib.request
from pathlib import Path

LOOK_SECONDS = 0.05


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def await_answer(url: str, server: "subprocess.Popen[bytes]", log: Path, patience_seconds: float) -> None:
    """Wait until `server` answers at `url`. Raises RuntimeError with its log when it ended, or takes too long."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{url} does not answer: {log.read_text(errors='replace')}") from None
            time.sleep(LOOK_SECONDS)
