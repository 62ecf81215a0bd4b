"""Commands on checkpoints: bake, unbake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import plain, version_document
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Base, Device, Draft, Json, Memory, Name, Quiet, Recipe, Workers
from ui.cli.progress import counting
from ui.cli.recipe_command import RecipeCommand
from ui.cli.session import registry_if_any

if TYPE_CHECKING:
    from workbench.sums.baking import Baked

Out = Annotated[Path, typer.Option("--out", "-o", help="A new folder, or a file where the base is one.")]
Residual = Annotated[
    Path | None, typer.Option("--residual", help="Write here what tau unbake needs to give the base back, bit for bit.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(cls=RecipeCommand)(bake)
    app.command()(unbake)


def bake(
    context: typer.Context,
    recipe: Recipe,
    out: Out,
    base: Base = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", help="fp32, fp16 or bf16, the same as '| dtype(...)'; default: as the base has its weights."
        ),
    ] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", help="Cut the output into files of at most this size, such as 2G.")
    ] = None,
    residual: Residual = None,
    name: Name = None,
    draft: Draft = False,
    device: Device = "cpu",
    workers: Workers = None,
    memory: Memory = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a base with vectors in its weights as a checkpoint, and prove it.

    A base in a folder gives a folder, one in a file a file; what is no weight of its networks is copied. With --name
    the checkpoint becomes a base of the registry.
    """
    from workbench.sums.baking import bake
    from workbench.sums.resources import bytes_of, resources

    with registry_if_any(context) as registry, counting("baking", "tensors") as count:
        baked = bake(
            registry,
            recipe,
            out,
            base=base,
            dtype=dtype,
            shard_bytes=None if shard is None else bytes_of(shard),
            residual=residual,
            name=name,
            draft=draft,
            progress=lambda phase, done, total: count(done, total, phase),
            cancelled=asked_to_stop,
            resources=resources(device, workers, memory),
        )
    _print_baked(baked, json=json, quiet=quiet)


def unbake(
    context: typer.Context,
    baked: Annotated[Path, typer.Argument(help="A checkpoint that tau bake wrote.")],
    residual: Annotated[Path, typer.Option("--residual", help="What the bake wrote for this.")],
    out: Out,
    workers: Workers = None,
    memory: Memory = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take the vectors out of a baked checkpoint again: the base is back, bit for bit, or nothing is written."""
    from workbench.sums.baking import unbake
    from workbench.sums.resources import resources

    with registry_if_any(context) as registry, counting("restoring", "tensors") as count:
        digests = unbake(
            registry,
            baked,
            residual,
            out,
            progress=lambda phase, done, total: count(done, total, phase),
            cancelled=asked_to_stop,
            resources=resources(workers=workers, memory=memory),
        )
    if json:
        output.document("restored", {"path": str(out), "files": digests})
    elif quiet:
        output.lines([out])
    else:
        output.fields({"base": out} | {name: f"sha256:{digest}" for name, digest in digests.items()})


def _print_baked(baked: "Baked", *, json: bool, quiet: bool) -> None:
    version, proof = baked.version, baked.certificate
    if json:
        output.document(
            "bake",
            {
                "version": version_document(version) if version else None,
                "path": str(baked.path),
                "recipe": baked.recipe,
                "certificate": plain(proof),
                "findings": plain(baked.verdict.findings) if baked.verdict else [],
            },
        )
    elif quiet:
        output.lines([version.ref if version else baked.path])
    else:
        output.fields(
            {
                "version": version.ref if version else None,
                "checkpoint": baked.path,
                "recipe": baked.recipe,
                "worst relative error": f"{proof.worst_relative_error:.2g}",
                "modules": f"{len(proof.modules)} changed, {proof.untouched} tensors untouched",
                "method": proof.method,
            }
        )
        for finding in baked.verdict.findings if baked.verdict else ():
            output.hint(f"{finding.severity}: {finding.sentence} {finding.remedy}".rstrip())
        if proof.left_out:
            output.hint(f"not copied, being the unbaked weights in another form or hidden: {', '.join(proof.left_out)}")
