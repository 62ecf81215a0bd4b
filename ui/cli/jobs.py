"""Commands on jobs: jobs ls, show, logs, cancel, pause, resume, retry; worker."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import job_document, plain
from ui.cli.evaluation_table import print_evaluation, result_fields
from ui.cli.options import DryRun, Json, Quiet
from ui.cli.session import registry_of
from workbench.guidance import in_both_ways

if TYPE_CHECKING:
    from registry.jobs import Job

JobId = Annotated[int, typer.Argument(help="The job's number.")]
JobIds = Annotated[list[int], typer.Argument(help="Numbers of jobs.")]

jobs = typer.Typer(no_args_is_help=True, help="Look at jobs, and steer them.")


@jobs.command("ls")
def ls(
    context: typer.Context,
    state: Annotated[str | None, typer.Option("--state", help="queued, running, succeeded, failed, ...")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="lcd-lora, lcd, lcf or style.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    after: Annotated[int | None, typer.Option("--after", help="Go on after this job: the last one of a page.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List jobs, newest first."""
    from workbench.jobs import queue_of

    with registry_of(context) as registry:
        found = queue_of(registry).list(state=state, kind=kind, limit=limit, after=after)
    _print_jobs(found, json=json, quiet=quiet)


@jobs.command("show")
def show(context: typer.Context, job: JobId, json: Json = False, quiet: Quiet = False) -> None:
    """One job: its settings, its progress, and what happened to it."""
    from workbench.jobs import queue_of

    with registry_of(context) as registry:
        queue = queue_of(registry)
        found, events = queue.get(job), queue.events(job)
    if json:
        output.document("job", {**job_document(found), "events": plain(events)})
    elif quiet:
        output.lines([found.id])
    else:
        output.fields(_job_fields(found))
        print_evaluation(found)
        output.rows(
            ("at", "actor", "action", "attempt"),
            [(output.moment(event.at), event.actor, event.action, event.attempt) for event in events],
        )


@jobs.command("logs")
def logs(
    context: typer.Context,
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    json: Json = False,
) -> None:
    """What a job's process wrote."""
    from workbench.jobs import log_text

    with registry_of(context) as registry:
        for text in log_text(registry, job, follow=follow):
            if json:
                output.document("log", {"job": job, "text": text})
            else:
                print(text, end="", flush=True)


def _steering(verb: str, sentence: str) -> None:
    """Add the command `tau jobs VERB ID...`, which asks the queue for what its verb says."""

    @jobs.command(verb, help=sentence)
    def steer(
        context: typer.Context, ids: JobIds, dry_run: DryRun = False, json: Json = False, quiet: Quiet = False
    ) -> None:
        from workbench.jobs import queue_of

        with registry_of(context) as registry:
            queue = queue_of(registry)
            found = [queue.get(job) for job in ids]
            if dry_run:
                output.hint(f"dry run: would {verb} {len(found)} job{'s' if len(found) != 1 else ''}")
            else:
                found = [getattr(queue, verb)(job.id) for job in found]
        _print_jobs(found, json=json, quiet=quiet)


_steering("cancel", "Stop jobs; a running one saves a checkpoint first.")
_steering("pause", "Stop jobs for now; they keep their place.")
_steering("resume", "Let paused jobs go on from their checkpoints.")
_steering("retry", "Queue failed, dead or cancelled jobs again; they go on from their checkpoints.")


def worker(
    context: typer.Context,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when no job is left.")] = False,
    lanes: Annotated[
        str, typer.Option("--lanes", help="batch (training, a process each), interactive (previews), or both.")
    ] = "batch",
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, help="Batch jobs at a time. Default: 1 a device.")
    ] = None,
    devices: Annotated[
        str | None, typer.Option("--devices", help="Of CUDA_VISIBLE_DEVICES, such as 0,1; each slot has one of them.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option("--executor", help="local, or http://head:8265 of a Ray cluster; TAU_EXECUTOR.")
    ] = None,
    job: Annotated[int | None, typer.Option("--job", help="Run that very job in this process, and end.")] = None,
) -> None:
    """Run the queue's jobs until stopped with Ctrl-C: one process each, or one resident painter a device."""
    from workbench.workers import Duties, run_job, run_worker

    if job is not None:
        with registry_of(context) as registry:
            raise typer.Exit(run_job(registry, job))
    duties = Duties(tuple(lanes.split(",")), slots, tuple(devices.split(",")) if devices else (), executor)
    with registry_of(context) as registry:
        output.hint("waiting for jobs; stop with Ctrl-C" if not until_idle else "running the jobs that are queued")
        run_worker(registry, duties, until_idle=until_idle, on_job=_announcer())


def _announcer() -> "Callable[[Job], None]":
    """Says on stderr when a job comes into another state."""
    said: dict[int, str] = {}

    def announce(job: "Job") -> None:
        if said.get(job.id) != job.state:
            said[job.id] = job.state
            came_of = job.last_error or output.words(result_fields(job))
            output.hint(f"job {job.id} ({job.kind} {job.spec.get('name', '')}): {job.state} {came_of}".rstrip())

    return announce


def _print_jobs(found: "list[Job]", *, json: bool, quiet: bool) -> None:
    if json:
        output.document("jobs", {"jobs": [job_document(job) for job in found]})
    elif quiet:
        output.lines(job.id for job in found)
    else:
        output.rows(
            ("job", "kind", "state", "wanted", "progress", "attempt", "name", "submitted"),
            [
                (
                    job.id,
                    job.kind,
                    job.state,
                    job.wanted if job.wanted != "run" else "",
                    _progress(job),
                    f"{job.attempt}/{job.max_attempts}",
                    job.spec.get("name"),
                    output.moment(job.created_at),
                )
                for job in found
            ],
        )


def _progress(job: "Job") -> str:
    steps = job.progress.get("steps")
    return f"{job.progress.get('step', 0)}/{steps}" if steps else ""


def _job_fields(job: "Job") -> dict[str, object]:
    return {
        "job": job.id,
        "kind": job.kind,
        "state": job.state,
        "wanted": job.wanted,
        "progress": _progress(job),
        "attempt": f"{job.attempt} of {job.max_attempts}",
        "worker": job.lease_owner,
        "error": job.last_error,
        "log": job.log_path,
        "submitted": f"{output.moment(job.created_at)} by {job.submitted_by}",
        **{f"spec {key}": value for key, value in in_both_ways(job.spec).items()},
        **{f"result {key}": value for key, value in result_fields(job).items()},
    }
