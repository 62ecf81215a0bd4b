"""Jobs' processes on a cluster, as Ray Jobs: each runs our own `tau worker --job ID`, and Ray retries nothing.

Such a process keeps its lease itself once the worker that started it is gone. It is called after the registry, the job
and the lease under which it was started, so that no other lease, and no other registry, ever has the same name.
"""

import hashlib
import math
import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill_jobs.errors import ClusterUnreachable
from distill_jobs.execution.executors import Assignment
from distill_jobs.execution.leased import LEASE_VARIABLE, Custody
from registry.database import parse_address
from registry.jobs import Offers
from registry.jobs.needs import LARGEST_NUMBER

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

LOOK_SECONDS = 1.0
"""Between two questions to the cluster about one job."""

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
LEFT_HERE = ("TAU_EXECUTOR", "TAU_DATABASE_URL", "TAU_HOME", "TAU_USER")
CPUS_PER_JOB = 1


class RayExecutor:
    """Runs jobs on the Ray cluster at `address` (http://head:8265); `command` is `tau worker` there.

    The nodes see the registry: its database, its blobs, and TAU_HOME at the same path, where checkpoints lie. An
    address of the database that holds a password is not sent, because Ray shows the environment of its jobs: the nodes
    have TAU_DATABASE_URL in their own. Raises ClusterUnreachable.
    """

    def __init__(self, address: str, command: Sequence[str]) -> None:
        self.address, self._command = address, tuple(command)
        self._client = connect(address)

    def start(self, assignment: Assignment, log: Path) -> "RayProcess":
        """Submit it. Raises ClusterUnreachable where the cluster does not take it."""
        name = self.external_id(assignment)
        entrypoint = f"exec {shlex.join([*self._command, '--job', str(assignment.job)])}"
        try:
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=name,
                runtime_env={"env_vars": self._environment(assignment, name)},
                metadata={"job": str(assignment.job), "attempt": str(assignment.attempt)},
                entrypoint_num_cpus=CPUS_PER_JOB,
                entrypoint_num_gpus=assignment.gpus or None,
            )
        except (RuntimeError, OSError) as error:
            raise ClusterUnreachable(f"{self.address}: does not take job {assignment.job}: {error}") from error
        return RayProcess(self._client, name, CopiedLog(log, name))

    def find(self, assignment: Assignment, log: Path) -> "RayProcess | None":
        """The process of that lease, while the cluster runs it."""
        process = RayProcess(self._client, self.external_id(assignment), CopiedLog(log, self.external_id(assignment)))
        return process if process.is_under_way() else None

    def offers(self, device: str | None) -> Offers:
        """Anything: the cluster finds a node that has what a job needs, or lets it wait."""
        return Offers(gpus=LARGEST_NUMBER)

    def external_id(self, assignment: Assignment) -> str:
        """tau-REGISTRY-JOB-ATTEMPT-TOKEN."""
        return f"tau-{_registry_mark(assignment.url)}-{assignment.job}-{assignment.attempt}-{assignment.token}"

    def _environment(self, assignment: Assignment, name: str) -> dict[str, str]:
        """The settings of this process, the registry, the lease; how long Ray waits between SIGTERM and SIGKILL."""
        said = {key: text for key, text in os.environ.items() if key.startswith("TAU_") and key not in LEFT_HERE}
        has_password = parse_address(assignment.url).password is not None
        return {
            **said,
            **({} if has_password else {"TAU_DATABASE_URL": assignment.url}),
            "TAU_HOME": assignment.home,
            "TAU_USER": assignment.actor,
            "TAU_EXECUTOR": "local",
            LEASE_VARIABLE: Custody(assignment.token, name, assignment.lease_seconds).to_text(),
            "RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(assignment.grace_seconds)),
        }


class RayProcess:
    """A submitted job, asked about at most once in `LOOK_SECONDS`."""

    def __init__(
        self,
        client: "JobSubmissionClient",
        external_id: str,
        log: "CopiedLog",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.external_id: str | None = external_id
        self.is_in_sight = True
        self._client, self._name, self._log, self._clock = client, external_id, log, clock
        self._look_at = self._stop_at = -math.inf

    def ending(self) -> str | None:
        """How it ended: "SUCCEEDED", "FAILED: exit code 3"; None while it runs, and while nothing is known of it."""
        if self._clock() < self._look_at:
            return None
        self._look_at = self._clock() + LOOK_SECONDS
        try:
            details = self._details()
            has_ended = details is None or details.status in ENDED
            if details is not None:
                self._log.take(self._client.get_job_logs(self._name), whole=has_ended)
        except (OSError, RuntimeError):
            self.is_in_sight = False
            return None
        self.is_in_sight = True
        if details is None:
            return "the cluster does not know it"
        return _words(details) if has_ended else None

    def is_under_way(self) -> bool:
        """Whether the cluster runs it, or is about to."""
        try:
            details = self._details()
        except (OSError, RuntimeError):
            return False
        return details is not None and details.status not in ENDED

    def ask_to_stop(self) -> None:
        """SIGTERM; Ray sends SIGKILL when the grace time is over. It also hears from the queue what is wanted."""
        self._stop()

    def kill(self) -> None:
        """The same: Ray has no other way, and what has lost its lease can write nothing meanwhile."""
        self._stop()

    def _stop(self) -> None:
        if self._clock() < self._stop_at:
            return
        self._stop_at = self._clock() + LOOK_SECONDS
        try:
            self._client.stop_job(self._name)
        except (OSError, RuntimeError):
            self.is_in_sight = False

    def _details(self) -> "JobDetails | None":
        """What the cluster knows of it. Raises OSError or RuntimeError where it does not answer."""
        try:
            return self._client.get_job_info(self._name)
        except RuntimeError as error:
            if "404" in str(error) or "does not exist" in str(error):
                return None
            raise


class CopiedLog:
    """A job's log file with what Ray kept of one process in it, behind a line that names it: so a copy goes on where
    the last one ended, whoever makes it."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._mark = path, f"== {name}\n".encode()

    def take(self, text: str, *, whole: bool) -> None:
        """Append what is new in `text`, the process's output from its beginning; lines that are complete, or all."""
        output = text.encode()
        if not whole:
            output = output[: output.rfind(b"\n") + 1]
        before = self._path.read_bytes() if self._path.exists() else b""
        start = before.rfind(self._mark)
        copied = 0 if start < 0 else len(before) - start - len(self._mark)
        with self._path.open("ab") as log:
            log.write((self._mark if start < 0 else b"") + output[copied:])


def connect(address: str) -> "JobSubmissionClient":
    """A client of the cluster's Ray Jobs. Raises ClusterUnreachable, which says what to install or start."""
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise ClusterUnreachable(f"{address}: needs Ray. Install it: pip install 'tauworks[ray]'.") from error
    try:
        return JobSubmissionClient(address)
    except (OSError, RuntimeError) as error:
        raise ClusterUnreachable(
            f"{address}: no Ray cluster answers: {error}. Start it (ray start --head), or set TAU_EXECUTOR=local."
        ) from error


def _registry_mark(url: str) -> str:
    """12 hex digits that stand for a registry's database, whoever connects to it."""
    address = parse_address(url).set(username=None, password=None)
    return hashlib.sha256(address.render_as_string().encode()).hexdigest()[:12]


def _words(details: "JobDetails") -> str:
    code = details.driver_exit_code
    return f"{details.status}" + ("" if code is None else f": exit code {code}")
