"""What is measured of a process is what it did."""

import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks.subprocesses import shell, watched

HOLDS = """
import json, time
from pathlib import Path
before = int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024
held = b"x" * (64 << 20)
time.sleep(0.1)
del held
print("not the last line")
print(json.dumps({"before_mib": before}))
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is read from Linux's /proc")


def test_the_peak_of_a_process_is_seen_from_outside_after_it_has_let_go() -> None:
    run = watched([sys.executable, "-c", HOLDS], dict(os.environ))
    assert 64 <= run["peak_mib"] - run["before_mib"] < 80


def test_a_process_that_fails_has_no_figures() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        watched([sys.executable, "-c", f"print({json.dumps({})!r}); raise SystemExit(3)"], dict(os.environ))


def test_a_command_is_timed_to_its_end() -> None:
    began = time.perf_counter()
    assert 0.05 <= shell("sleep 0.05")["seconds"] <= time.perf_counter() - began
