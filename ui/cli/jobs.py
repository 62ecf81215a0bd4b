"""Commands on jobs: jobs ls, show, logs, cancel, prioritise, pause, resume, retry; worker."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import job_document, plain
from ui.cli.evaluation_table import print_evaluation, result_fields
from ui.cli.options import DryRun, Json, Quiet
from ui.cli.selection import Yes
from ui.cli.session import registry_of
from workbench.training.guidance import in_both_ways

if TYPE_CHECKING:
    from registry.jobs import Job, JobEvent, Queue

JobId = Annotated[int, typer.Argument(help="The job's number.")]
JobIds = Annotated[list[int], typer.Argument(help="Numbers of jobs.")]
Lane = Annotated[str | None, typer.Option("--lane", help="batch or interactive.")]

LARGEST_PAGE = 1_000

jobs = typer.Typer(no_args_is_help=True, help="Look at jobs, and steer them.")


@jobs.command("ls")
def ls(
    context: typer.Context,
    state: Annotated[str | None, typer.Option("--state", help="queued, running, succeeded, failed, ...")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="lcd-lora, lcd, lcf or style.")] = None,
    lane: Lane = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 50,
    after: Annotated[int | None, typer.Option("--after", help="Go on after this job: the last one of a page.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List jobs, newest first, with the time that they will still take where it is known."""
    from workbench.jobs.estimates import seconds_left
    from workbench.jobs.queueing import queue_of

    with registry_of(context) as registry:
        found = queue_of(registry).list(state=state, kind=kind, lane=lane, limit=limit, after=after)
        left = seconds_left(registry, found)
    _print_jobs(found, left, json=json, quiet=quiet)


@jobs.command("show")
def show(
    context: typer.Context,
    job: JobId,
    metrics: Annotated[bool, typer.Option("--metrics", help="Its numbers, instead of what happened to it.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One job: its settings, its progress, and what happened to it."""
    from workbench.jobs.estimates import seconds_left
    from workbench.jobs.queueing import queue_of

    with registry_of(context) as registry:
        queue = queue_of(registry)
        found, events = queue.get(job), queue.events(job)
        numbers = queue.metrics(job) if metrics else ()
        left = seconds_left(registry, [found])
    if json:
        body = {**_document(found, left), "events": plain(events)}
        output.document("job", {**body, "metrics": plain(numbers)} if metrics else body)
    elif quiet:
        output.lines([found.id])
    else:
        output.fields(_job_fields(found, left))
        if metrics:
            output.rows(("name", "step", "value"), [(each.name, each.step, each.value) for each in numbers])
        else:
            print_evaluation(found)
            _print_events(events)


@jobs.command("logs")
def logs(
    context: typer.Context,
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    offset: Annotated[int, typer.Option("--offset", min=0, help="The byte to begin at: next_offset of --json.")] = 0,
    json: Json = False,
) -> None:
    """What a job's process wrote."""
    from workbench.jobs.queueing import log_pieces, queue_of, why_no_log

    with registry_of(context) as registry:
        said = False
        for piece in log_pieces(registry, job, offset=offset, follow=follow):
            said = True
            if json:
                output.document("log", {"job": job, "text": piece.text, "next_offset": piece.next_offset})
            else:
                print(piece.text, end="", flush=True)
        if not said:
            output.hint(why_no_log(queue_of(registry).get(job)))


@jobs.command("cancel")
def cancel(
    context: typer.Context,
    ids: Annotated[list[int] | None, typer.Argument(help="Numbers of jobs.")] = None,
    pending: Annotated[bool, typer.Option("--pending", help="All that are queued, instead of numbers.")] = False,
    kind: Annotated[str | None, typer.Option("--kind", help="With --pending: of this kind alone.")] = None,
    lane: Lane = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Stop jobs; a running one saves a checkpoint first. With --pending, those that have not begun."""
    if pending == bool(ids):
        raise typer.BadParameter("name jobs, or say --pending")
    if not pending and (kind or lane):
        raise typer.BadParameter("--kind and --lane go with --pending")
    if ids:
        _steer(context, "cancel", ids, lambda queue, job: queue.cancel(job), dry_run=dry_run, json=json, quiet=quiet)
        return
    from workbench.jobs.queueing import queue_of

    with registry_of(context) as registry:
        queue = queue_of(registry)
        if dry_run:
            output.hint(f"dry run: would cancel {_counted(queue.count(state='queued', kind=kind, lane=lane))}")
            found = queue.list(state="queued", kind=kind, lane=lane, limit=LARGEST_PAGE)
        else:
            _confirm(queue.count(state="queued", kind=kind, lane=lane), yes=yes)
            found = queue.cancel_pending(kind=kind, lane=lane)
    _print_jobs(found, {}, json=json, quiet=quiet)


@jobs.command("prioritise")
def prioritise(
    context: typer.Context,
    ids: JobIds,
    priority: Annotated[int, typer.Option("--priority", help="The highest goes first; 0 is the ordinary one.")],
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Give jobs that have not ended another place in the line."""
    move = lambda queue, job: queue.prioritise(job, priority)  # noqa: E731
    _steer(context, "prioritise", ids, move, dry_run=dry_run, json=json, quiet=quiet)


def _steering(verb: str, sentence: str) -> None:
    """Add the command `tau jobs VERB ID...`, which asks the queue for what its verb says."""

    @jobs.command(verb, help=sentence)
    def steer(
        context: typer.Context, ids: JobIds, dry_run: DryRun = False, json: Json = False, quiet: Quiet = False
    ) -> None:
        wish = lambda queue, job: getattr(queue, verb)(job)  # noqa: E731
        _steer(context, verb, ids, wish, dry_run=dry_run, json=json, quiet=quiet)


_steering("pause", "Stop jobs for now; they keep their place.")
_steering("resume", "Let paused jobs go on from their checkpoints.")
_steering("retry", "Queue failed, dead or cancelled jobs again; they go on from their checkpoints.")


def _steer(
    context: typer.Context,
    verb: str,
    ids: list[int],
    wish: "Callable[[Queue, int], Job]",
    *,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Do it to every job, after all of them were found; print them as they are then."""
    from workbench.jobs.estimates import seconds_left
    from workbench.jobs.queueing import queue_of

    with registry_of(context) as registry:
        queue = queue_of(registry)
        found = [queue.get(job) for job in ids]
        if dry_run:
            output.hint(f"dry run: would {verb} {_counted(len(found))}")
        else:
            found = [wish(queue, job.id) for job in found]
        left = seconds_left(registry, found)
    _print_jobs(found, left, json=json, quiet=quiet)


def _confirm(count: int, *, yes: bool) -> None:
    """Ask a person at a terminal; elsewhere nobody can be asked. Raises Abort for a no."""
    if count and not yes and sys.stdin.isatty():
        typer.confirm(f"cancel {_counted(count)}?", abort=True, err=True)


def _counted(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"


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
    memory: Annotated[
        str | None, typer.Option("--memory", help="Of a painter's bases, such as 8G. Default: what is free.")
    ] = None,
    job: Annotated[int | None, typer.Option("--job", help="Run that very job in this process, and end.")] = None,
) -> None:
    """Run the queue's jobs until stopped with Ctrl-C: one process each, or one resident painter a device."""
    from workbench.jobs.workers import Duties, run_job, run_worker
    from workbench.sums.resources import bytes_of

    if job is not None:
        with registry_of(context) as registry:
            raise typer.Exit(run_job(registry, job))
    on, room = tuple(devices.split(",")) if devices else (), None if memory is None else bytes_of(memory)
    duties = Duties(tuple(lanes.split(",")), slots, on, executor, room)
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
            what_now = f"; {remedy}" if job.last_error and (remedy := _remedy(job)) else ""
            output.hint(
                f"job {job.id} ({job.kind} {job.spec.get('name', '')}): {job.state} {came_of}{what_now}".rstrip()
            )

    return announce


def _print_jobs(found: "list[Job]", left: Mapping[int, float], *, json: bool, quiet: bool) -> None:
    if json:
        output.document("jobs", {"jobs": [_document(job, left) for job in found]})
    elif quiet:
        output.lines(job.id for job in found)
    else:
        output.rows(
            ("job", "kind", "state", "wanted", "progress", "eta", "attempt", "name", "submitted"),
            [
                (
                    job.id,
                    job.kind,
                    job.state,
                    job.wanted if job.wanted != "run" else "",
                    _progress(job),
                    _eta(job, left),
                    f"{job.attempt}/{job.max_attempts}",
                    job.spec.get("name"),
                    output.moment(job.created_at),
                )
                for job in found
            ],
        )
        for job in found:
            if job.state in ("failed", "dead"):
                output.hint(f"job {job.id} is {job.state}: {job.last_error}; {_remedy(job)}")


def _print_events(events: "Sequence[JobEvent]") -> None:
    output.rows(
        ("at", "actor", "action", "attempt"),
        [(output.moment(event.at), event.actor, event.action, event.attempt) for event in events],
    )


def _document(job: "Job", left: Mapping[int, float]) -> dict[str, object]:
    """A job, what to do about it, and the seconds until its end; null where there is nothing to do, or to know."""
    eta = left.get(job.id)
    return {**job_document(job), "remedy": _remedy(job), "eta_seconds": None if eta is None else round(eta, 1)}


def _remedy(job: "Job") -> str | None:
    from workbench.jobs.queueing import remedy

    return remedy(job)


def _progress(job: "Job") -> str:
    steps = job.progress.get("steps")
    return f"{job.progress.get('step', 0)}/{steps}" if steps else ""


def _eta(job: "Job", left: Mapping[int, float]) -> str:
    return output.duration(left[job.id]) if job.id in left else ""


def _job_fields(job: "Job", left: Mapping[int, float]) -> dict[str, object]:
    return {
        "job": job.id,
        "kind": job.kind,
        "state": job.state,
        "wanted": job.wanted,
        "progress": _progress(job),
        "eta": _eta(job, left),
        "priority": job.priority,
        "attempt": f"{job.attempt} of {job.max_attempts}",
        "needs GPUs": job.needs_gpu or None,
        "needs bytes": job.needs_memory or None,
        "worker": job.lease_owner,
        "external id": job.external_id,
        "error": job.last_error,
        "remedy": _remedy(job),
        "log": job.log_path,
        "submitted": f"{output.moment(job.created_at)} by {job.submitted_by}",
        **{f"spec {key}": value for key, value in in_both_ways(job.spec).items()},
        **{f"result {key}": value for key, value in result_fields(job).items()},
    }
