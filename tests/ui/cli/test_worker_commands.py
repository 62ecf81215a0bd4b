"""tau worker with its lanes, slots and executors, and previews that painters make."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from workbench.jobs.queueing import queue_of
from workbench.jobs.workers import BATCH, INTERACTIVE, is_worker_alive
from workbench.opening import open_registry

Tau = Callable[..., Result]

PATIENCE_SECONDS = 120.0


@pytest.fixture
def painting(painted: Tau, home: Path) -> Iterator[None]:
    """A worker of the interactive lane, at work in the background."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ui.cli.main", "--home", str(home), "worker", "--lanes", "interactive"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as worker:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_worker_alive(home, INTERACTIVE):
            assert worker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0


def test_a_queued_preview_is_the_picture_that_preview_paints(painted: Tau, painting: None, tmp_path: Path) -> None:
    arguments = ("preview", "papercut", "-p", "a circle", "--base", "shapes", "--solver", "lcm", "--seed", 3, "--json")
    queued = painted(*arguments, "--queue", "--timeout", 250, "-o", tmp_path / "queued.png")
    assert queued.exit_code == 0, queued.stderr
    here = painted(*arguments, "-o", tmp_path / "here.png")
    assert (tmp_path / "queued.png").read_bytes() == (tmp_path / "here.png").read_bytes()
    documents = [json.loads(result.stdout) for result in (queued, here)]
    for document in documents:
        del document["seconds"], document["path"], document["pictures"][0]["path"]
    assert documents[0] == documents[1]


def test_painters_do_not_count_as_workers_of_the_batch_lane(painting: None, home: Path) -> None:
    assert is_worker_alive(home, INTERACTIVE)
    assert not is_worker_alive(home, BATCH)


def test_without_a_painter_the_wait_says_how_to_start_one_and_its_end_cancels_the_picture(
    painted: Tau, home: Path
) -> None:
    result = painted("preview", "papercut", "-p", "a circle", "--queue", "--timeout", 0.1)
    assert result.exit_code == 124
    assert "no painter runs on this machine; start one: tau worker --lanes interactive" in result.stderr
    with open_registry(home) as registry:
        assert [job.state for job in queue_of(registry).list()] == ["cancelled"]


def test_a_job_can_be_run_by_its_number_in_the_process_that_was_asked(painted: Tau, data: Path, home: Path) -> None:
    order = ("--base", "shapes", "--data", data, "--batch", 2, "--rank", 2, "--steps", 2, "--no-worker", "-q")
    painted("train", "style", *order, "--name", "first")
    painted("train", "style", *order, "--name", "second")
    assert painted("worker", "--job", 2).exit_code == 0
    with open_registry(home) as registry:
        assert [job.state for job in queue_of(registry).list()] == ["succeeded", "queued"]
    again = painted("worker", "--job", 2)
    assert (again.exit_code, "job 2 is succeeded" in again.stderr) == (5, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--lanes", "fast"), 2, "lanes 'fast': expected batch or interactive"),
        (("--lanes", "batch,batch"), 2, "each once"),
        (("--lanes", "interactive", "--slots", "2"), 2, "--slots is for the batch lane"),
        (("--slots", "3", "--devices", "0,1"), 2, "3 slots on 2 devices"),
        (("--executor", "ray://head"), 1, "TAU_EXECUTOR 'ray://head': expected local, or"),
        (("--executor", "http://127.0.0.1:9", "--devices", "0"), 2, "on a cluster Ray gives each job its devices"),
    ],
)
def test_duties_that_do_not_go_together_are_refused(
    painted: Tau, arguments: tuple[str, ...], code: int, words: str
) -> None:
    result = painted("worker", "--until-idle", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in " ".join(result.stderr.split())


def test_both_lanes_are_done_until_both_are_idle(painted: Tau, home: Path, data: Path) -> None:
    order = ("--base", "shapes", "--data", data, "--batch", 2, "--rank", 2, "--steps", 2, "--no-worker", "-q")
    painted("train", "style", *order, "--name", "first")
    with open_registry(home) as registry:
        from workbench.painting.jobs import submit_preview

        submit_preview(registry, "papercut", ["a circle"], solver="lcm")
        assert painted("worker", "--until-idle", "--lanes", "batch,interactive", "--slots", 2).exit_code == 0
        assert {(job.kind, job.state) for job in queue_of(registry).list()} == {
            ("preview", "succeeded"),
            ("style", "succeeded"),
        }
