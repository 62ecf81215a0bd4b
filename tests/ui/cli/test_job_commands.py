"""jobs ls, show, logs, cancel --pending, prioritise: what a person sees of the queue, and does to it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from registry import Registry
from registry.jobs import Queue
from ui.cli import output

Tau = Callable[..., Result]


@pytest.fixture
def queue(home: Path) -> Iterator[Queue]:
    """The queue of the registry that `tau` uses."""
    with Registry.open(home, actor="ann") as registry:
        yield Queue(registry)


def _jobs(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.stderr
    return list(json.loads(result.stdout)["jobs"])


def test_all_that_waits_is_cancelled_by_one_command(tau: Tau, queue: Queue) -> None:
    for kind, lane in (("style", "batch"), ("style", "interactive"), ("lcd-lora", "batch")):
        queue.submit(kind, {}, lane=lane)
    planned = tau("jobs", "cancel", "--pending", "--dry-run", "-q")
    assert (planned.stdout, queue.count(state="queued")) == ("3\n2\n1\n", 3)
    assert "dry run: would cancel 3 jobs" in planned.stderr
    assert [job["id"] for job in _jobs(tau("jobs", "cancel", "--pending", "--kind", "lcd-lora", "--json"))] == [3]
    assert tau("jobs", "cancel", "--pending", "--lane", "interactive", "-q").stdout == "2\n"
    assert tau("jobs", "cancel", "--pending", "--yes", "-q").stdout == "1\n"
    assert tau("jobs", "cancel", "--pending", "-q").stdout == ""


@pytest.mark.parametrize("arguments", [(), (1, "--pending"), (1, "--kind", "style"), (1, "--lane", "batch")])
def test_what_to_cancel_is_said_in_one_way(tau: Tau, queue: Queue, arguments: tuple[object, ...]) -> None:
    queue.submit("style", {})
    assert tau("jobs", "cancel", *arguments).exit_code == 2
    assert queue.count(state="queued") == 1


def test_a_job_is_moved_to_the_front_of_its_line(tau: Tau, queue: Queue) -> None:
    for _ in range(2):
        queue.submit("style", {})
    assert tau("jobs", "prioritise", 2, "--priority", 5, "--dry-run").exit_code == 0
    assert queue.get(2).priority == 0
    assert _jobs(tau("jobs", "prioritise", 2, "--priority", 5, "--json"))[0]["priority"] == 5
    assert [job.id for job in queue.line()] == [2, 1]
    queue.cancel(1)
    assert tau("jobs", "prioritise", 1, "--priority", 5).exit_code == 5


def test_dead_and_failed_jobs_are_shown_with_their_remedy(tau: Tau, queue: Queue) -> None:
    for retry in (True, False):
        queue.submit("style", {}, max_attempts=1)
        lease = queue.claim("worker")
        assert lease is not None
        queue.fail(lease, "out of memory", retry=retry)
    listed = tau("jobs", "ls")
    assert "job 1 is dead: out of memory; mend the cause and try again: tau jobs retry 1" in listed.stderr
    assert "job 2 is failed: out of memory; mend the cause and try again: tau jobs retry 2" in listed.stderr
    assert "remedy\tmend the cause and try again: tau jobs retry 1" in tau("jobs", "show", 1).stdout
    assert [job["remedy"] for job in _jobs(tau("jobs", "ls", "--state", "dead", "--json"))] == [
        "mend the cause and try again: tau jobs retry 1"
    ]


def test_the_time_that_is_left_is_shown_for_what_runs_and_for_what_waits(tau: Tau, queue: Queue) -> None:
    assert tau("jobs", "ls").exit_code == 0
    queue.submit("style", {"steps": 10})
    done = queue.claim("worker")
    assert done is not None
    queue.progress(done, {"step": 10, "steps": 10})
    queue.finish(done, {})
    for _ in range(2):
        queue.submit("style", {"steps": 10})
    lease = queue.claim("worker")
    assert lease is not None
    queue.progress(lease, {"step": 1, "steps": 10, "eta_seconds": 3_725.0})
    left = {job["id"]: job["eta_seconds"] for job in _jobs(tau("jobs", "ls", "--json"))}
    assert (left[1], left[2]) == (None, 3725.0)
    assert isinstance(left[3], float)
    assert left[3] >= 3725.0
    assert "\t1/10\t1 h 2 min\t" in tau("jobs", "ls").stdout
    assert "eta\t1 h 2 min" in tau("jobs", "show", 2).stdout


def test_a_jobs_numbers_are_shown_on_request(tau: Tau, queue: Queue) -> None:
    queue.submit("style", {}, needs_gpu=1, needs_memory=4096)
    assert "needs GPUs\t1\nneeds bytes\t4096" in tau("jobs", "show", 1).stdout
    other = queue.submit("style", {})
    lease = queue.claim("worker")
    assert lease is not None
    queue.write_metrics(lease, [(1, "loss", 0.5), (2, "loss", 0.25)])
    queue.attach_external(lease, "ray-2-1")
    shown = tau("jobs", "show", other.id, "--metrics").stdout
    assert shown.endswith("loss\t1\t0.5\nloss\t2\t0.25\n")
    assert "external id\tray-2-1" in shown
    document = json.loads(tau("jobs", "show", other.id, "--metrics", "--json").stdout)
    assert [(each["step"], each["value"]) for each in document["metrics"]] == [(1, 0.5), (2, 0.25)]
    assert "metrics" not in json.loads(tau("jobs", "show", other.id, "--json").stdout)


def test_a_log_is_read_on_from_where_it_was_left(tau: Tau, queue: Queue, tmp_path: Path) -> None:
    queue.submit("style", {})
    assert "job 1 is queued and has written nothing more" in tau("jobs", "logs", 1).stderr
    lease = queue.claim("worker")
    assert lease is not None
    queue.attach_log(lease, str(tmp_path / "job.log"))
    assert f"read {tmp_path / 'job.log'} where its worker ran" in tau("jobs", "logs", 1).stderr
    (tmp_path / "job.log").write_text("one\ntwo\n")
    assert tau("jobs", "logs", 1).stdout == "one\ntwo\n"
    document = json.loads(tau("jobs", "logs", 1, "--offset", 4, "--json").stdout)
    assert (document["text"], document["next_offset"]) == ("two\n", 8)
    assert tau("jobs", "logs", 1, "--offset", 8).stdout == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7_800, "2 h 10 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_time_span_is_shown_in_its_two_largest_units(seconds: float, shown: str) -> None:
    assert output.duration(seconds) == shown
