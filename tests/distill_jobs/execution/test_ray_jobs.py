"""Jobs on a real Ray cluster: they run, they are steered, and they go on when their worker is killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distill_jobs.errors import ClusterUnreachable
from distill_jobs.execution.ray_jobs import CopiedLog, RayExecutor, connect
from distill_jobs.execution.worker import Pace, Worker
from registry import Registry
from registry.jobs import Queue
from workbench.jobs.workers import JOB_COMMAND

RUN_JOB = Path(__file__).parents[1] / "functions" / "run_job.py"
COMMAND = (sys.executable, "-P", str(RUN_JOB))
STYLE = "workbench.training.jobs:train_style_vector"
KINDS = {"count": "sample_jobs:count", "fail": "sample_jobs:fail", "style": STYLE}
QUICK = Pace(lease_seconds=6.0, grace_seconds=30.0, poll_seconds=0.05)
PATIENCE_SECONDS = 120

DOOMED_WORKER = """
import sys
from pathlib import Path
from distill_jobs import Pace, RayExecutor, Worker
from registry import Registry
home, address, *command = sys.argv[1:]
with Registry.open(Path(home)) as registry:
    pace = Pace(lease_seconds=6.0, grace_seconds=30.0, poll_seconds=0.05)
    executor = RayExecutor(address, command)
    Worker(registry, {"count": "sample_jobs:count"}, name="doomed", executor=executor, pace=pace).run()
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "home", actor="tester") as registry:
        yield registry


@pytest.fixture
def queue(registry: Registry) -> Queue:
    return Queue(registry)


@pytest.fixture
def new_worker(registry: Registry, ray_cluster: str) -> Callable[..., Worker]:
    """new_worker(name, command=...) -> a worker whose jobs run on the cluster."""

    def make(name: str, command: tuple[str, ...] = COMMAND) -> Worker:
        return Worker(registry, KINDS, name=name, executor=RayExecutor(ray_cluster, command), pace=QUICK)

    return make


def submissions(address: str, job: int) -> list[Any]:
    """What the cluster knows of the job of that number that this test's registry submitted last."""
    newest = max((d for d in connect(address).list_jobs() if d.metadata["job"] == str(job)), key=lambda d: d.start_time)
    mark = newest.submission_id.split("-")[1]
    return [d for d in connect(address).list_jobs() if d.submission_id.startswith(f"tau-{mark}-{job}-")]


def until(met: Callable[[], object], worker: Worker | None = None) -> None:
    """Wait for `met`, meanwhile doing the rounds of `worker`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        if worker is not None:
            worker.look_after()
        time.sleep(0.05)


def test_a_job_runs_on_the_cluster_and_leaves_result_progress_metrics_and_log(
    new_worker: Callable[..., Worker], queue: Queue, ray_cluster: str
) -> None:
    job = queue.submit("count", {"steps": 4})
    new_worker("one").run(until_idle=True)
    done = queue.get(job.id)
    assert (done.state, done.result, done.attempt) == ("succeeded", {"counted": 4, "began_at": 0}, 1)
    assert [metric.step for metric in queue.metrics(job.id, "loss")] == [1, 2, 3, 4]
    log = Path(done.log_path or "").read_text()
    assert log.count("attempt 1 of 3: count\n") == log.count("step 4/4 loss 0.250000") == log.count("finished\n") == 1
    [submitted] = submissions(ray_cluster, job.id)
    assert submitted.status == "SUCCEEDED"


def test_a_killed_workers_job_goes_on_and_the_next_worker_settles_it_without_a_second_start(
    new_worker: Callable[..., Worker], registry: Registry, queue: Queue, ray_cluster: str
) -> None:
    job = queue.submit("count", {"steps": 200, "seconds": 0.1}, max_attempts=1)
    command = [sys.executable, "-c", DOOMED_WORKER, str(registry.home), ray_cluster, *COMMAND]
    path = os.pathsep.join([str(RUN_JOB.parent), *filter(None, sys.path)])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as doomed:
        try:
            until(lambda: queue.get(job.id).progress.get("step", 0) >= 3)
        finally:
            doomed.kill()
    second = new_worker("second")
    assert second.run(until_idle=True)
    seen = queue.get(job.id)
    assert (seen.state, seen.result) == ("succeeded", {"counted": 200, "began_at": 0})
    assert (seen.attempt, seen.lease_token) == (1, 1)
    actions = [event.action for event in queue.events(job.id)]
    assert actions == ["submitted", "claimed", "kept", "re-attached", "finished"]
    assert len(submissions(ray_cluster, job.id)) == 1
    log = Path(seen.log_path or "").read_text()
    assert [log.count(f"step {step}/200 ") for step in range(1, 201)] == [1] * 200


@pytest.mark.parametrize(("wish", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_job_on_the_cluster_stops_as_wanted_and_can_go_on(
    new_worker: Callable[..., Worker], queue: Queue, ray_cluster: str, wish: str, state: str
) -> None:
    worker = new_worker("one")
    job = queue.submit("count", {"steps": 1000, "seconds": 0.05})
    worker.take_up()
    until(lambda: queue.get(job.id).progress.get("step", 0) >= 1, worker)
    getattr(queue, wish)(job.id)
    until(lambda: not worker.running, worker)
    assert queue.get(job.id).state == state
    counted = int((worker.folder(job.id) / "counted").read_text())
    assert 0 < counted < 1000
    (queue.retry if wish == "cancel" else queue.resume)(job.id)
    worker.take_up()
    until(lambda: queue.get(job.id).progress.get("step", 0) > counted, worker)
    queue.cancel(job.id)
    until(lambda: not worker.running, worker)
    assert len(submissions(ray_cluster, job.id)) == 2


def test_a_process_that_dies_on_the_cluster_is_started_again_by_us_alone(
    new_worker: Callable[..., Worker], queue: Queue, ray_cluster: str
) -> None:
    job = queue.submit("count", {"steps": 4, "die_at": 2})
    new_worker("one").run(until_idle=True)
    assert queue.get(job.id).result == {"counted": 4, "began_at": 2}
    assert [event.action for event in queue.events(job.id)] == [
        "submitted",
        "claimed",
        "will-retry",
        "claimed",
        "finished",
    ]
    assert sorted(submitted.status for submitted in submissions(ray_cluster, job.id)) == ["FAILED", "SUCCEEDED"]


def test_a_worker_that_shuts_down_leaves_the_job_to_itself_and_the_next_one_finds_it_at_once(
    new_worker: Callable[..., Worker], queue: Queue
) -> None:
    first, second = new_worker("first"), new_worker("second")
    job = queue.submit("count", {"steps": 1000, "seconds": 0.05})
    first.take_up()
    until(lambda: queue.get(job.id).progress.get("step", 0) >= 1, first)
    first.stop()
    assert (first.running, queue.get(job.id).state) == ([], "running")
    second.take_up()
    assert [running.lease.job.id for running in second.running] == [job.id]
    queue.cancel(job.id)
    until(lambda: not second.running, second)
    assert queue.get(job.id).state == "cancelled"


def test_the_entrypoint_is_our_own_worker_command(new_worker: Callable[..., Worker], queue: Queue) -> None:
    job = queue.submit("style", {"name": "nothing"})
    new_worker("one", (sys.executable, *JOB_COMMAND)).run(until_idle=True)
    seen = queue.get(job.id)
    assert seen.state == "failed"
    assert "the job's spec lacks base" in (seen.last_error or "")
    assert "InvalidSettings" in Path(seen.log_path or "").read_text()


def test_a_cluster_that_does_not_answer_is_named_with_the_remedy() -> None:
    with pytest.raises(ClusterUnreachable, match=r"http://127\.0\.0\.1:9: no Ray cluster answers.*TAU_EXECUTOR=local"):
        RayExecutor("http://127.0.0.1:9", COMMAND)


def test_a_copied_log_goes_on_where_the_last_copy_ended_whoever_made_it(tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text("an earlier attempt\n")
    CopiedLog(path, "tau-1").take("one\ntw", whole=False)
    CopiedLog(path, "tau-1").take("one\ntwo\n", whole=False)
    CopiedLog(path, "tau-1").take("one\ntwo\nthree", whole=True)
    CopiedLog(path, "tau-2").take("four\n", whole=True)
    assert path.read_text() == "an earlier attempt\n== tau-1\none\ntwo\nthree== tau-2\nfour\n"
