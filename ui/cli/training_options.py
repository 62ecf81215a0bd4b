"""The options of the commands that train, by what they are about; a setting's name -> its option."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from ui.cli.options import CaptionColumn, DataLicense, ImageColumn, SkipCorrupt

Options = Mapping[str, Any]

DATA: Options = {
    "image_column": ImageColumn,
    "caption_column": CaptionColumn,
    "skip_corrupt": SkipCorrupt,
    "data_license": DataLicense,
}
"""How the data set is read, and its licence."""

OPTIMISATION: Options = {
    "steps": Annotated[int | None, typer.Option("--steps", min=1, help="Optimisation steps.")],
    "batch": Annotated[int | None, typer.Option("--batch", min=1, help="Pictures a step.")],
    "learning_rate": Annotated[float | None, typer.Option("--learning-rate", "--lr", help="At its highest.")],
    "schedule": Annotated[str | None, typer.Option("--schedule", help="cosine, linear or constant after warm-up.")],
    "warmup": Annotated[int | None, typer.Option("--warmup", min=0, help="Steps of linear warm-up.")],
    "weight_decay": Annotated[float | None, typer.Option("--weight-decay", min=0, help="Of AdamW.")],
    "gradient_clip": Annotated[float | None, typer.Option("--gradient-clip", help="Largest norm of the gradient.")],
    "ema_rate": Annotated[
        float | None,
        typer.Option("--ema-rate", min=0, help="Export a moving average; 0: the last weights."),
    ],
    "seed": Annotated[int | None, typer.Option("--seed", min=0, help="Of everything that is random.")],
    "checkpoint_every": Annotated[
        int | None, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")
    ],
    "keep_last": Annotated[
        int | None, typer.Option("--keep-last", min=0, help="Checkpoints kept beside the one to resume from.")
    ],
    "sample_every": Annotated[int | None, typer.Option("--sample-every", min=0, help="Steps between strips; 0: none.")],
    "sample_prompts": Annotated[
        list[str] | None, typer.Option("--sample-prompt", help="Painted on the strip; repeatable.")
    ],
}
"""What every training is told about its steps and what it writes on the way."""

VECTOR: Options = {
    "rank": Annotated[int | None, typer.Option("--rank", min=1, help="Of every module of the vector.")],
    "alpha": Annotated[float | None, typer.Option("--alpha", help="Default: the rank, so that the scale is 1.")],
    "targets": Annotated[
        list[str] | None, typer.Option("--target", help="A module to adapt, by the end of its name; repeatable.")
    ],
    "layout": Annotated[str | None, typer.Option("--format", help="kohya, diffusers or peft.")],
}
"""What a vector is like."""

CONSISTENCY: Options = {
    "num_ddim_timesteps": Annotated[
        int | None, typer.Option("--num-ddim-timesteps", min=1, help="Steps from noise to picture.")
    ],
    "caption_dropout": Annotated[
        float | None, typer.Option("--caption-dropout", min=0, max=1, help="Share of captions to leave empty.")
    ],
    "loss": Annotated[str | None, typer.Option("--loss", help="huber or l2.")],
    "huber_c": Annotated[float | None, typer.Option("--huber-c", help="Of the pseudo-Huber loss.")],
    "noise_weighting": Annotated[
        float | None, typer.Option("--noise-weighting", help="A timestep's loss counts sigma to this power.")
    ],
}
"""The loss of a consistency training."""

TARGET: Options = {
    "target_rate": Annotated[
        float | None,
        typer.Option("--target-rate", min=0, help="mu of the target's moving average; 0: the student itself."),
    ],
}
"""What a consistency training aims at."""

EMBEDDED_GUIDANCE: Options = {
    "sample_guidance": Annotated[
        float | None,
        typer.Option("--sample-guidance", min=1, help="Guidance scale of strips; default: the range's middle."),
    ],
}
"""How a model that is told its guidance is shown."""

COMPUTE: Options = {
    "dtype": Annotated[str | None, typer.Option("--dtype", help="Of the frozen base: fp32, bf16 or fp16.")],
    "device": Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:N or mps.")],
    "processes": Annotated[
        int | None, typer.Option("--processes", min=1, help="Each takes its share of every batch, on cuda a GPU each.")
    ],
    "accumulate": Annotated[
        int | None, typer.Option("--accumulate", min=1, help="Parts of a batch, one after another, to save memory.")
    ],
    "gradient_checkpointing": Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing", help="Less memory for a pass more a step."
        ),
    ],
    "channels_last": Annotated[
        bool | None, typer.Option("--channels-last/--no-channels-last", help="Of the convolutions' memory.")
    ],
    "attention": Annotated[str | None, typer.Option("--attention", help="sdpa (one kernel) or math (written out).")],
    "optimiser": Annotated[str | None, typer.Option("--optimiser", help="adamw, adamw-fused or adamw-8bit.")],
    "compile": Annotated[str | None, typer.Option("--compile", help="off, inductor or aot_eager.")],
}
"""How a training computes."""

EVALUATION: Options = {
    "every": Annotated[int | None, typer.Option("--evaluate-every", min=0, help="Steps between evaluations; 0: none.")],
    "pictures": Annotated[int | None, typer.Option("--eval-pictures", min=2, help="Pictures of an evaluation.")],
    "prompts": Annotated[
        list[str] | None, typer.Option("--eval-prompt", help="Painted in an evaluation; default: captions. Repeatable.")
    ],
    "eval_steps": Annotated[
        list[int] | None, typer.Option("--eval-steps", min=1, help="Steps it is measured at; default: 1, 2, 4, 8.")
    ],
    "truth": Annotated[
        str | None, typer.Option("--eval-truth", help='How prompts say what the judge reads: "a {colour} {shape}".')
    ],
    "features": Annotated[
        Path | None, typer.Option("--eval-features", exists=True, help="A vision model's folder, for FID and KID.")
    ],
    "clip": Annotated[
        Path | None, typer.Option("--eval-clip", exists=True, help="A CLIP model's folder, for the CLIP score.")
    ],
    "keep_best": Annotated[int | None, typer.Option("--keep-best", min=0, help="Best checkpoints that are kept.")],
    "best_by": Annotated[
        str | None, typer.Option("--best-by", help="What ranks checkpoints; default: tcd-4/endpoint_error.")
    ],
    "export": Annotated[
        str | None, typer.Option("--export", help="last, or best: the best of the measured checkpoints.")
    ],
}
"""How a distillation is measured at its checkpoints; eval_steps is the setting steps, whose name is taken."""

NEEDS: Options = {
    "needs_memory": Annotated[
        str | None, typer.Option("--needs-memory", help="Only a machine with so much takes the job, such as 16G.")
    ],
}
"""What the job needs of the machine that runs it."""

PREFLIGHT: Options = {
    "dry_run": Annotated[
        bool, typer.Option("--dry-run", help="Say what would go wrong and what it would need; queue nothing.")
    ],
}
"""Whether the job is only inspected."""

OUTCOME: Options = {
    "wait": Annotated[bool, typer.Option("--wait", help="Stay until the job has ended, with progress.")],
    "timeout": Annotated[float | None, typer.Option("--timeout", min=0, help="With --wait: seconds to wait at most.")],
    "worker": Annotated[
        bool,
        typer.Option("--worker/--no-worker", help="Start a worker here when none is alive, or leave the job queued."),
    ],
}
"""What happens once the job is queued."""

DEFAULTS = {"skip_corrupt": False, "dry_run": False, "wait": False, "worker": True}
"""Of the options that are not None where they were not given."""


def taking(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command that takes **options, with the options of these groups in its place."""
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS.get(name), annotation=annotation)
        for group in groups
        for name, annotation in group.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]

        @wraps(command)
        def run(*args: Any, **options: Any) -> None:
            command(*args, **options)

        run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
        return run

    return decorate


def given(options: Mapping[str, Any], *groups: Options) -> dict[str, Any]:
    """What was given of the options in these groups; the others keep their defaults where they are defined."""
    names = [name for group in groups for name in group]
    return {name: options[name] for name in names if options[name] not in (None, []) and options[name] is not False}


def evaluation(options: Mapping[str, Any]) -> dict[str, Any]:
    """The order of an evaluation, paths as a worker on this machine finds them; nothing when none was given."""
    said = given(options, EVALUATION)
    placed = {name: _absolute(value) if isinstance(value, Path) else value for name, value in said.items()}
    order = {"steps" if name == "eval_steps" else name: value for name, value in placed.items()}
    return {"evaluation": order} if order else {}


def _absolute(path: Path) -> str:
    return str(path.expanduser().resolve())
