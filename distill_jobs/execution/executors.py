"""Where a job's process runs: one interface, and the local subprocess behind it."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol, Self

from distill_jobs.execution.machine import offers_of
from registry.jobs import Offers

CHILD = "distill_jobs.execution.child"


@dataclass(frozen=True)
class Assignment:
    """What a job's process has to know: the registry, the job and its lease, and the function as "module:name".

    `device` is what CUDA_VISIBLE_DEVICES is to say, None to leave it as it is; `gpus` is how many the job needs.
    """

    home: str
    url: str
    actor: str
    job: int
    attempt: int
    token: int
    function: str
    folder: str
    grace_seconds: float
    lease_seconds: float
    device: str | None = None
    gpus: int = 0

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The assignment in a line that `to_json` made."""
        return cls(**json.loads(line))


class JobProcess(Protocol):
    """A job's process, wherever it runs.

    One that goes on when its worker is gone has an `external_id`: it keeps its lease in that name, and by it another
    worker finds it again. `is_in_sight` is False while nothing is known about it.
    """

    external_id: str | None
    is_in_sight: bool

    def ending(self) -> str | None:
        """How the process ended, or None while it runs."""

    def ask_to_stop(self) -> None:
        """Have it write a checkpoint and end; no effect on one that has ended."""

    def kill(self) -> None:
        """End it and everything that it started, now."""


class Executor(Protocol):
    """Starts the processes of jobs."""

    def start(self, assignment: Assignment, log: Path) -> JobProcess:
        """Start the process of `assignment`; what it writes is appended to `log`."""

    def find(self, assignment: Assignment, log: Path) -> JobProcess | None:
        """The process of `assignment` that another worker started, where it goes on without it."""

    def external_id(self, assignment: Assignment) -> str | None:
        """What the process of `assignment` is called where it runs, if it goes on without its worker."""

    def offers(self, device: str | None) -> Offers:
        """What a job on `device` would find."""


class LocalExecutor:
    """A subprocess on this machine, in a process group of its own."""

    def start(self, assignment: Assignment, log: Path) -> "LocalProcess":
        """Start it."""
        return start_process(CHILD, assignment.to_json(), log, assignment.device)

    def find(self, assignment: Assignment, log: Path) -> None:
        """None: a subprocess ends with its worker."""

    def external_id(self, assignment: Assignment) -> None:
        """None: a subprocess ends with its worker."""

    def offers(self, device: str | None) -> Offers:
        """What this machine has."""
        return offers_of(device)


class LocalProcess:
    """A running `LocalExecutor` subprocess."""

    external_id: str | None = None
    is_in_sight = True

    def __init__(self, process: subprocess.Popen[bytes], lifeline: IO[bytes]) -> None:
        self._process, self._lifeline = process, lifeline

    @property
    def pid(self) -> int:
        """The process number, which is also the number of its group."""
        return self._process.pid

    def ending(self) -> str | None:
        """How it ended: "exit code 1", "SIGKILL"; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        with suppress(BrokenPipeError):
            self._lifeline.close()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def ask_to_stop(self) -> None:
        """SIGTERM to the process, which writes a checkpoint."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to its whole group, then wait for it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def start_process(module: str, line: str, log: Path, device: str | None = None) -> LocalProcess:
    """Run `python -m module` with that line on its standard input, which then stays open: its end says we are gone."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment(device),
        )
    stdin = process.stdin
    if stdin is None:
        raise RuntimeError("a process started with a pipe has none")
    with suppress(BrokenPipeError):  # a process that is gone already says so by its ending
        stdin.write(line.encode() + b"\n")
        stdin.flush()
    return LocalProcess(process, stdin)


def environment(device: str | None = None) -> dict[str, str]:
    """This process's environment and import path, with output that is written as it comes, on that device alone."""
    path = os.pathsep.join(filter(None, sys.path))
    chosen = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **chosen}
