"""Runs each measured thing in a process of its own, and watches that process's memory from outside.

A client prints one JSON object on its last line: at least `seconds`, its own clock around the work without the imports,
and `before_mib`, its anonymous memory when the imports were done. RssAnon of Linux is what a process cannot give back:
pages of mapped files, which it can, are not in it.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

RIVALS = str(Path(__file__).with_name("rivals_client.py"))
OURS = "benchmarks.arithmetic_client"
INTERVAL_S = 0.005
CHUNK = 16 << 20

Run = dict[str, Any]


def ours(work: str, *arguments: object) -> Run:
    """One run of benchmarks.arithmetic_client."""
    return watched([sys.executable, "-m", OURS, work, *map(str, arguments)], dict(os.environ))


def rival(python: str, work: str, *arguments: object) -> Run:
    """One run of rivals_client.py by the rivals' interpreter, without our packages on its path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return watched([python, RIVALS, work, *map(str, arguments)], environment)


def shell(command: str) -> Run:
    """Seconds of a shell command."""
    began = time.perf_counter()
    subprocess.run(["sh", "-c", command], check=True)
    return {"seconds": time.perf_counter() - began}


def watched(command: Sequence[str], environment: Mapping[str, str], said: IO[str] | None = None) -> Run:
    """What a client prints, and `peak_mib`, its largest RssAnon. Raises CalledProcessError when it fails.

    What it says on its standard error goes to the file `said`, or where ours does.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process:
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        printed, _ = process.communicate()
        watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    run: Run = json.loads(printed.splitlines()[-1])
    return run | {"peak_mib": peak[0]}


def settle(inputs: Iterable[Path]) -> None:
    """Let the disk finish what it was given, then have the inputs in the page cache."""
    os.sync()
    for path in inputs:
        with path.open("rb", buffering=0) as file:
            while file.read(CHUNK):
                pass


def median(runs: Iterable[Run], name: str = "seconds") -> float:
    """Of one figure of several runs."""
    return float(statistics.median(run[name] for run in runs))


def counted(runs: Sequence[Run]) -> str:
    """How many there are."""
    return f"{len(runs)} run{'' if len(runs) == 1 else 's'}"


def own_memory_mib() -> float:
    """RssAnon of this process."""
    return _anonymous_mib(os.getpid())


def _watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], _anonymous_mib(process.pid))
        time.sleep(INTERVAL_S)


def _anonymous_mib(pid: int) -> float:
    """RssAnon; 0 for a process that is ending."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    _, found, rest = status.partition("RssAnon:")
    return int(rest.split()[0]) / 1024 if found else 0.0
