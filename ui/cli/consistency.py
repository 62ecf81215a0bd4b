"""Commands that train whole consistency models, and fine-tune them: distill lcd, train lcf."""

from typing import Annotated, Any

import typer

from ui.cli.computing import computing
from ui.cli.evaluation_options import evaluating
from ui.cli.guidance import GuidanceMax, GuidanceMin, WMax, WMin, stored_w
from ui.cli.options import Draft, Json, Quiet
from ui.cli.session import registry_of
from ui.cli.training import (
    Alpha,
    Base,
    Batch,
    CheckpointEvery,
    Data,
    Grid,
    HuberC,
    KeepLast,
    Layout,
    LearningRate,
    Loss,
    Name,
    Rank,
    SampleEvery,
    SamplePrompts,
    Seed,
    Steps,
    Timeout,
    Wait,
    Worker,
    distill,
    given,
    go_on,
    train,
)

TargetRate = Annotated[
    float | None, typer.Option("--target-rate", min=0, help="mu of the target's moving average; 0: the student itself.")
]
SampleGuidance = Annotated[
    float | None,
    typer.Option("--sample-guidance", min=1, help="Guidance scale of strips; default: the range's middle."),
]


@distill.command("lcd")
@computing
@evaluating
def lcd(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: LearningRate = None,
    w_min: WMin = None,
    w_max: WMax = None,
    guidance_min: GuidanceMin = None,
    guidance_max: GuidanceMax = None,
    target_rate: TargetRate = None,
    grid: Grid = None,
    loss: Loss = None,
    huber_c: HuberC = None,
    seed: Seed = None,
    checkpoint_every: CheckpointEvery = None,
    keep_last: KeepLast = None,
    sample_every: SampleEvery = None,
    sample_prompt: SamplePrompts = None,
    sample_guidance: SampleGuidance = None,
    draft: Draft = False,
    wait: Wait = False,
    timeout: Timeout = None,
    worker: Worker = True,
    json: Json = False,
    quiet: Quiet = False,
    evaluation: Any = None,
    **compute: Any,
) -> None:
    """Distil a base into a base of few steps: all weights, told any guidance in a range as it paints."""
    from workbench.jobs import submit_distillation

    settings = given(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        w_min=stored_w(w_min, guidance_min, "-min"),
        w_max=stored_w(w_max, guidance_max, "-max"),
        target_rate=target_rate,
        num_ddim_timesteps=grid,
        loss=loss,
        huber_c=huber_c,
        seed=seed,
        checkpoint_every=checkpoint_every,
        keep_last=keep_last,
        sample_every=sample_every,
        sample_prompts=sample_prompt,
        sample_guidance=sample_guidance,
        evaluation=evaluation,
        **compute,
    )
    with registry_of(context) as registry:
        job = submit_distillation(registry, kind="lcd", base=base, data=data, name=name, draft=draft, **settings)
        go_on(registry, job, wait=wait, timeout=timeout, worker=worker, json=json, quiet=quiet)


@train.command("lcf")
@computing
def lcf(
    context: typer.Context,
    base: Base,
    data: Data,
    name: Name,
    acceleration: Annotated[
        str | None,
        typer.Option("--acceleration", help="Train a style vector beside this vector; else all weights of the base."),
    ] = None,
    rank: Rank = None,
    alpha: Alpha = None,
    steps: Steps = None,
    batch: Batch = None,
    learning_rate: LearningRate = None,
    w_min: WMin = None,
    w_max: WMax = None,
    guidance_min: GuidanceMin = None,
    guidance_max: GuidanceMax = None,
    target_rate: TargetRate = None,
    grid: Grid = None,
    loss: Loss = None,
    huber_c: HuberC = None,
    seed: Seed = None,
    checkpoint_every: CheckpointEvery = None,
    keep_last: KeepLast = None,
    sample_every: SampleEvery = None,
    sample_prompt: SamplePrompts = None,
    sample_guidance: SampleGuidance = None,
    format: Layout = None,
    draft: Draft = False,
    wait: Wait = False,
    timeout: Timeout = None,
    worker: Worker = True,
    json: Json = False,
    quiet: Quiet = False,
    **compute: Any,
) -> None:
    """Fine-tune a model of few steps on pictures, without a teacher: a style vector, or all weights.

    With --acceleration the base is an ordinary one and a style vector comes out, which paints in few steps in a sum
    with that acceleration vector. Without, the base is one that `tau distill lcd` made, and so is what comes out;
    --rank, --alpha and --format are for the first, ranges of guidance for the second.
    """
    from workbench.jobs import submit_training

    settings = given(
        rank=rank,
        alpha=alpha,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        w_min=stored_w(w_min, guidance_min, "-min"),
        w_max=stored_w(w_max, guidance_max, "-max"),
        target_rate=target_rate,
        num_ddim_timesteps=grid,
        loss=loss,
        huber_c=huber_c,
        seed=seed,
        checkpoint_every=checkpoint_every,
        keep_last=keep_last,
        sample_every=sample_every,
        sample_prompts=sample_prompt,
        sample_guidance=sample_guidance,
        **compute,
        layout=format,
    )
    order = {"base": base, "data": data, "name": name, "acceleration": acceleration, "draft": draft}
    with registry_of(context) as registry:
        job = submit_training(registry, kind="lcf", **order, **settings)
        go_on(registry, job, wait=wait, timeout=timeout, worker=worker, json=json, quiet=quiet)
