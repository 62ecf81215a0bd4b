"""The two ways of counting guidance: w of c + w (c - u), which is stored, and the guidance scale w + 1."""

from typing import Annotated

import typer

W = Annotated[
    float | None, typer.Option("-w", "--w", min=0, help="Guidance to bake in, of the LCM form: 1 less than --guidance.")
]
Guidance = Annotated[
    float | None, typer.Option("--guidance", min=1, help="The same as a guidance scale, w + 1; instead of --w.")
]
WMin = Annotated[float | None, typer.Option("--w-min", min=0, help="Least w that the U-Net is told.")]
WMax = Annotated[float | None, typer.Option("--w-max", min=0, help="Most w that the U-Net is told.")]
GuidanceMin = Annotated[
    float | None, typer.Option("--guidance-min", min=1, help="The same as a guidance scale; instead of --w-min.")
]
GuidanceMax = Annotated[
    float | None, typer.Option("--guidance-max", min=1, help="The same as a guidance scale; instead of --w-max.")
]


def stored_w(w: float | None, guidance: float | None, option: str = "") -> float | None:
    """The w that was given either way; `option` is the end of a range, -min or -max. Both ways are a usage error."""
    if w is not None and guidance is not None:
        raise typer.BadParameter(
            f"--w{option} {w:g} and --guidance{option} {guidance:g} count the same thing in two ways, "
            f"guidance = w + 1; give one of them"
        )
    return w if guidance is None else guidance - 1
