"""The arguments and options that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one versioned JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]
Kind = Annotated[str | None, typer.Option("--kind", help="base, acceleration, style, composition or other.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="KEY or KEY=VALUE; may be repeated.")]
Draft = Annotated[bool, typer.Option("--draft", help="Keep the new version a draft instead of publishing it.")]


def recipe_text(context: typer.Context, argument: str) -> str:
    """The recipe behind `@FILE` and `-`."""
    if context.resilient_parsing:
        return argument
    from workbench.recipes.files import recipe_text

    return recipe_text(argument)


Recipe = Annotated[
    str,
    typer.Argument(
        help="Such as '0.8*papercut + 1.0*lcm-sd15'; names, name:3, name@alias, sha256:..., ./paths. @FILE reads it "
        "from a file, which may have several lines and # comments; - from stdin.",
        callback=recipe_text,
    ),
]
Layout = Annotated[str, typer.Option("--format", help="kohya, kohya-sgm, diffusers, comfy, or peft (a folder).")]
Reference = Annotated[str, typer.Argument(help="name, name:3, name@alias or sha256:...")]
References = Annotated[list[str], typer.Argument(help="Versions; - reads them from stdin, one a line.")]
Base = Annotated[str | None, typer.Option("--base", help="The base model; needed where not exactly one fits.")]
Name = Annotated[str | None, typer.Option("--name", help="The model's name in the registry.")]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="Pictures with captions: a folder, .parquet files, .tar shards (a pattern such as 'a-{000..012}.tar' or "
        "'*.parquet'), or hf://datasets/OWNER/NAME, with @REVISION and /PATH if wanted.",
    ),
]
ImageColumn = Annotated[
    str | None, typer.Option("--image-column", help="Parquet: the pictures' column. Tar: their extension.")
]
CaptionColumn = Annotated[
    str | None,
    typer.Option("--caption-column", help="Parquet: the captions' column. In JSON: their key."),
]
SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave corrupt pictures out, named and counted, instead of refusing.")
]
DataLicense = Annotated[str | None, typer.Option("--data-license", help="The licence that the pictures are under.")]

Device = Annotated[str, typer.Option("--device", help="Where to compute, as torch names it: cpu, cuda, mps.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Modules that are computed side by side; default: 2.")]
Memory = Annotated[
    str | None, typer.Option("--memory", help="What the modules in flight may take, such as 512M; default: 256M.")
]
