"""The options that say how pictures are painted, as preview and grid share them."""

from pathlib import Path
from typing import Annotated

import typer

OF_THE_VECTORS = "Default: what the vectors were made for."
PAINTERS_OWN = "--device is for painting here; painters have theirs (tau worker --devices)"

Steps = Annotated[int | None, typer.Option("--steps", min=1, help=f"Denoising steps. {OF_THE_VECTORS}")]
Solver = Annotated[
    str | None, typer.Option("--solver", help=f"lcm, tcd, ddim, dpm, dpm++, euler or unipc. {OF_THE_VECTORS}")
]
Guidance = Annotated[float | None, typer.Option("--guidance", help=f"1 is none, and costs half. {OF_THE_VECTORS}")]
Spacing = Annotated[str | None, typer.Option("--spacing", help="Of the timesteps: trailing, leading or linspace.")]
Eta = Annotated[float | None, typer.Option("--eta", help="Fresh noise of ddim and tcd, 0 to 1.")]
Width = Annotated[int | None, typer.Option("--width", min=1, help="In pixels. Default: the base's own.")]
Height = Annotated[int | None, typer.Option("--height", min=1, help="In pixels. Default: the base's own.")]
Negative = Annotated[
    str | None, typer.Option("--negative", "-n", help="What to lead away from, with guidance above 1.")
]
Init = Annotated[
    Path | None, typer.Option("--init", help="A picture to begin with; its size is painted unless one is said.")
]
InitStrength = Annotated[
    float | None, typer.Option("--init-strength", help="How much of it is painted over, to 1. Default 0.8.")
]
OriginalInferenceSteps = Annotated[
    int | None, typer.Option("--original-inference-steps", min=1, help="Timesteps that lcm and tcd take theirs from.")
]
Timesteps = Annotated[
    str | None, typer.Option("--timesteps", help="Exactly these, from noise to picture: 999,749,499,249.")
]
PaintingDevice = Annotated[
    str | None, typer.Option("--device", help="auto, cuda, cuda:1, mps or cpu. Default: TAU_DEVICE, else auto.")
]
Queued = Annotated[
    bool, typer.Option("--queue", help="Have a painter do it (tau worker --lanes interactive), and wait.")
]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="With --queue: seconds to wait.")]


def numbers(listed: str | None) -> tuple[int, ...] | None:
    """The timesteps that are listed. Raises BadParameter."""
    if listed is None:
        return None
    try:
        return tuple(int(one) for one in listed.split(","))
    except ValueError:
        raise typer.BadParameter(f"--timesteps {listed}: expected whole numbers, such as 999,749,499,249") from None
