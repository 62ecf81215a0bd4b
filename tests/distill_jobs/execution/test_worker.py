"""The supervisor with real processes on a real queue, and its clockwork with processes that follow a script."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from distill_jobs import Dataset, LcdLoraSettings, distil
from distill_jobs.execution.executors import Assignment
from distill_jobs.execution.worker import Pace, Worker
from registry import Registry
from registry.jobs import Offers, Queue

FUNCTIONS = Path(__file__).parents[1] / "functions"
KINDS = {
    "count": "sample_jobs:count",
    "distil": "sample_jobs:distil_base",
    "fail": "sample_jobs:fail",
    "stubborn": "sample_jobs:ignore_requests",
}
QUICK = Pace(lease_seconds=3.0, grace_seconds=5.0, poll_seconds=0.02)
PATIENCE_SECONDS = 60
StartWorker = Callable[[float], "subprocess.Popen[bytes]"]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "home", actor="tester") as registry:
        yield registry


@pytest.fixture
def queue(registry: Registry) -> Queue:
    return Queue(registry)


@pytest.fixture
def worker(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.syspath_prepend(str(FUNCTIONS))
    worker = Worker(registry, KINDS, name="one", pace=QUICK)
    yield worker
    worker.stop()


@pytest.fixture
def start_worker(registry: Registry) -> Iterator[StartWorker]:
    """Starts a worker in a process of its own, with a lease of so many seconds."""
    program = (
        "from pathlib import Path; from registry import Registry\n"
        "from distill_jobs.execution.worker import Pace, Worker\n"
        f"with Registry.open(Path({str(registry.home)!r}), {registry.url!r}) as registry:\n"
        f"    Worker(registry, {KINDS!r}, pace=Pace(LEASE_SECONDS, 5.0, 0.02)).run()\n"
    )
    path = os.pathsep.join([str(FUNCTIONS), *filter(None, sys.path)])
    with ExitStack() as processes:

        def start(lease_seconds: float) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-c", program.replace("LEASE_SECONDS", str(lease_seconds))]
            process = processes.enter_context(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}))
            processes.callback(process.kill)
            return process

        yield start


def test_a_job_runs_in_its_own_process_and_leaves_result_progress_metrics_and_log(worker: Worker, queue: Queue) -> None:
    job = queue.submit("count", {"steps": 4})
    worker.run(until_idle=True)
    done = queue.get(job.id)
    assert (done.state, done.result) == ("succeeded", {"counted": 4, "began_at": 0})
    assert (done.progress["step"], done.progress["steps"]) == (4, 4)
    assert [(m.step, m.value) for m in queue.metrics(job.id, "loss")] == [
        (i, pytest.approx(1 / i)) for i in (1, 2, 3, 4)
    ]
    log = Path(done.log_path or "").read_text()
    assert "attempt 1 of 3: count" in log
    assert "step 4/4 loss 0.250000" in log
    assert log.endswith("finished\n")


def test_a_process_that_dies_is_started_again_and_goes_on_where_it_was(worker: Worker, queue: Queue) -> None:
    job = queue.submit("count", {"steps": 4, "die_at": 2})
    worker.take_up()
    _watch(worker, lambda: queue.get(job.id).state == "queued")
    assert "ended without a result (SIGKILL)" in (queue.get(job.id).last_error or "")
    assert [event.action for event in queue.events(job.id)] == ["submitted", "claimed", "will-retry"]
    worker.run(until_idle=True)
    assert queue.get(job.id).result == {"counted": 4, "began_at": 2}


def test_a_distillation_that_is_killed_resumes_to_the_very_same_file(
    worker: Worker,
    queue: Queue,
    base: StableDiffusionPipeline,
    base_folder: Path,
    dataset: Dataset,
    data_folder: Path,
    tmp_path: Path,
) -> None:
    settings = {"rank": 2, "steps": 6, "batch": 2, "checkpoint_every": 2}
    spec = {"base": str(base_folder), "data": str(data_folder), "settings": settings, "die_at": 3}
    job = queue.submit("distil", spec)
    worker.run(until_idle=True)
    actions = [event.action for event in queue.events(job.id)]
    assert actions == ["submitted", "claimed", "will-retry", "claimed", "finished"]
    whole = distil(
        base,
        dataset,
        LcdLoraSettings(**settings),
        folder=tmp_path / "whole",
        report=lambda progress: None,
        cancelled=lambda: None,
    )
    assert Path((queue.get(job.id).result or {})["file"]).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(("how", "state"), [("program", "failed"), ("machine", "queued")])
def test_only_the_machines_trouble_is_tried_again(worker: Worker, queue: Queue, how: str, state: str) -> None:
    job = queue.submit("fail", {"how": how})
    worker.take_up()
    _watch(worker, lambda: not worker.running)
    seen = queue.get(job.id)
    assert seen.state == state
    assert (seen.last_error or "").startswith(("ValueError: this can never work", "OSError: the disk is full"))
    assert "Traceback" in Path(seen.log_path or "").read_text()


def test_a_kind_that_the_worker_does_not_know_fails_with_the_kinds_that_it_does(worker: Worker, queue: Queue) -> None:
    job = queue.submit("bake", {})
    worker.take_up()
    seen = queue.get(job.id)
    assert seen.state == "failed"
    assert "kind 'bake', this worker knows count, distil, fail, stubborn" in (seen.last_error or "")


def test_a_function_that_cannot_be_imported_fails_its_job(registry: Registry, queue: Queue) -> None:
    job = queue.submit("gone", {})
    Worker(registry, {"gone": "sample_jobs_elsewhere:gone"}, pace=QUICK).run(until_idle=True)
    assert (queue.get(job.id).last_error or "").startswith("UnknownJobKind: 'sample_jobs_elsewhere:gone'")


@pytest.mark.parametrize(("wish", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_running_job_stops_as_wanted_and_can_go_on(worker: Worker, queue: Queue, wish: str, state: str) -> None:
    job = queue.submit("count", {"steps": 500, "seconds": 0.02})
    worker.take_up()
    _watch(worker, lambda: queue.get(job.id).progress.get("step", 0) >= 1)
    getattr(queue, wish)(job.id)
    _watch(worker, lambda: not worker.running)
    assert queue.get(job.id).state == state
    counted = int((worker.folder(job.id) / "counted").read_text())
    assert 0 < counted < 500
    (queue.retry if wish == "cancel" else queue.resume)(job.id)
    worker.take_up()
    _watch(worker, lambda: queue.get(job.id).progress.get("step", 0) > counted)
    queue.cancel(job.id)
    _watch(worker, lambda: not worker.running)


def test_a_job_that_ignores_requests_is_killed_with_all_that_it_started(
    registry: Registry, queue: Queue, worker: Worker
) -> None:
    impatient = Worker(registry, KINDS, name="two", pace=Pace(lease_seconds=0.6, grace_seconds=0.3, poll_seconds=0.02))
    job = queue.submit("stubborn", {})
    impatient.take_up()
    grandchild = impatient.folder(job.id) / "grandchild"
    _watch(impatient, lambda: grandchild.exists() and grandchild.read_text() != "")
    queue.cancel(job.id)
    _watch(impatient, lambda: queue.get(job.id).state == "cancelled")
    _wait(lambda: not _is_alive(int(grandchild.read_text())))


def test_a_worker_that_shuts_down_puts_its_job_down_and_costs_it_no_attempt(worker: Worker, queue: Queue) -> None:
    job = queue.submit("count", {"steps": 500, "seconds": 0.02})
    worker.take_up()
    _watch(worker, lambda: queue.get(job.id).progress.get("step", 0) >= 1)
    worker.stop()
    seen = queue.get(job.id)
    assert (seen.state, seen.attempt) == ("queued", 0)


@pytest.mark.parametrize("with_its_job", [False, True])
def test_the_job_of_a_killed_worker_is_taken_up_again_and_finishes(
    worker: Worker, queue: Queue, start_worker: StartWorker, with_its_job: bool
) -> None:
    job = queue.submit("count", {"steps": 60, "seconds": 0.05})
    doomed = start_worker(1.5)
    _wait(lambda: queue.get(job.id).progress.get("step", 0) >= 1)
    doomed.kill()
    if with_its_job:
        for child in _children(worker.folder(job.id)):
            os.kill(child, signal.SIGKILL)
    doomed.wait()
    worker.run(until_idle=True)
    seen = queue.get(job.id)
    assert seen.state == "succeeded"
    assert seen.result is not None
    assert seen.result["began_at"] >= 1


def test_a_watched_worker_tells_after_every_look_and_says_that_it_was_idle(registry: Registry, queue: Queue) -> None:
    looks: list[int] = []
    worker = Worker(registry, KINDS, executor=ScriptedExecutor(), pace=QUICK)
    lease = queue.claim_job(queue.submit("count", {}).id, "other")
    assert lease is not None

    def watch() -> None:
        looks.append(len(looks))
        if len(looks) == 3:
            queue.finish(lease, {})

    assert worker.run(until_idle=True, watch=watch)
    assert looks == [0, 1, 2]


def test_sigterm_ends_a_worker_in_order(queue: Queue, start_worker: StartWorker) -> None:
    job = queue.submit("count", {"steps": 500, "seconds": 0.02})
    process = start_worker(30)
    _wait(lambda: queue.get(job.id).progress.get("step", 0) >= 1)
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert queue.get(job.id).state == "queued"


class ScriptedProcess:
    """A process that does nothing but remember what was asked of it."""

    external_id: str | None = None
    is_in_sight = True

    def __init__(self, assignment: Assignment) -> None:
        self.assignment, self.asked, self.killed = assignment, 0, 0
        self.ended: str | None = None

    def ending(self) -> str | None:
        return self.ended

    def ask_to_stop(self) -> None:
        self.asked += 1

    def kill(self) -> None:
        self.killed += 1
        self.ended = "SIGKILL"


class ScriptedExecutor:
    """Starts scripted processes."""

    def __init__(self) -> None:
        self.processes: list[ScriptedProcess] = []

    def start(self, assignment: Assignment, log: Path) -> ScriptedProcess:
        self.processes.append(ScriptedProcess(assignment))
        return self.processes[-1]

    def find(self, assignment: Assignment, log: Path) -> None:
        """None goes on without its worker."""

    def offers(self, device: str | None) -> Offers:
        return Offers(gpus=0 if device is None else 1)

    def external_id(self, assignment: Assignment) -> None:
        """None has a name elsewhere."""


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_as_many_jobs_run_as_there_are_slots(registry: Registry, queue: Queue) -> None:
    jobs = [queue.submit("count", {"steps": i}) for i in (1, 2, 3)]
    executor = ScriptedExecutor()
    worker = Worker(registry, KINDS, executor=executor, slots=2)
    worker.take_up()
    assert [p.assignment.job for p in executor.processes] == [job.id for job in jobs[:2]]
    queue.finish(worker.running[0].lease, {})
    executor.processes[0].ended = "exit code 0"
    worker.look_after()
    worker.take_up()
    assert [job.state for job in map(queue.get, (j.id for j in jobs))] == ["succeeded", "running", "running"]


def test_a_job_that_needs_a_gpu_waits_for_a_worker_that_has_one_and_holds_nobody_up(
    registry: Registry, queue: Queue
) -> None:
    needy = queue.submit("count", {"steps": 1}, needs_gpu=1)
    plain, executor = Worker(registry, KINDS, executor=ScriptedExecutor()), ScriptedExecutor()
    plain.take_up()
    assert (plain.running, plain.is_idle(), queue.get(needy.id).state) == ([], True, "queued")
    equipped = Worker(registry, KINDS, executor=executor, devices=("0",))
    assert not equipped.is_idle()
    equipped.take_up()
    assert [(p.assignment.job, p.assignment.gpus, p.assignment.device) for p in executor.processes] == [
        (needy.id, 1, "0")
    ]


def test_a_lease_is_renewed_three_times_in_its_length(registry: Registry, queue: Queue) -> None:
    clock, job = Clock(), queue.submit("count", {"steps": 1})
    worker = Worker(registry, KINDS, executor=ScriptedExecutor(), pace=Pace(lease_seconds=60), clock=clock)
    worker.take_up()
    untils = [queue.get(job.id).lease_until]
    for now in (19.0, 20.0, 39.0, 41.0):
        clock.now = now
        worker.look_after()
        untils.append(queue.get(job.id).lease_until)
    assert untils[1] == untils[0]
    assert untils[2] > untils[1]
    assert untils[3] == untils[2]
    assert untils[4] > untils[3]


def test_a_lost_lease_ends_the_process_at_once_and_touches_the_job_no_more(registry: Registry, queue: Queue) -> None:
    clock, executor, job = Clock(), ScriptedExecutor(), queue.submit("count", {"steps": 1})
    worker = Worker(registry, KINDS, executor=executor, pace=Pace(lease_seconds=0.05), clock=clock)
    worker.take_up()
    time.sleep(0.1)
    other = queue.claim("other", lease_seconds=60)
    assert other is not None
    clock.now = 1.0
    worker.look_after()
    worker.look_after()
    assert (executor.processes[0].killed, worker.running) == (1, [])
    assert (queue.get(job.id).state, queue.get(job.id).lease_owner) == ("running", "other")


def test_a_process_that_has_settled_its_job_is_given_its_grace_to_end(registry: Registry, queue: Queue) -> None:
    clock, executor, job = Clock(), ScriptedExecutor(), queue.submit("count", {"steps": 1})
    worker = Worker(registry, KINDS, executor=executor, pace=Pace(lease_seconds=60, grace_seconds=30), clock=clock)
    worker.take_up()
    queue.finish(worker.running[0].lease, {})
    killed = []
    for now in (20.0, 49.0, 50.0):
        clock.now = now
        worker.look_after()
        killed.append(executor.processes[0].killed)
    worker.look_after()
    assert (killed, worker.running, queue.get(job.id).state) == ([0, 0, 1], [], "succeeded")


def test_each_slot_has_its_device(registry: Registry, queue: Queue) -> None:
    for steps in range(4):
        queue.submit("count", {"steps": steps})
    executor = ScriptedExecutor()
    worker = Worker(registry, KINDS, executor=executor, slots=4, devices=["0", "GPU-7f"], pace=QUICK)
    worker.take_up()
    assert [process.assignment.device for process in executor.processes] == ["0", "GPU-7f", "0", "GPU-7f"]
    queue.finish(worker.running[1].lease, {})
    executor.processes[1].ended = "exit code 0"
    worker.look_after()
    queue.submit("count", {"steps": 5})
    worker.take_up()
    assert executor.processes[4].assignment.device == "GPU-7f"


def test_a_jobs_process_sees_the_device_of_its_slot_alone(
    registry: Registry, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FUNCTIONS))
    kinds = {"see": "sample_jobs:visible_devices"}
    for devices, seen in (((), "as it was"), (("3",), "3")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "as it was")
        job = queue.submit("see", {})
        Worker(registry, kinds, devices=devices, pace=QUICK).run(until_idle=True)
        assert queue.get(job.id).result == {"devices": seen}


def test_a_request_is_passed_on_once_and_the_process_killed_after_its_grace(registry: Registry, queue: Queue) -> None:
    clock, executor, job = Clock(), ScriptedExecutor(), queue.submit("count", {"steps": 1})
    worker = Worker(registry, KINDS, executor=executor, pace=Pace(lease_seconds=60, grace_seconds=30), clock=clock)
    worker.take_up()
    queue.cancel(job.id)
    killed = []
    for now in (20.0, 40.0, 49.0, 50.0, 51.0):
        clock.now = now
        worker.look_after()
        killed.append(executor.processes[0].killed)
    assert executor.processes[0].asked == 1
    assert killed == [0, 0, 0, 1, 1]
    assert queue.get(job.id).state == "cancelled"


def test_an_idle_worker_waits_for_jobs_that_others_hold(registry: Registry, queue: Queue) -> None:
    worker = Worker(registry, KINDS, executor=ScriptedExecutor())
    assert worker.is_idle()
    queue.submit("count", {"steps": 1}, lane="interactive")
    assert worker.is_idle()
    queue.submit("count", {"steps": 1})
    assert not worker.is_idle()
    lease = queue.claim("other")
    assert lease is not None
    assert not worker.is_idle()
    queue.finish(lease, {})
    assert worker.is_idle()


def _watch(worker: Worker, met: Callable[[], bool]) -> None:
    """Do a worker's round until `met`, without claiming."""

    def look() -> bool:
        worker.look_after()
        return met()

    _wait(look)


def _wait(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def _children(folder: Path) -> list[int]:
    """The processes whose log lies in `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.readlink(process / "fd" / "1") == str(folder / "job.log"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
