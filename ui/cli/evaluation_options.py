"""How a distillation is asked to be measured at its checkpoints, for every command that distils."""

from pathlib import Path
from typing import Annotated, Any

import typer

EvaluateEvery = Annotated[
    int | None, typer.Option("--evaluate-every", min=0, help="Steps between evaluations; 0: none.")
]
EvalPictures = Annotated[int | None, typer.Option("--eval-pictures", min=2, help="Pictures of an evaluation.")]
EvalPrompts = Annotated[
    list[str] | None, typer.Option("--eval-prompt", help="Painted in an evaluation; default: captions. Repeatable.")
]
EvalSteps = Annotated[
    list[int] | None, typer.Option("--eval-steps", min=1, help="Steps it is measured at; default: 1, 2, 4, 8.")
]
EvalTruth = Annotated[
    str | None, typer.Option("--eval-truth", help='How prompts say what the judge reads: "a {colour} {shape}".')
]
EvalFeatures = Annotated[
    Path | None, typer.Option("--eval-features", exists=True, help="A vision model's folder, for FID and KID.")
]
EvalClip = Annotated[
    Path | None, typer.Option("--eval-clip", exists=True, help="A CLIP model's folder, for the CLIP score.")
]
KeepBest = Annotated[int | None, typer.Option("--keep-best", min=0, help="Checkpoints kept by the best measure.")]
BestBy = Annotated[str | None, typer.Option("--best-by", help="What ranks checkpoints; default: tcd-4/endpoint_error.")]
Export = Annotated[str | None, typer.Option("--export", help="last, or best: the best of the measured checkpoints.")]


def evaluation_order(**options: Any) -> dict[str, Any] | None:
    """The options that were given, paths as a worker elsewhere on this machine finds them; None when none was."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: _absolute(value) if isinstance(value, Path) else value for name, value in given.items()} or None


def _absolute(path: Path) -> str:
    return str(path.expanduser().resolve())
