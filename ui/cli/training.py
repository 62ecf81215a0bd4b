"""Commands that train vectors: distill lcd-lora, train style; and what every training command shares."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.computing import computing
from ui.cli.documents import job_document
from ui.cli.evaluation_options import evaluating
from ui.cli.evaluation_table import print_evaluation, result_fields
from ui.cli.guidance import Guidance, W, stored_w
from ui.cli.options import CaptionColumn, Data, DataLicense, Draft, ImageColumn, Json, Quiet, SkipCorrupt
from ui.cli.progress import counting
from ui.cli.session import registry_of

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job

Base = Annotated[str, typer.Option("--base", help="The base model.")]
Name = Annotated[str, typer.Option("--name", help="The name of the vector to come.")]
Rank = Annotated[int | None, typer.Option("--rank", min=1, help="Of every module of the vector.")]
Alpha = Annotated[float | None, typer.Option("--alpha", help="Default: the rank, so that the scale is 1.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Optimisation steps.")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Pictures a step.")]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", "--lr", help="At its highest.")]
Grid = Annotated[int | None, typer.Option("--num-ddim-timesteps", min=1, help="Steps from noise to picture.")]
Loss = Annotated[str | None, typer.Option("--loss", help="huber or l2.")]
HuberC = Annotated[float | None, typer.Option("--huber-c", help="Of the pseudo-Huber loss.")]
CaptionDropout = Annotated[
    float | None, typer.Option("--caption-dropout", min=0, max=1, help="Share of captions to leave empty.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of everything that is random.")]
CheckpointEvery = Annotated[int | None, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")]
KeepLast = Annotated[
    int | None, typer.Option("--keep-last", min=0, help="Checkpoints kept beside the one to resume from.")
]
SampleEvery = Annotated[int | None, typer.Option("--sample-every", min=0, help="Steps between strips; 0: none.")]
SamplePrompts = Annotated[list[str] | None, typer.Option("--sample-prompt", help="Painted on the strip; repeatable.")]
Layout = Annotated[str | None, typer.Option("--format", help="kohya, diffusers or peft.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay until the job has ended, with progress.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="With --wait: seconds to wait at most.")]
Worker = Annotated[
    bool, typer.Option("--worker/--no-worker", help="Start a worker here when none is alive, or leave the job queued.")
]

distill = typer.Typer(no_args_is_help=True, help="Distil acceleration vectors, and bases of few steps.")
train = typer.Typer(no_args_is_help=True, help="Train style vectors, and fine-tune bases of few steps.")


@distill.command("lcd-lora")
@computing
@evaluating
def lcd_lora(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    skip_corrupt: SkipCorrupt = False,
    data_license: DataLicense = None,
    rank: Rank = None,
    alpha: Alpha = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: LearningRate = None,
    w: W = None,
    guidance: Guidance = None,
    grid: Grid = None,
    caption_dropout: CaptionDropout = None,
    loss: Loss = None,
    huber_c: HuberC = None,
    trajectories: Annotated[
        int | None,
        typer.Option("--trajectories", min=0, help="Noises a picture whose teacher steps are kept; 0: none."),
    ] = None,
    trajectory_check_every: Annotated[
        int | None,
        typer.Option("--trajectory-check-every", min=0, help="Steps between kept and fresh losses; 0: never."),
    ] = None,
    seed: Seed = None,
    checkpoint_every: CheckpointEvery = None,
    keep_last: KeepLast = None,
    sample_every: SampleEvery = None,
    sample_prompt: SamplePrompts = None,
    format: Layout = None,
    draft: Draft = False,
    wait: Wait = False,
    timeout: Timeout = None,
    worker: Worker = True,
    json: Json = False,
    quiet: Quiet = False,
    evaluation: Any = None,
    **compute: Any,
) -> None:
    """Distil a base into an acceleration vector: latent consistency distillation into a LoRA."""
    from workbench.jobs import submit_distillation

    settings = given(
        rank=rank,
        alpha=alpha,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        w=stored_w(w, guidance),
        num_ddim_timesteps=grid,
        caption_dropout=caption_dropout,
        loss=loss,
        huber_c=huber_c,
        trajectories=trajectories,
        trajectory_check_every=trajectory_check_every,
        seed=seed,
        checkpoint_every=checkpoint_every,
        keep_last=keep_last,
        sample_every=sample_every,
        sample_prompts=sample_prompt,
        **compute,
        layout=format,
        evaluation=evaluation,
    )
    reading = reading_of(image_column, caption_column, skip_corrupt)
    said = {"base": base, "data": data, "name": name, "draft": draft, "reading": reading, "data_license": data_license}
    with registry_of(context) as registry:
        job = submit_distillation(registry, **said, **settings)
        go_on(registry, job, wait=wait, timeout=timeout, worker=worker, json=json, quiet=quiet)


@train.command("style")
@computing
def style(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    skip_corrupt: SkipCorrupt = False,
    data_license: DataLicense = None,
    rank: Rank = None,
    alpha: Alpha = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: LearningRate = None,
    text_encoder: Annotated[
        bool | None, typer.Option("--text-encoder/--no-text-encoder", help="Adapt the text encoder as well.")
    ] = None,
    seed: Seed = None,
    checkpoint_every: CheckpointEvery = None,
    keep_last: KeepLast = None,
    sample_every: SampleEvery = None,
    sample_prompt: SamplePrompts = None,
    format: Layout = None,
    draft: Draft = False,
    wait: Wait = False,
    timeout: Timeout = None,
    worker: Worker = True,
    json: Json = False,
    quiet: Quiet = False,
    **compute: Any,
) -> None:
    """Train a style vector on pictures with captions."""
    from workbench.jobs import submit_training

    settings = given(
        rank=rank,
        alpha=alpha,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        text_encoder=text_encoder,
        seed=seed,
        checkpoint_every=checkpoint_every,
        keep_last=keep_last,
        sample_every=sample_every,
        sample_prompts=sample_prompt,
        **compute,
        layout=format,
    )
    reading = reading_of(image_column, caption_column, skip_corrupt)
    said = {"base": base, "data": data, "name": name, "draft": draft, "reading": reading, "data_license": data_license}
    with registry_of(context) as registry:
        job = submit_training(registry, **said, **settings)
        go_on(registry, job, wait=wait, timeout=timeout, worker=worker, json=json, quiet=quiet)


def given(**options: Any) -> dict[str, Any]:
    """The options that were given; the others keep their defaults where they are defined."""
    return {name: value for name, value in options.items() if value is not None}


def reading_of(image_column: str | None, caption_column: str | None, skip_corrupt: bool) -> dict[str, Any]:
    """How the data set is read, as far as that was said."""
    return given(image_column=image_column, caption_column=caption_column, skip_corrupt=skip_corrupt or None)


def go_on(
    registry: "Registry", job: "Job", *, wait: bool, timeout: float | None, worker: bool, json: bool, quiet: bool
) -> None:
    """Have the job run here unless somebody said otherwise; wait for it where that was asked, and show it."""
    from workbench.guidance import guidance_of
    from workbench.workers import ensure_worker

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
    from workbench.jobs import wait

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
