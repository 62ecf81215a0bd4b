"""Commands that train: distill lcd-lora, distill lcd, train style, train lcf."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.documents import job_document
from ui.cli.evaluation_table import print_evaluation, result_fields
from ui.cli.guidance import Guidance, GuidanceMax, GuidanceMin, W, WMax, WMin, stored_w
from ui.cli.options import Data, Draft, Json, Quiet
from ui.cli.progress import counting
from ui.cli.session import registry_of
from ui.cli.training_options import (
    COMPUTE,
    CONSISTENCY,
    DATA,
    EMBEDDED_GUIDANCE,
    EVALUATION,
    NEEDS,
    OPTIMISATION,
    OUTCOME,
    PREFLIGHT,
    TARGET,
    VECTOR,
    evaluation,
    given,
    taking,
)
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job

Base = Annotated[str, typer.Option("--base", help="The base model.")]
Name = Annotated[str, typer.Option("--name", help="The name of what is to come.")]

distill = typer.Typer(no_args_is_help=True, help="Distil acceleration vectors, and bases of few steps.")
train = typer.Typer(no_args_is_help=True, help="Train style vectors, and fine-tune bases of few steps.")

EVERY_TRAINING = (OPTIMISATION, COMPUTE)


@distill.command("lcd-lora")
@taking(VECTOR, *EVERY_TRAINING, CONSISTENCY, EVALUATION, DATA, NEEDS, PREFLIGHT, OUTCOME)
def lcd_lora(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    w: W = None,
    guidance: Guidance = None,
    trajectories: Annotated[
        int | None,
        typer.Option("--trajectories", min=0, help="Noises a picture whose teacher steps are kept; 0: none."),
    ] = None,
    trajectory_check_every: Annotated[
        int | None,
        typer.Option("--trajectory-check-every", min=0, help="Steps between kept and fresh losses; 0: never."),
    ] = None,
    draft: Draft = False,
    json: Json = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Distil a base into an acceleration vector: latent consistency distillation into a LoRA."""
    own = {"w": stored_w(w, guidance), "trajectories": trajectories, "trajectory_check_every": trajectory_check_every}
    settings = given(options, VECTOR, *EVERY_TRAINING, CONSISTENCY) | evaluation(options) | _said(own)
    order = {"kind": "lcd-lora", "base": base, "data": data, "name": name, "draft": draft}
    _queue(context, "submit_distillation", order, settings, options, json=json, quiet=quiet)


@distill.command("lcd")
@taking(*EVERY_TRAINING, CONSISTENCY, TARGET, EMBEDDED_GUIDANCE, EVALUATION, DATA, NEEDS, PREFLIGHT, OUTCOME)
def lcd(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    w_min: WMin = None,
    w_max: WMax = None,
    guidance_min: GuidanceMin = None,
    guidance_max: GuidanceMax = None,
    draft: Draft = False,
    json: Json = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Distil a base into a base of few steps: all weights, told any guidance in a range as it paints."""
    own = {"w_min": stored_w(w_min, guidance_min, "-min"), "w_max": stored_w(w_max, guidance_max, "-max")}
    settings = (
        given(options, *EVERY_TRAINING, CONSISTENCY, TARGET, EMBEDDED_GUIDANCE) | evaluation(options) | _said(own)
    )
    order = {"kind": "lcd", "base": base, "data": data, "name": name, "draft": draft}
    _queue(context, "submit_distillation", order, settings, options, json=json, quiet=quiet)


@train.command("style")
@taking(VECTOR, *EVERY_TRAINING, DATA, NEEDS, PREFLIGHT, OUTCOME)
def style(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    text_encoder: Annotated[
        bool | None, typer.Option("--text-encoder/--no-text-encoder", help="Adapt the text encoders as well.")
    ] = None,
    sample_guidance: Annotated[
        float | None, typer.Option("--sample-guidance", min=1, help="Guidance scale of strips.")
    ] = None,
    draft: Draft = False,
    json: Json = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Train a style vector on pictures with captions."""
    own = {"text_encoder": text_encoder, "sample_guidance": sample_guidance}
    settings = given(options, VECTOR, *EVERY_TRAINING) | _said(own)
    order = {"kind": "style", "base": base, "data": data, "name": name, "draft": draft}
    _queue(context, "submit_training", order, settings, options, json=json, quiet=quiet)


@train.command("lcf")
@taking(VECTOR, *EVERY_TRAINING, CONSISTENCY, TARGET, EMBEDDED_GUIDANCE, DATA, NEEDS, PREFLIGHT, OUTCOME)
def lcf(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    acceleration: Annotated[
        str | None,
        typer.Option("--acceleration", help="Train a style vector beside this vector; else all weights of the base."),
    ] = None,
    w_min: WMin = None,
    w_max: WMax = None,
    guidance_min: GuidanceMin = None,
    guidance_max: GuidanceMax = None,
    draft: Draft = False,
    json: Json = False,
    quiet: Quiet = False,
    **options: Any,
) -> None:
    """Fine-tune a model of few steps on pictures, without a teacher: a style vector, or all weights.

    With --acceleration the base is an ordinary one and a style vector comes out, which paints in few steps in a sum
    with that acceleration vector. Without, the base is one that `tau distill lcd` made, and so is what comes out;
    --rank, --alpha, --target and --format are for the first, ranges of guidance for the second.
    """
    own = {"w_min": stored_w(w_min, guidance_min, "-min"), "w_max": stored_w(w_max, guidance_max, "-max")}
    groups = (VECTOR, *EVERY_TRAINING, CONSISTENCY, TARGET, EMBEDDED_GUIDANCE)
    settings = given(options, *groups) | _said(own)
    order = {"kind": "lcf", "base": base, "data": data, "name": name, "acceleration": acceleration, "draft": draft}
    _queue(context, "submit_training", order, settings, options, json=json, quiet=quiet)


def _said(own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.items() if value is not None}


def _queue(
    context: typer.Context,
    use_case: str,
    order: Mapping[str, Any],
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    json: bool,
    quiet: bool,
) -> None:
    """Queue the job by a use case of workbench.jobs.queueing, and go on as the options say."""
    from workbench.jobs import queueing

    read = given(options, DATA)
    data_license = read.pop("data_license", None)
    said = {**order, "reading": read, "data_license": data_license, **given(options, NEEDS), **settings}
    with registry_of(context) as registry:
        if options["dry_run"]:
            _inspect(registry, said, json=json)
            return
        job = getattr(queueing, use_case)(registry, **said)
        outcome = {name: options[name] for name in OUTCOME}
        go_on(registry, job, **outcome, json=json, quiet=quiet)


def _inspect(registry: "Registry", said: Mapping[str, Any], *, json: bool) -> None:
    """Print the pre-flight; exit code 4 where it holds an error."""
    from workbench.training.preflight import preflight

    found = preflight(registry, **said)
    if json:
        output.document("preflight", found.to_json())
    else:
        output.fields({"needs": found.needs.sentence})
        output.rows(
            ("severity", "what", "remedy"), [(f.severity, f.sentence, f.remedy) for f in found.verdict.findings]
        )
    if not found.verdict.ok:
        raise typer.Exit(Outcome.REFUSED)


def go_on(
    registry: "Registry", job: "Job", *, wait: bool, timeout: float | None, worker: bool, json: bool, quiet: bool
) -> None:
    """Have the job run here unless somebody said otherwise; wait for it where that was asked, and show it."""
    from workbench.jobs.workers import ensure_worker
    from workbench.training.guidance import guidance_of

    if guidance := guidance_of(job.spec):
        output.hint(guidance)
    started = ensure_worker(registry) if worker else None
    if started is not None:
        output.hint(f"started a worker here (process {started.pid}); its log: {started.log}")
    ended = _waited(registry, job, timeout) if wait else job
    if json:
        output.document("job", job_document(ended))
    elif quiet:
        output.lines([ended.id])
    elif wait:
        output.fields({"job": ended.id, "state": ended.state, **result_fields(ended)})
        print_evaluation(ended)
    else:
        output.fields({"job": ended.id, "state": ended.state})
        output.hint(f"follow it: tau jobs logs -f {ended.id}")


def _waited(registry: "Registry", job: "Job", timeout: float | None) -> "Job":
    """The job when it has ended. Ctrl-C ends the waiting alone, and says how to go on."""
    from workbench.jobs.queueing import wait

    with counting(f"job {job.id}", "steps") as count:

        def show(seen: "Job") -> None:
            progress = seen.progress
            if progress.get("steps"):
                loss = progress.get("loss")
                count(progress["step"], progress["steps"], f"loss {loss:.4g}" if loss is not None else "")

        try:
            return wait(registry, job, on_progress=show, timeout=timeout)
        except KeyboardInterrupt:
            output.hint(
                f"stopped waiting; job {job.id} goes on.\n"
                f"  follow it: tau jobs logs -f {job.id}\n"
                f"  stop it:   tau jobs cancel {job.id}     pause and go on later: tau jobs pause {job.id}, "
                f"tau jobs resume {job.id}"
            )
            raise
