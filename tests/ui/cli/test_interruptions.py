"""Ctrl-C in every long command: exit code 130, nothing left behind, and jobs that are taken up again and finish."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import Result

from registry.jobs import Job
from workbench.jobs.queueing import queue_of
from workbench.opening import open_registry

Tau = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]
Snapshot = Callable[[], object]

PATIENCE_SECONDS = 120.0
ORDER = ("--base", "shapes", "--name", "fast", "--batch", 2, "--rank", 2)

SHORT_LEASED_WORKER = """
import sys
from pathlib import Path
from distill_jobs import Pace, Worker
from registry import Registry
from workbench.jobs.kinds import JOB_KINDS
with Registry.open(Path(sys.argv[1])) as registry:
    Worker(registry, JOB_KINDS, pace=Pace(lease_seconds=3)).run()
"""


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start `tau ARGUMENTS` (or other Python arguments) as a process of its own; whatever still runs is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: object, python: Sequence[object] | None = None) -> "subprocess.Popen[str]":
        command = python or ("-m", "ui.cli.main", "--home", home, *arguments)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(
    condition: Callable[[], object], process: "subprocess.Popen[str] | None" = None, every_seconds: float = 0.2
) -> None:
    """Wait for `condition`; fail when `process` ends before it holds, or patience does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(every_seconds)


def interrupted(process: "subprocess.Popen[str]") -> str:
    """Send what Ctrl-C sends; the process must end with 130. Returns its stderr."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, (process.returncode, out, err)
    return err


@pytest.fixture
def job(painted: Tau, home: Path) -> Iterator[Callable[[], Job]]:
    """Job 1 as it is."""
    with open_registry(home) as registry:
        yield lambda: queue_of(registry).get(1)


def has_begun(job: Job) -> bool:
    """Whether the job has taken a step."""
    return job.progress.get("step", 0) > 0


def test_an_interrupted_import(tau: Tau, stocked: Path, home: Path, start: Start, left_behind: Snapshot) -> None:
    big = stocked / "big.safetensors"
    size = 256 << 20
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with big.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    before = left_behind()
    process = start("import", big, "--kind", "other")
    until(lambda: list((home / "blobs" / "staging").glob("*/*")), process, 0.005)
    assert "interrupted" in interrupted(process)
    assert left_behind() == before


def test_an_interrupted_composition(
    tau: Tau, stocked: Path, tmp_path: Path, start: Start, left_behind: Snapshot, many_modules: Path
) -> None:
    tau("import", many_modules / "base", "--name", "many")
    before = left_behind()
    out = tmp_path / "out.safetensors"
    process = start("compose", f"0.3*{many_modules / 'vector.safetensors'}", "-o", out)
    until(lambda: list(tmp_path.glob(".out.safetensors.*.part")), process, 0.005)
    interrupted(process)
    assert left_behind() == before


def test_an_interrupted_bake(
    tau: Tau, stocked: Path, tmp_path: Path, start: Start, left_behind: Snapshot, many_modules: Path
) -> None:
    before = left_behind()
    out = tmp_path / "out"
    recipe = f"{many_modules / 'base'} + 0.3*{many_modules / 'vector.safetensors'}"
    process = start("bake", recipe, "-o", out, "--residual", tmp_path / "kept")
    until(lambda: list(tmp_path.glob(".out.*.part")), process, 0.001)
    interrupted(process)
    assert left_behind() == before
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_an_interrupted_preview(painted: Tau, tmp_path: Path, start: Start, left_behind: Snapshot) -> None:
    before = left_behind()
    out = tmp_path / "pictures"
    process = start("preview", "papercut", "-p", "a circle", "--solver", "ddim", "--steps", 1000, "-o", out)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("registry: ")
    interrupted(process)
    assert left_behind() == before


@pytest.mark.parametrize("command", ["check", "verify"])
def test_an_interrupted_proof(
    tau: Tau, stocked: Path, tmp_path: Path, start: Start, left_behind: Snapshot, many_modules: Path, command: str
) -> None:
    tau("import", many_modules / "base", "--name", "many")
    out = tmp_path / "out.safetensors"
    recipe = f"0.3*{many_modules / 'vector.safetensors'}"
    tau("compose", recipe, "-o", out)
    before = left_behind()
    process = start(command, recipe if command == "check" else out)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("registry: ")
    interrupted(process)
    assert left_behind() == before


def test_an_interrupted_demo_puts_its_job_down_and_goes_on_from_there(tmp_path: Path, start: Start) -> None:
    home = tmp_path / "demo"
    process = start("demo", "--home", home)
    until(lambda: (home / "jobs" / "1").exists(), process)
    with open_registry(home) as registry:
        until(lambda: has_begun(queue_of(registry).get(1)), process)
        interrupted(process)
        assert queue_of(registry).get(1).state == "queued"
        assert {version.model for version in registry.search()} == {"shapes", "outline", "stripes", "glow"}
    assert (home / "jobs" / "1" / "checkpoint.pt").exists()
    assert not list((home / "blobs" / "staging").iterdir())


@pytest.mark.parametrize("order", [("distill", "lcd-lora"), ("train", "style")])
def test_interrupting_the_wait_leaves_the_job_running_and_says_how_to_steer_it(
    painted: Tau, data: Path, start: Start, job: Callable[[], Job], order: tuple[str, str]
) -> None:
    process = start(*order, *ORDER, "--data", data, "--steps", 5000, "--wait")
    until(lambda: painted("jobs", "ls", "-q").stdout, process)
    until(lambda: has_begun(job()), process)
    said = interrupted(process)
    assert "job 1 goes on" in said
    assert "tau jobs cancel 1" in said
    assert "tau jobs resume 1" in said
    assert job().state == "running"
    painted("jobs", "cancel", 1)
    until(lambda: job().state == "cancelled")


def test_an_interrupted_worker_puts_its_job_down_for_the_next_one(
    painted: Tau, data: Path, start: Start, home: Path, job: Callable[[], Job]
) -> None:
    painted("distill", "lcd-lora", *ORDER, "--data", data, "--steps", 5000, "--no-worker")
    process = start("worker")
    until(lambda: has_begun(job()), process)
    interrupted(process)
    assert job().state == "queued"
    assert (home / "jobs" / "1" / "checkpoint.pt").exists()
    assert "stopped after step" in painted("jobs", "logs", 1).stdout


def test_the_job_of_a_killed_worker_is_taken_up_again_and_finishes(
    painted: Tau, data: Path, start: Start, home: Path, job: Callable[[], Job]
) -> None:
    painted("distill", "lcd-lora", *ORDER, "--data", data, "--steps", 40, "--checkpoint-every", 1, "--no-worker")
    process = start(python=("-c", SHORT_LEASED_WORKER, home))
    until(lambda: has_begun(job()), process)
    child = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
    process.kill()
    os.kill(int(child), signal.SIGKILL)
    assert painted("worker", "--until-idle").exit_code == 0
    assert (job().state, job().attempt) == ("succeeded", 2)
    events = json.loads(painted("jobs", "show", 1, "--json").stdout)["events"]
    assert [event["action"] for event in events] == ["submitted", "claimed", "reclaimed", "finished"]
    assert painted("show", "fast", "-q").stdout == "fast:1\n"
