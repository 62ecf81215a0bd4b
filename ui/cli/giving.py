"""Commands that give versions out: export, push, sync."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import plain, version_document
from ui.cli.interruption import asked_to_stop
from ui.cli.options import DryRun, Json, Quiet, Reference
from ui.cli.progress import counting
from ui.cli.session import registry_of
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from workbench.giving.exporting import Exported
    from workbench.giving.pushing import Pushed
    from workbench.giving.syncing import SyncReport

Layout = Annotated[
    str | None,
    typer.Option(
        "--format", help="kohya, kohya-sgm, diffusers, comfy or peft; default: as it is stored, to the last bit."
    ),
]
BaseModel = Annotated[
    str | None,
    typer.Option("--base-model", help="The base's repository, OWNER/NAME, for the card; where it is not on record."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (export, push, sync):
        app.command()(command)


def export(
    context: typer.Context,
    reference: Reference,
    folder: Annotated[Path, typer.Argument(help="A folder that is missing, empty or an earlier export.")],
    format: Layout = None,
    base_model: BaseModel = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a version as a folder: weights, model card, provenance, pictures.

    Secrets and machine paths are taken out of what is embedded. Importing the folder gives the same vector again.
    """
    from workbench.giving.exporting import export

    with registry_of(context) as registry:
        exported = export(registry, reference, folder, layout=format, base_model=base_model)
    _print_export(exported, json=json, quiet=quiet)


def push(
    context: typer.Context,
    reference: Reference,
    repository: Annotated[str, typer.Argument(help="hf://OWNER/NAME, or OWNER/NAME.")],
    format: Layout = None,
    base_model: BaseModel = None,
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="How to make a repository that is not there; default: the account's."),
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also replace files that somebody else wrote or edited there.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Push a published version to a Hugging Face repository, as one commit; pushing it again changes nothing.

    Log in with `hf auth login` first. The commit is recorded in the model's history.
    """
    from workbench.giving.pushing import push

    with registry_of(context) as registry:
        pushed = push(
            registry,
            reference,
            repository,
            layout=format,
            base_model=base_model,
            private=private,
            message=message,
            replace=replace,
            dry_run=dry_run,
        )
    _print_push(pushed, dry_run=dry_run, json=json, quiet=quiet)


def sync(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The tool's own folder, the one that holds models/.")],
    tool: Annotated[str, typer.Option("--tool", help="comfyui or a1111.")],
    where: Annotated[str | None, typer.Option("--where", help="A query such as 'kind:style tag:approved=yes'.")] = None,
    every_version: Annotated[
        bool, typer.Option("--every-version", help="A file for each version, not for each model.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fill the model folders of another tool with what a query finds, as files named after the models.

    A second run writes what has changed and removes what it wrote itself and no longer finds; it never touches others'
    files. A version whose bytes are lost is named, and what stands there of it stays; the exit code is 1 then.
    """
    from workbench.giving.syncing import sync

    with registry_of(context) as registry, counting("writing", "files") as progress:
        report = sync(
            registry,
            folder,
            tool,
            where,
            every_version=every_version,
            dry_run=dry_run,
            progress=progress,
            cancelled=asked_to_stop,
        )
    _print_sync(report, json=json, quiet=quiet)
    if report.failed:
        output.problem(f"{', '.join(report.failed)}: left out; what stands there of it is as before. Run: tau doctor")
        raise typer.Exit(Outcome.FAILURE)


def _print_export(exported: "Exported", *, json: bool, quiet: bool) -> None:
    if json:
        body = plain(exported) | {"version": version_document(exported.version)}
        output.document("export", body)
    elif quiet:
        output.lines([exported.weights])
    else:
        output.fields(
            {
                "version": exported.version.ref,
                "folder": exported.folder,
                "weights": exported.weights,
                "layout": exported.layout,
                "bit-equal": "yes" if exported.is_bit_equal else "no",
                "layout hash": exported.layout_hash,
                "files": ", ".join(exported.paths),
            }
        )
        _print_warnings(exported.warnings)


def _print_push(pushed: "Pushed", *, dry_run: bool, json: bool, quiet: bool) -> None:
    if json:
        body = plain(pushed) | {"version": version_document(pushed.version), "dry_run": dry_run}
        output.document("push", body)
    elif quiet:
        output.lines([pushed.commit or ""])
    else:
        output.fields(
            {
                "version": pushed.version.ref,
                "repository": pushed.url,
                "commit": pushed.commit,
                "sent": ", ".join(pushed.sent),
                "removed": ", ".join(pushed.removed),
                "unchanged": ", ".join(pushed.unchanged),
            }
        )
        _print_warnings(pushed.warnings)
        if dry_run:
            output.hint("dry run: nothing was sent")
        elif not pushed.changes:
            output.hint("the repository holds this version already")


def _print_sync(report: "SyncReport", *, json: bool, quiet: bool) -> None:
    if json:
        output.document("sync", plain(report))
    elif quiet:
        output.lines(report.written)
    else:
        output.rows(
            ("change", "file"), [("write", p) for p in report.written] + [("remove", p) for p in report.removed]
        )
        for path in report.kept:
            output.hint(f"kept: {path} is somebody else's, or was changed by somebody")
        for ref, reason in report.left_out:
            output.hint(f"left out: {ref}: {reason}")
        verb = "would be" if report.dry_run else "were"
        output.hint(
            f"{report.versions} versions: {len(report.written)} files {verb} written, {len(report.removed)} removed, "
            f"{report.unchanged} unchanged"
        )


def _print_warnings(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        output.hint(f"warning: {warning}")
