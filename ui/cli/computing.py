"""The options of every command that trains: how it computes."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

OPTIONS: dict[str, Any] = {
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
"""Setting -> its option."""


def computing(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, which takes **compute, with these options in its place."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in OPTIONS.items()
    ]

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        command(*args, **options)

    run.__signature__ = signature.replace(parameters=[*own, *added])
    run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return run
