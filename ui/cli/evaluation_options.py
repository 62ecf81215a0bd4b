"""The options of every command that distils: how its result is measured at checkpoints."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

OPTIONS: dict[str, tuple[str, Any]] = {
    "evaluate_every": (
        "every",
        Annotated[int | None, typer.Option("--evaluate-every", min=0, help="Steps between evaluations; 0: none.")],
    ),
    "eval_pictures": (
        "pictures",
        Annotated[int | None, typer.Option("--eval-pictures", min=2, help="Pictures of an evaluation.")],
    ),
    "eval_prompt": (
        "prompts",
        Annotated[list[str] | None, typer.Option("--eval-prompt", help="Default: captions of the data; repeatable.")],
    ),
    "eval_steps": (
        "steps",
        Annotated[
            list[int] | None, typer.Option("--eval-steps", min=1, help="Steps to measure at; default: 1, 2, 4, 8.")
        ],
    ),
    "eval_truth": (
        "truth",
        Annotated[
            str | None, typer.Option("--eval-truth", help='How prompts say what the judge reads: "a {colour} {shape}".')
        ],
    ),
    "eval_features": (
        "features",
        Annotated[
            Path | None, typer.Option("--eval-features", exists=True, help="A vision model's folder, for FID and KID.")
        ],
    ),
    "eval_clip": (
        "clip",
        Annotated[
            Path | None, typer.Option("--eval-clip", exists=True, help="A CLIP model's folder, for the CLIP score.")
        ],
    ),
    "keep_best": (
        "keep_best",
        Annotated[int | None, typer.Option("--keep-best", min=0, help="Checkpoints kept by the best measure.")],
    ),
    "best_by": (
        "best_by",
        Annotated[str | None, typer.Option("--best-by", help="What ranks checkpoints; default: tcd-4/endpoint_error.")],
    ),
    "export": (
        "export",
        Annotated[str | None, typer.Option("--export", help="last, or best: the best of the measured checkpoints.")],
    ),
}
"""Argument -> the setting of an evaluation that it gives, and its option."""


def evaluating(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, which takes `evaluation`, with these options in its place."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.name != "evaluation"]
    named = [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, (_, annotation) in OPTIONS.items()
    ]

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        given = {setting: options.pop(name, None) for name, (setting, _) in OPTIONS.items()}
        command(*args, evaluation=_order(given), **options)

    run.__signature__ = signature.replace(parameters=[*named, *added, *own[len(named) :]])
    return run


def _order(options: dict[str, Any]) -> dict[str, Any] | None:
    """The options that were given, paths as a worker elsewhere on this machine finds them; None when none was."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: _absolute(value) if isinstance(value, Path) else value for name, value in given.items()} or None


def _absolute(path: Path) -> str:
    return str(path.expanduser().resolve())
